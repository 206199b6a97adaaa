//! What is compared of a record and a message: the first half of a SHA-256 over body, key, event time and properties.

use bridge_common::digest::sha256;
use bridge_common::headers::{ENCODED, OWN};
use bridge_common::pipeline::{Destination, IDEMPOTENCY_KEY, Made, SHA256};
use bridge_common::pulsar::Message;

use super::facts::{Digest, Place};

/// Makes digests; keeps memory to use again.
#[derive(Debug)]
pub(crate) struct Content {
    text: Vec<u8>,
    has_key: bool,
    has_sha256: bool,
}

impl Content {
    /// Whether messages carry what identifies their events, and the digests of the source's bytes: then that counts, too.
    pub(crate) fn new(has_key: bool, has_sha256: bool) -> Self {
        Self { text: Vec::new(), has_key, has_sha256 }
    }

    /// Of what must be there.
    pub(crate) fn of_made(&mut self, made: &Made<'_>) -> Digest {
        let message = &made.message;
        self.begin(message.value, message.key, message.event_time_ms.filter(|time| *time != 0));
        made.properties(&mut |name, value| self.property(name, value));
        self.finish()
    }

    /// Of what is there.
    pub(crate) fn of_message(&mut self, message: &Message<'_>) -> Digest {
        let value = (!message.null_value).then_some(message.value);
        self.begin(value, message.key.as_deref(), message.event_time_ms);
        message.properties().for_each(|(name, value)| self.property(name, value));
        self.finish()
    }

    fn begin(&mut self, value: Option<&[u8]>, key: Option<&[u8]>, event_time_ms: Option<u64>) {
        self.text.clear();
        self.field(value);
        self.field(key);
        self.text.extend_from_slice(&event_time_ms.unwrap_or_default().to_be_bytes());
    }

    /// Invariant: no two contents make the same text, since every length stands before its bytes.
    fn field(&mut self, bytes: Option<&[u8]>) {
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        self.text.extend_from_slice(&length.to_be_bytes());
        self.text.extend_from_slice(bytes.unwrap_or_default());
    }

    /// Of the bridge's own properties only those count that carry something of the record.
    fn property(&mut self, name: &str, value: &str) {
        let counts = match name {
            SHA256 => self.has_sha256,
            IDEMPOTENCY_KEY => self.has_key,
            _ => !name.starts_with(OWN) || name.starts_with(ENCODED),
        };
        if counts {
            self.field(Some(name.as_bytes()));
            self.field(Some(value.as_bytes()));
        }
    }

    fn finish(&self) -> Digest {
        let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = sha256(&self.text);
        half
    }
}

/// The place of a made message, by the list of topics: the target first, then those of the routes.
pub(crate) fn place_of(destination: Destination, routes: &[u8]) -> Place {
    match destination {
        Destination::Target => Place::Topic(0),
        Destination::Route(route) => Place::Topic(routes[route]),
        Destination::DeadLetters => Place::DeadLetters,
    }
}
