//! Dead letters: what is written, beside the target, for a record that can never be translated or published. Pure.
//!
//! A dead letter is the record as it came (body, key, headers, event time) with these properties, which are an on-wire
//! format: names and meanings never change.
//!
//! | property | value |
//! |---|---|
//! | `bridge.cause` | why: a name of [`Cause`](crate::translate::Cause), or `too_large` |
//! | `bridge.field` | the field's path, where the cause is about a field |
//! | `bridge.detail` | what was expected and found, in words; no content of the record |
//! | `bridge.stream` | the stream |
//! | `bridge.source.cluster` | the id of the source's cluster |
//! | `bridge.source.topic` | the Kafka topic or the RabbitMQ queue |
//! | `bridge.source.partition` | its partition |
//! | `bridge.source.offset` | the record's offset |
//! | `bridge.timestamp_ms` | the record's own time stamp, where it has one |
//! | `bridge.contract` | the fingerprint of the contract (CRC-64-AVRO), where there is one |
//! | `bridge.size` | the size of the record's body in bytes, as it came |
//! | `bridge.omitted` | what is not whole in this dead letter: `body` (its head is there), `key`, `headers`, by commas |
//! | `bridge.header.…` | headers that cannot be properties as they are: [`headers`](crate::headers) |
//!
//! What becomes of a dead letter later is noted behind it in the same topic, by a message without a body whose producer is called
//! `<the partition's name>/redrive/<offset>`. The newest one counts:
//!
//! | property | value |
//! |---|---|
//! | `bridge.settled` | `pending`: about to be published; `redriven`: it is in the target; `twin`: the same event is there by another source |
//! | `bridge.settled.topic` | the topic (with partition) where it is published, or was found |
//! | `bridge.settled.mark` | of `pending`: an entry before which it cannot be (`ledger:entry`, or `earliest`): looking for it begins there |
//! | `bridge.source.…` | as above |
//!
//! The message in the target has the same producer name, the record's offset as its sequence id, `bridge.redriven` = `true`, and
//! the coordinates as above.

use std::fmt::Write;

use crate::headers::{self, Key};
use crate::record::{Offset, Record, SourcePartition};
use crate::translate::TranslateError;

/// See the table above.
pub const CAUSE: &str = "bridge.cause";
/// See the table above.
pub const FIELD: &str = "bridge.field";
/// See the table above.
pub const DETAIL: &str = "bridge.detail";
/// See the table above.
pub const STREAM: &str = "bridge.stream";
/// See the table above.
pub const CLUSTER: &str = "bridge.source.cluster";
/// See the table above.
pub const TOPIC: &str = "bridge.source.topic";
/// See the table above.
pub const PARTITION: &str = "bridge.source.partition";
/// See the table above.
pub const OFFSET: &str = "bridge.source.offset";
/// See the table above.
pub const TIMESTAMP_MS: &str = "bridge.timestamp_ms";
/// See the table above.
pub const CONTRACT: &str = "bridge.contract";
/// See the table above.
pub const SIZE: &str = "bridge.size";
/// See the table above.
pub const OMITTED: &str = "bridge.omitted";
/// See the second table above.
pub const SETTLED: &str = "bridge.settled";
/// See the second table above.
pub const SETTLED_TOPIC: &str = "bridge.settled.topic";
/// See the second table above.
pub const SETTLED_MARK: &str = "bridge.settled.mark";
/// The property of a message that was a dead letter before. Its order is not claimed.
pub const REDRIVEN: &str = "bridge.redriven";

/// The name of the producer that redrives a record: `name` is its partition's.
pub fn redrive_name(name: &str, offset: Offset) -> String {
    format!("{name}/redrive/{offset}")
}

/// The partition's name in the name of a dead letter's producer: that of a repair has more behind it.
pub fn partition_name(producer_name: &str) -> &str {
    producer_name.split_once("/repair/").map_or(producer_name, |(name, _)| name)
}

/// The name of the cause of a record that no broker takes.
pub const TOO_LARGE: &str = "too_large";

/// How much of the body, of the key and of the headers of a too-large record its dead letter keeps: far below any
/// broker's limit.
pub const HEAD_BYTES: usize = 16 * 1024;

/// Why a record is a dead letter.
#[derive(Debug, Clone, Copy)]
pub enum Reason<'a> {
    /// Its body is not what the contract asks for.
    Untranslatable(&'a TranslateError),
    /// It does not fit into a message of the target (or its dead letter does not).
    TooLarge {
        /// What a message may have, in bytes.
        limit_bytes: usize,
    },
}

impl Reason<'_> {
    /// The stable name of the cause, for [`CAUSE`] and for metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Untranslatable(error) => error.cause.as_str(),
            Self::TooLarge { .. } => TOO_LARGE,
        }
    }
}

/// What is the same for all dead letters of a source partition.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// The source partition.
    pub source: &'a SourcePartition,
    /// The contract's fingerprint, where the stream has a contract.
    pub contract: Option<&'a str>,
}

/// A dead letter, ready to be published.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    /// The record's body, or the head of one that is too large.
    pub body: &'a [u8],
    /// The record's key; `None` where it has none or it is omitted.
    pub key: Option<Key<'a>>,
    /// The record's time stamp, which is the event time.
    pub event_time_ms: Option<u64>,
    /// `bridge.*` first, then the record's headers.
    pub properties: Vec<(String, String)>,
}

impl<'a> DeadLetter<'a> {
    /// The dead letter of `record`. Of a too-large one it keeps the head of the body, and the key and the headers only
    /// if each has at most [`HEAD_BYTES`].
    pub fn new(origin: Origin<'_>, record: &Record<'a>, reason: Reason<'_>) -> Self {
        let body = record.value.unwrap_or_default();
        let headers_bytes: usize =
            record.headers.iter().map(|header| header.name.len() + header.value.map_or(0, <[u8]>::len)).sum();
        let room = if matches!(reason, Reason::TooLarge { .. }) { HEAD_BYTES } else { usize::MAX };
        let keep_key = record.key.is_none_or(|key| key.len() <= room);
        let keep_headers = headers_bytes <= room;
        let mut letter = Self {
            body: &body[..body.len().min(room)],
            key: record.key.filter(|_| keep_key).map(Key::new),
            event_time_ms: record.timestamp_ms,
            properties: Vec::with_capacity(12 + record.headers.len()),
        };
        letter.describe(origin, record.offset, reason);
        letter.set_number(SIZE, body.len() as u64);
        if let Some(timestamp_ms) = record.timestamp_ms {
            letter.set_number(TIMESTAMP_MS, timestamp_ms);
        }
        let parts = [("body", letter.body.len() == body.len()), ("key", keep_key), ("headers", keep_headers)];
        let omitted: Vec<&str> = parts.iter().filter(|(_, whole)| !whole).map(|(part, _)| *part).collect();
        if !omitted.is_empty() {
            letter.set(OMITTED, &omitted.join(","));
        }
        if keep_headers {
            headers::properties(record.headers, |name, value| letter.set(name, value));
        }
        letter
    }

    fn describe(&mut self, origin: Origin<'_>, offset: Offset, reason: Reason<'_>) {
        self.set(CAUSE, reason.cause());
        match reason {
            Reason::Untranslatable(error) => {
                if !error.path.is_empty() {
                    self.set(FIELD, &error.path);
                }
                self.set(DETAIL, &error.detail);
            }
            Reason::TooLarge { limit_bytes } => {
                self.set(DETAIL, &format!("the record does not fit into a message of {limit_bytes} bytes"));
            }
        }
        self.set(STREAM, origin.stream);
        self.set(CLUSTER, &origin.source.cluster_id);
        self.set(TOPIC, &origin.source.topic);
        self.set_number(PARTITION, u64::from(origin.source.partition));
        self.set_number(OFFSET, offset);
        if let Some(contract) = origin.contract {
            self.set(CONTRACT, contract);
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.properties.push((name.to_owned(), value.to_owned()));
    }

    fn set_number(&mut self, name: &str, value: u64) {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(text, "{value}");
        self.properties.push((name.to_owned(), text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Header;
    use crate::translate::Cause;

    fn property<'l>(letter: &'l DeadLetter<'_>, name: &str) -> Option<&'l str> {
        letter.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn source() -> SourcePartition {
        SourcePartition { cluster_id: "abc".into(), topic: "job-lifecycle".into(), partition: 7 }
    }

    #[test]
    fn an_untranslatable_record_is_kept_whole_with_cause_and_coordinates() {
        let source = source();
        let origin = Origin { stream: "job-lifecycle", source: &source, contract: Some("00ff") };
        let error = TranslateError { cause: Cause::WrongType, path: "tags[1]".into(), detail: "expected a".into() };
        let body = vec![b'x'; 3 * HEAD_BYTES];
        let headers = [Header { name: "correlation-id", value: Some(b"c1") }, Header { name: "none", value: None }];
        let record =
            Record { offset: 41, timestamp_ms: Some(9), key: Some(b"j1"), value: Some(&body), headers: &headers };
        let letter = DeadLetter::new(origin, &record, Reason::Untranslatable(&error));
        assert_eq!(letter.body, body);
        assert_eq!(letter.event_time_ms, Some(9));
        assert_eq!(letter.key.as_ref().map(|key| (&*key.text, key.base64)), Some(("j1", false)));
        let size = body.len().to_string();
        for (name, value) in [
            (CAUSE, "wrong_type"),
            (FIELD, "tags[1]"),
            (DETAIL, "expected a"),
            (STREAM, "job-lifecycle"),
            (CLUSTER, "abc"),
            (TOPIC, "job-lifecycle"),
            (PARTITION, "7"),
            (OFFSET, "41"),
            (CONTRACT, "00ff"),
            (TIMESTAMP_MS, "9"),
            (SIZE, &size),
            ("correlation-id", "c1"),
            ("bridge.header.1.null.none", ""),
        ] {
            assert_eq!(property(&letter, name), Some(value), "{name}");
        }
        assert_eq!(property(&letter, OMITTED), None);
    }

    #[test]
    fn a_too_large_record_leaves_its_head_and_its_size() {
        let source = source();
        let origin = Origin { stream: "s", source: &source, contract: None };
        let body: Vec<u8> = (0..6_000_000u32).map(|n| n as u8).collect();
        let huge = vec![b'h'; HEAD_BYTES + 1];
        let headers = [Header { name: "h", value: Some(&huge) }];
        let record = Record { offset: 1, timestamp_ms: None, key: Some(&huge), value: Some(&body), headers: &headers };
        let letter = DeadLetter::new(origin, &record, Reason::TooLarge { limit_bytes: 5_242_880 });
        assert_eq!(letter.body, &body[..HEAD_BYTES]);
        assert!(letter.key.is_none());
        assert_eq!(property(&letter, CAUSE), Some(TOO_LARGE));
        assert_eq!(property(&letter, SIZE), Some("6000000"));
        assert_eq!(property(&letter, OMITTED), Some("body,key,headers"));
        assert_eq!(property(&letter, "h"), None);
        assert_eq!(property(&letter, TIMESTAMP_MS), None);
    }
}
