//! One stored message, out of its own metadata or out of its entry's: walked rather than decoded, as its entry is.

use std::borrow::Cow;
use std::str;

use base64::Engine as _;

use super::protobuf::{Fields, Malformed, Value};

/// One message, borrowed from its batch.
#[derive(Debug, Clone)]
pub struct Message<'b> {
    /// Its own sequence id. Producers that give their messages none (old ones) are taken to count up from the batch's
    /// lowest id.
    pub sequence_id: u64,
    /// Whether the message said its id itself.
    pub has_own_id: bool,
    /// Its key's bytes, out of base64 where they were in it.
    pub key: Option<Cow<'b, [u8]>>,
    /// Milliseconds since the epoch when the event happened, where the producer says.
    pub event_time_ms: Option<u64>,
    /// Whether it has no value, which is not an empty one.
    pub null_value: bool,
    /// Its body.
    pub value: &'b [u8],
    /// Whether compaction has taken it out of its batch.
    pub(super) compacted_out: bool,
    /// Bytes of its body, in a batch.
    pub(super) payload_size: usize,
    metadata: &'b [u8],
    properties_field: u32,
}

/// The numbers of the fields that both kinds of metadata have.
struct FieldNumbers {
    properties: u32,
    key: u32,
    event_time: u32,
    base64: u32,
    null_value: u32,
}

const IN_BATCH: FieldNumbers = FieldNumbers { properties: 1, key: 2, event_time: 5, base64: 6, null_value: 9 };
const ALONE: FieldNumbers = FieldNumbers { properties: 4, key: 6, event_time: 12, base64: 17, null_value: 25 };

impl<'b> Message<'b> {
    /// Of a batch; its body follows its metadata.
    pub(super) fn in_batch(metadata: &'b [u8]) -> Result<Self, Malformed> {
        let mut message = Self::read(metadata, &IN_BATCH)?;
        for field in Fields::new(metadata) {
            match field? {
                (3, Value::Uint(size)) => message.payload_size = usize::try_from(size).map_err(|_| Malformed)?,
                (4, Value::Uint(flag)) => message.compacted_out = flag != 0,
                (8, Value::Uint(id)) => {
                    message.sequence_id = id;
                    message.has_own_id = true;
                }
                _ => {}
            }
        }
        Ok(message)
    }

    /// The only one of an entry that is no batch.
    pub(super) fn alone(metadata: &'b [u8], sequence_id: u64, payload: &'b [u8]) -> Result<Self, Malformed> {
        let mut message = Self::read(metadata, &ALONE)?;
        message.sequence_id = sequence_id;
        message.has_own_id = true;
        message.value = payload;
        Ok(message)
    }

    fn read(metadata: &'b [u8], numbers: &FieldNumbers) -> Result<Self, Malformed> {
        let mut message = Self {
            sequence_id: 0,
            has_own_id: false,
            key: None,
            event_time_ms: None,
            null_value: false,
            value: &[],
            compacted_out: false,
            payload_size: 0,
            metadata,
            properties_field: numbers.properties,
        };
        let mut base64 = false;
        for field in Fields::new(metadata) {
            match field? {
                (number, Value::Bytes(key)) if number == numbers.key => message.key = Some(Cow::Borrowed(key)),
                (number, Value::Uint(flag)) if number == numbers.base64 => base64 = flag != 0,
                (number, Value::Uint(flag)) if number == numbers.null_value => message.null_value = flag != 0,
                (number, Value::Uint(time)) if number == numbers.event_time => {
                    message.event_time_ms = (time != 0).then_some(time);
                }
                _ => {}
            }
        }
        if let Some(key) = message.key.as_ref().filter(|_| base64) {
            let bytes = base64::engine::general_purpose::STANDARD.decode(key).map_err(|_| Malformed)?;
            message.key = Some(Cow::Owned(bytes));
        }
        Ok(message)
    }

    /// Its properties in order, names repeating as they were written. A property that is not UTF-8 is left out.
    pub fn properties(&self) -> impl Iterator<Item = (&'b str, &'b str)> {
        let wanted = self.properties_field;
        Fields::new(self.metadata).filter_map(move |field| match field {
            Ok((number, Value::Bytes(pair))) if number == wanted => property(pair),
            _ => None,
        })
    }
}

fn property(pair: &[u8]) -> Option<(&str, &str)> {
    let (mut name, mut value) = ("", "");
    for field in Fields::new(pair) {
        match field {
            Ok((1, Value::Bytes(bytes))) => name = str::from_utf8(bytes).ok()?,
            Ok((2, Value::Bytes(bytes))) => value = str::from_utf8(bytes).ok()?,
            _ => {}
        }
    }
    Some((name, value))
}
