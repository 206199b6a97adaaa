//! What was read back of a queue's messages. A queue delivers again what was not acknowledged, under no number that lasts;
//! what was stored of it already is recognised by its idempotency key and the digest of its body, which each message in
//! the target carries as properties. Pure: the scan of the opening fills it, each delivery is looked up in it.

use std::collections::HashMap;

use ring::digest::{Context, Digest, SHA256, digest};

use crate::record::MessageId;

/// One message: its idempotency key and the digest of its body, in 128 bits of SHA-256. That two of a billion messages
/// share one has a chance of 1 in 10^20, also where somebody chooses the keys.
pub fn hash(key: &[u8], digest: &[u8; 32]) -> u128 {
    let mut context = Context::new(&SHA256);
    // The digest has a fixed length, so no other key and digest make the same text.
    context.update(digest);
    context.update(key);
    first_half(context.finish())
}

/// One key alone: for [`KeyWindow`](crate::dedupe::KeyWindow).
pub fn hash_key(key: &[u8]) -> u128 {
    first_half(digest(&SHA256, key))
}

fn to_bytes(digest: Digest) -> [u8; 32] {
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn first_half(digest: Digest) -> u128 {
    let bytes = to_bytes(digest);
    u128::from_be_bytes(bytes[..16].try_into().expect("half of it has 16"))
}

/// What the scans of one opening have read, each entry once: an opening may read the same entry several times (a scan
/// that goes on begins with the last entry of the one before, and the names of repairs are read beside the lane's).
#[derive(Debug, Clone, Default)]
pub struct ReadBack {
    hashes: Vec<u128>,
    /// Per topic: the last entry that was counted.
    counted: HashMap<String, MessageId>,
}

impl ReadBack {
    /// Nothing was read yet: at the beginning of an opening.
    pub fn new() -> Self {
        Self::default()
    }

    /// A scan of `topic` is complete: the hashes of the messages in it, each with its entry, in the topic's order. Gives
    /// those that were not counted before, for whoever else wants them.
    /// Invariant: each entry of a topic is counted once. All scans of an opening of one topic begin at its mark, or where an earlier one
    /// has ended, so that nothing behind the last counted entry was counted, and everything before it was.
    pub fn add(&mut self, topic: &str, found: &[(MessageId, u128)]) -> &[u128] {
        let before = self.hashes.len();
        let last = self.counted.get(topic).copied();
        let fresh = found.iter().filter(|(entry, _)| Some(*entry) > last);
        self.hashes.extend(fresh.map(|(_, hash)| *hash));
        if let Some((entry, _)) = found.last().filter(|(entry, _)| Some(*entry) > last) {
            self.counted.insert(topic.to_owned(), *entry);
        }
        &self.hashes[before..]
    }

    /// Everything was read.
    pub fn recall(self) -> Recall {
        let mut recall = Recall { hashes: self.hashes, used: Vec::new() };
        recall.seal();
        recall
    }
}

/// A multiset of messages that were read back. Each is taken once: a publisher may have sent the same message twice, and
/// of the two only one may be stored.
///
/// Takes 16.125 bytes per message: a million in 16.1 MB.
#[derive(Debug, Clone, Default)]
pub struct Recall {
    /// Rising, once sealed.
    hashes: Vec<u128>,
    /// A bit per hash. Of equal ones the last is taken first.
    used: Vec<u64>,
}

impl Recall {
    /// Without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, before `seal`.
    pub fn insert(&mut self, hash: u128) {
        assert!(self.used.is_empty(), "a recall is filled before anything is looked up in it");
        self.hashes.push(hash);
    }

    /// Everything is in it: from here on it is only looked up.
    pub fn seal(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.shrink_to_fit();
        self.used = vec![0; self.hashes.len().div_ceil(64)];
    }

    /// Takes one of these out; false where none is (or is left) in it.
    pub fn take(&mut self, hash: u128) -> bool {
        let end = self.hashes.partition_point(|other| *other <= hash);
        let found = (0..end).rev().take_while(|index| self.hashes[*index] == hash).find(|index| !self.is_used(*index));
        if let Some(index) = found {
            self.used[index / 64] |= 1 << (index % 64);
        }
        found.is_some()
    }

    fn is_used(&self, index: usize) -> bool {
        self.used[index / 64] >> (index % 64) & 1 == 1
    }

    /// How many were put in.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether none was put in.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        self.hashes.capacity() * size_of::<u128>() + self.used.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::digest::sha256;

    /// Both stand in the target, and are looked up by later versions of the bridge.
    #[test]
    fn hashes_are_golden() {
        assert_eq!(hash_key(b"abc"), 0xba78_16bf_8f01_cfea_4141_40de_5dae_2223);
        assert_ne!(hash(b"a", &sha256(b"abc")), hash(b"b", &sha256(b"abc")));
        assert_ne!(hash(b"a", &sha256(b"abc")), hash(b"a", &sha256(b"abd")));
    }

    #[test]
    fn an_entry_that_is_read_again_is_counted_once() {
        let at = |entry| MessageId { ledger: 1, entry };
        let mut read = ReadBack::new();
        assert_eq!(read.add("t", &[(at(1), 10), (at(1), 10), (at(2), 20)]), [10, 10, 20]);
        assert_eq!(read.add("t", &[(at(2), 20), (at(3), 30)]), [30]);
        assert_eq!(read.add("dead", &[(at(1), 10)]), [10]);
        assert!(read.add("t", &[(at(1), 10), (at(2), 20)]).is_empty());
        let mut recall = read.recall();
        assert_eq!((0..5).filter(|_| recall.take(10)).count(), 3);
        assert_eq!((0..5).filter(|_| recall.take(30)).count(), 1);
    }

    #[test]
    fn a_message_takes_sixteen_bytes_and_a_bit() {
        let mut recall = Recall::new();
        (0..100_000).for_each(|n: u32| recall.insert(hash_key(&n.to_le_bytes())));
        recall.seal();
        assert!(recall.memory_bytes() <= 100_000 * 1613 / 100, "{}", recall.memory_bytes());
    }

    proptest! {
        #[test]
        fn behaves_as_a_multiset(put in prop::collection::vec(0u128..20, 0..200), taken in prop::collection::vec(0u128..25, 0..300)) {
            let mut recall = Recall::new();
            let mut expected = BTreeMap::<u128, u32>::new();
            for hash in put {
                recall.insert(hash);
                *expected.entry(hash).or_default() += 1;
            }
            recall.seal();
            for hash in taken {
                let left = expected.entry(hash).or_default();
                prop_assert_eq!(recall.take(hash), *left > 0);
                *left = left.saturating_sub(1);
            }
        }
    }
}
