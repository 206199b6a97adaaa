//! What must become of a source record: where it goes, and the digest of what arrives there.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::checker::{Identity, Route, Settings};
use crate::journal::{Outcome, Published};
use crate::oracle::{Content, Digest, Oracle, digest, properties, text_at};

/// How much of a record that is too large its dead letter must show at least.
pub(crate) const HEAD_BYTES: usize = 1024;
/// The property with the SHA-256 of the source's bytes, in hexadecimal.
pub(crate) const SHA256: &str = "bridge.sha256";
/// The property with what identifies the event.
pub(crate) const IDENTITY: &str = "bridge.idempotency-key";

/// What must become of one source record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// A Kafka offset, or a count of what was published.
    pub(crate) place: u64,
    /// The topic by its place among the settings' topics: the target, the routes, the dead letters.
    pub(crate) topic: usize,
    /// Of what must arrive there.
    pub(crate) digest: Digest,
    /// Of what identifies the event over all sources.
    pub(crate) identity: Option<u64>,
    /// Whether it must arrive; one that may have got lost before the broker had it may.
    pub(crate) is_certain: bool,
    /// Whether it is a null value.
    pub(crate) is_tombstone: bool,
}

/// The rules of one bridge.
#[derive(Debug)]
pub(crate) struct Rules {
    oracle: Oracle,
    routes: Vec<Route>,
    dedupe: Option<String>,
    digest: bool,
    max_message_bytes: usize,
}

/// A record as its source has it.
pub(crate) struct Input<'a> {
    pub(crate) place: u64,
    /// Known of Kafka's records only.
    pub(crate) offset: Option<u64>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) event_time: u64,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
    /// What identifies it by the source's own rule.
    pub(crate) own_identity: Option<String>,
    /// Whether the digest of the source's bytes must arrive by the source's own rule.
    pub(crate) has_digest: bool,
    pub(crate) is_certain: bool,
}

impl Rules {
    pub(crate) fn new(oracle: Oracle, settings: &Settings) -> Self {
        Self {
            oracle,
            routes: settings.routes.clone(),
            dedupe: settings.dedupe.clone(),
            digest: settings.digest,
            max_message_bytes: settings.max_message_bytes,
        }
    }

    /// What must become of the record. The head of one that is too large is noted: its dead letter shows no more.
    pub(crate) fn expect(&self, input: &Input<'_>, too_large_heads: &mut HashSet<Digest>) -> Record {
        let body = input.value.unwrap_or_default();
        let sha256 = (input.has_digest || self.digest).then(|| sha256(body));
        let over_all = self.dedupe.as_ref().and_then(|path| text_at(body, path));
        let identity = over_all.as_ref().or(input.own_identity.as_ref());
        let translated = input.value.map(|value| self.oracle.translate(value, input.offset)).transpose();
        let dead_letters = self.routes.len() + 1;
        let (topic, digest) = match &translated {
            Ok(Some(datum)) if datum.len() > self.max_message_bytes => {
                let digest = dead_letter_digest(&body[..HEAD_BYTES.min(body.len())], sha256.as_deref());
                too_large_heads.insert(digest);
                (dead_letters, digest)
            }
            Ok(datum) => {
                let content = Content { body: datum.as_deref(), key: input.key, event_time: input.event_time };
                let own = properties(&input.headers);
                let mut all: Vec<(&str, &[u8])> =
                    own.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
                all.extend(sha256.as_ref().map(|hex| (SHA256, hex.as_bytes())));
                all.extend(identity.map(|text| (IDENTITY, text.as_bytes())));
                (self.topic_of(body), digest(content, all))
            }
            Err(_) => (dead_letters, dead_letter_digest(body, sha256.as_deref())),
        };
        Record {
            place: input.place,
            topic,
            digest,
            identity: over_all.map(|text| hash(&text)),
            is_certain: input.is_certain,
            is_tombstone: input.value.is_none(),
        }
    }

    /// The first route whose field has its text, or the target.
    fn topic_of(&self, body: &[u8]) -> usize {
        let takes = |route: &Route| text_at(body, &route.field).is_some_and(|text| route.equals.contains(&text));
        self.routes.iter().position(takes).map_or(0, |at| at + 1)
    }

    /// What must become of a message that was handed to RabbitMQ; `None` where no queue took it.
    pub(crate) fn expect_published(
        &self,
        published: &Published,
        identity: &Identity,
        too_large_heads: &mut HashSet<Digest>,
    ) -> Option<Record> {
        let own_identity = match identity {
            Identity::None => None,
            Identity::Header(name) => published.header(name).map(str::to_owned),
            Identity::Json(path) => text_at(&published.body, path),
        };
        let headers = published.headers.iter();
        let input = Input {
            place: published.number,
            offset: None,
            value: Some(&published.body),
            key: None,
            event_time: published.timestamp_ms.unwrap_or_default(),
            headers: headers.map(|(name, value)| (name.as_str(), value.as_deref().map(str::as_bytes))).collect(),
            own_identity,
            has_digest: *identity != Identity::None,
            is_certain: published.outcome == Outcome::Confirmed,
        };
        (published.outcome != Outcome::Returned).then(|| self.expect(&input, too_large_heads))
    }
}

/// What a dead letter keeps of its record. Its identity is not asked for: of a broken body two readers may see two.
pub(crate) fn dead_letter_digest(bytes: &[u8], sha256: Option<&str>) -> Digest {
    let content = Content { body: Some(bytes), key: None, event_time: 0 };
    digest(content, sha256.map(|hex| (SHA256, hex.as_bytes())).into_iter().collect())
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::sha256;

    #[test]
    fn the_digest_is_sha_256_in_hexadecimal() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
