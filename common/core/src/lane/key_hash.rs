//! The hashes by which Pulsar's own producers choose a partition for a key: bridges and native producers that write to one
//! topic must put a key into the same partition.
//!
//! The measure is Pulsar's Java client, which hashes the *text* of the key as it stands in the message: of bytes that are no
//! UTF-8 that is their base64. Its `JavaStringHash` goes over UTF-16 code units. The C++ client and those that are built on it
//! (Python, Node.js) go over the bytes of the UTF-8 text as signed numbers: with `java-string` they agree with Java and with
//! the bridge for keys of ASCII alone. With `murmur3` all agree for every text.

use std::borrow::Cow;

use base64::Engine as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the text of a key becomes a number; Pulsar's `HashingScheme`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHash {
    /// `JavaStringHash`, the Java client's default.
    #[default]
    JavaString,
    /// `Murmur3_32Hash`, with seed 0.
    Murmur3,
}

impl KeyHash {
    /// The number of a key, never above `i32::MAX`. An on-wire format: what it gives decides where records were sent.
    pub fn of(self, key: &[u8]) -> u32 {
        let text = match std::str::from_utf8(key) {
            Ok(text) => Cow::Borrowed(text),
            // As the message carries it.
            Err(_) => Cow::Owned(base64::engine::general_purpose::STANDARD.encode(key)),
        };
        let hash = match self {
            Self::JavaString => java_string(&text),
            Self::Murmur3 => murmur3_32(text.as_bytes()),
        };
        hash & i32::MAX as u32
    }
}

/// Java's `String.hashCode`.
fn java_string(text: &str) -> u32 {
    text.encode_utf16().fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

/// MurmurHash3, x86, 32 bits, seed 0.
fn murmur3_32(bytes: &[u8]) -> u32 {
    let mix = |word: u32| word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (words, rest) = bytes.as_chunks::<4>();
    let hash = words.iter().fold(0, |hash: u32, word| {
        (hash ^ mix(u32::from_le_bytes(*word))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    let last = rest.iter().rev().fold(0, |last: u32, byte| last << 8 | u32::from(*byte));
    // Of the length, the 32 bits that Java has: keys are far shorter.
    let mut hash = hash ^ mix(last) ^ bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Pulsar's Java client 4.0.8 gives: `JavaStringHash` and `Murmur3_32Hash` of these keys.
    #[test]
    fn the_hashes_are_golden() {
        for (key, java_string, murmur3) in [
            ("", 0, 0),
            ("a", 97, 1_009_084_850),
            ("key-1", 101_943_363, 414_258_592),
            ("a longer key, of no multiple of 4 by", 538_542_989, 177_397_702),
            ("schlüssel-✓", 1_196_617_717, 1_492_986_508),
            ("😀", 1_772_899, 1_051_995_898),
            ("\0x", 120, 43_745_582),
            ("//4A", 1_447_021, 792_220_034),
        ] {
            assert_eq!(KeyHash::JavaString.of(key.as_bytes()), java_string, "{key:?}");
            assert_eq!(KeyHash::Murmur3.of(key.as_bytes()), murmur3, "{key:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_hash_as_their_base64() {
        for hash in [KeyHash::JavaString, KeyHash::Murmur3] {
            assert_eq!(hash.of(b"\xff\xfe\x00"), hash.of(b"//4A"));
        }
    }
}
