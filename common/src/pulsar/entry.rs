//! Entries as the broker hands them out, taken apart: whoever wrote them, whatever is in them.
//!
//! ```text
//! [0x0e02][size][BrokerEntryMetadata]   only with some brokers
//! [0x0e01][crc32c]                      missing with very old producers
//! [metadata size][MessageMetadata][payload]
//! ```
//! Bytes from the network are never trusted: sizes are checked against what is there and against limits.

use std::borrow::Cow;
use std::str;

use ::pulsar::message::proto::{BrokerEntryMetadata, CompressionType};
use bytes::{Buf as _, Bytes};
use prost::Message as _;

use super::codec;
use super::frame::MAGIC_CHECKSUM;
use super::message::Message;
use super::protobuf::{Fields, Malformed, Value};
use crate::record::MessageId;

/// Before the broker's own metadata.
const MAGIC_BROKER_METADATA: [u8; 2] = [0x0e, 0x02];
/// A batch that says it is larger than this is not taken apart.
pub const MAX_UNCOMPRESSED_BYTES: usize = 128 * 1024 * 1024;

/// Why an entry could not be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early, or a size in it is wrong.
    #[error("the entry is malformed: {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// The checksum does not go with the bytes.
    #[error("the entry's checksum is wrong")]
    Checksum,
    /// The payload does not decompress to the announced size.
    #[error("the entry's {codec} payload does not decompress to its announced size")]
    Decompression {
        /// The codec's name.
        codec: &'static str,
    },
    /// The payload says that it decompresses to more than [`MAX_UNCOMPRESSED_BYTES`].
    #[error("the entry says that it decompresses to {bytes} bytes, more than {MAX_UNCOMPRESSED_BYTES}")]
    TooLarge {
        /// What it says.
        bytes: u64,
    },
    /// A codec that is not read here. Ids and names of the entry are known all the same.
    #[error("the entry is compressed with {codec}, which is not read here")]
    UnsupportedCodec {
        /// The codec's name, or its number.
        codec: &'static str,
    },
    /// The entry is encrypted by its producer.
    #[error("the entry is encrypted by its producer")]
    Encrypted,
    /// The entry is one chunk of a larger message.
    #[error("the entry is chunk {chunk} of {chunks} of one message, which is not put together here")]
    Chunked {
        /// Its number.
        chunk: i32,
        /// How many.
        chunks: i32,
    },
}

fn malformed(what: &'static str) -> DecodeError {
    DecodeError::Malformed { what }
}

/// One entry: a batch of messages, or a message alone. What the metadata says is here; the messages themselves are taken
/// apart by [`Entry::batch`], so that a scan for one producer's ids decompresses only that producer's entries.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it is stored.
    pub id: MessageId,
    /// Who wrote it.
    pub producer_name: String,
    /// The lowest sequence id in it.
    pub sequence_id: u64,
    /// The highest sequence id in it: what the metadata says, or `sequence_id` where a producer does not say.
    pub highest_sequence_id: u64,
    /// Milliseconds since the epoch when the producer sealed it.
    pub publish_time_ms: u64,
    /// Milliseconds since the epoch when the broker took it, where brokers note that.
    pub broker_time_ms: Option<u64>,
    /// How many messages it says it has; 1 for a message alone.
    pub count: u32,
    /// The version of its schema.
    pub schema_version: Option<Vec<u8>>,
    /// Whether it is a broker's marker (transactions, replicated subscriptions) and not anybody's message.
    pub is_marker: bool,
    is_batch: bool,
    codec: Result<CompressionType, i32>,
    uncompressed_size: u32,
    encrypted: bool,
    chunk: Option<(i32, i32)>,
    metadata: Bytes,
    payload: Bytes,
}

impl Entry {
    /// Takes the head of an entry apart and checks the checksum. `bytes` is all that follows the command.
    pub fn decode(id: MessageId, mut bytes: Bytes) -> Result<Self, DecodeError> {
        let broker_time_ms = take_broker_metadata(&mut bytes)?;
        take_checksum(&mut bytes)?;
        let size = take_size(&mut bytes, "metadata size")?;
        let raw = take(&mut bytes, size, "metadata")?;
        let head = Head::read(&raw).map_err(|Malformed| malformed("metadata"))?;
        let count = match head.count {
            None => 1,
            Some(count) => u32::try_from(count).map_err(|_| malformed("count of messages"))?,
        };
        Ok(Self {
            id,
            sequence_id: head.sequence_id,
            highest_sequence_id: head.highest_sequence_id.max(head.sequence_id),
            publish_time_ms: head.publish_time_ms,
            broker_time_ms,
            count,
            is_marker: head.is_marker,
            is_batch: head.count.is_some(),
            codec: CompressionType::try_from(head.compression).map_err(|_| head.compression),
            uncompressed_size: head.uncompressed_size,
            encrypted: head.encrypted,
            chunk: (head.chunks > 1).then_some((head.chunk, head.chunks)),
            schema_version: head.schema_version.map(<[u8]>::to_vec),
            producer_name: head.producer_name.to_owned(),
            metadata: raw,
            payload: bytes,
        })
    }

    /// Bytes that the entry holds in memory.
    pub fn len_bytes(&self) -> usize {
        self.metadata.len() + self.payload.len()
    }

    /// Decompresses the payload, so that its messages can be walked.
    pub fn batch(&self) -> Result<Batch<'_>, DecodeError> {
        if self.encrypted {
            return Err(DecodeError::Encrypted);
        }
        if let Some((chunk, chunks)) = self.chunk {
            return Err(DecodeError::Chunked { chunk, chunks });
        }
        let codec = self.codec.map_err(|_| DecodeError::UnsupportedCodec { codec: "an unknown codec" })?;
        let payload = if codec == CompressionType::None {
            Cow::Borrowed(&self.payload[..])
        } else {
            let size = self.uncompressed_size as usize;
            if size > MAX_UNCOMPRESSED_BYTES {
                return Err(DecodeError::TooLarge { bytes: u64::from(self.uncompressed_size) });
            }
            Cow::Owned(codec::decompress(&self.payload, codec, size)?)
        };
        Ok(Batch { entry: self, payload })
    }
}

/// What is read of a `MessageMetadata`. Walked rather than decoded whole: a few MiB of its empty properties would become
/// hundreds of MiB of objects, and anybody who may write to a topic may send that.
#[derive(Default)]
struct Head<'m> {
    producer_name: &'m str,
    sequence_id: u64,
    highest_sequence_id: u64,
    publish_time_ms: u64,
    compression: i32,
    uncompressed_size: u32,
    count: Option<i32>,
    encrypted: bool,
    schema_version: Option<&'m [u8]>,
    is_marker: bool,
    chunks: i32,
    chunk: i32,
}

impl<'m> Head<'m> {
    /// Numbers of 32 bits are cut to these, as protobuf has it; of a field that is repeated the last counts.
    fn read(metadata: &'m [u8]) -> Result<Self, Malformed> {
        let mut head = Self::default();
        for field in Fields::new(metadata) {
            match field? {
                (1, Value::Bytes(name)) => head.producer_name = str::from_utf8(name).map_err(|_| Malformed)?,
                (2, Value::Uint(id)) => head.sequence_id = id,
                (3, Value::Uint(time)) => head.publish_time_ms = time,
                (8, Value::Uint(codec)) => head.compression = codec as i32,
                (9, Value::Uint(size)) => head.uncompressed_size = size as u32,
                (11, Value::Uint(count)) => head.count = Some(count as i32),
                (13, Value::Bytes(_)) => head.encrypted = true,
                (16, Value::Bytes(version)) => head.schema_version = Some(version),
                (20, Value::Uint(_)) => head.is_marker = true,
                (24, Value::Uint(id)) => head.highest_sequence_id = id,
                (27, Value::Uint(chunks)) => head.chunks = chunks as i32,
                (29, Value::Uint(chunk)) => head.chunk = chunk as i32,
                _ => {}
            }
        }
        Ok(head)
    }
}

fn take(bytes: &mut Bytes, size: usize, what: &'static str) -> Result<Bytes, DecodeError> {
    if size > bytes.len() {
        return Err(malformed(what));
    }
    Ok(bytes.split_to(size))
}

fn take_size(bytes: &mut Bytes, what: &'static str) -> Result<usize, DecodeError> {
    let size = bytes.try_get_u32().map_err(|_| malformed(what))?;
    Ok(size as usize)
}

fn take_broker_metadata(bytes: &mut Bytes) -> Result<Option<u64>, DecodeError> {
    if !bytes.starts_with(&MAGIC_BROKER_METADATA) {
        return Ok(None);
    }
    bytes.advance(2);
    let size = take_size(bytes, "broker metadata size")?;
    let raw = take(bytes, size, "broker metadata")?;
    let metadata = BrokerEntryMetadata::decode(raw).map_err(|_| malformed("broker metadata"))?;
    Ok(metadata.broker_timestamp)
}

fn take_checksum(bytes: &mut Bytes) -> Result<(), DecodeError> {
    if !bytes.starts_with(&MAGIC_CHECKSUM) {
        return Ok(());
    }
    bytes.advance(2);
    let checksum = bytes.try_get_u32().map_err(|_| malformed("checksum"))?;
    if checksum == crc32c::crc32c(bytes) { Ok(()) } else { Err(DecodeError::Checksum) }
}

/// An entry's payload, decompressed.
#[derive(Debug)]
pub struct Batch<'e> {
    entry: &'e Entry,
    payload: Cow<'e, [u8]>,
}

impl Batch<'_> {
    /// The messages in their order, without those that compaction has taken out. Ends after the first error.
    pub fn messages(&self) -> impl Iterator<Item = Result<Message<'_>, DecodeError>> {
        let alone = (!self.entry.is_batch)
            .then(|| Message::alone(&self.entry.metadata, self.entry.sequence_id, &self.payload))
            .map(|message| message.map_err(|Malformed| malformed("metadata")));
        let many = Messages {
            rest: if self.entry.is_batch { &self.payload } else { &[] },
            left: if self.entry.is_batch { self.entry.count } else { 0 },
            index: 0,
            first_id: self.entry.sequence_id,
        };
        alone.into_iter().chain(many).filter(|message| !matches!(message, Ok(message) if message.compacted_out))
    }

    /// The messages' sequence ids alone.
    pub fn sequence_ids(&self) -> impl Iterator<Item = Result<u64, DecodeError>> {
        self.messages().map(|message| message.map(|message| message.sequence_id))
    }
}

struct Messages<'b> {
    rest: &'b [u8],
    left: u32,
    index: u64,
    first_id: u64,
}

impl<'b> Messages<'b> {
    fn message(&mut self) -> Result<Message<'b>, DecodeError> {
        let (size, rest) = self.rest.split_first_chunk().ok_or(malformed("size of a message's metadata"))?;
        let size = u32::from_be_bytes(*size) as usize;
        let (metadata, rest) = rest.split_at_checked(size).ok_or(malformed("a message's metadata"))?;
        let mut message = Message::in_batch(metadata).map_err(|Malformed| malformed("a message's metadata"))?;
        let (value, rest) = rest.split_at_checked(message.payload_size).ok_or(malformed("a message's body"))?;
        message.value = value;
        if !message.has_own_id {
            message.sequence_id = self.first_id.saturating_add(self.index);
        }
        self.rest = rest;
        self.index += 1;
        Ok(message)
    }
}

impl<'b> Iterator for Messages<'b> {
    type Item = Result<Message<'b>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let message = self.message();
        if message.is_err() {
            self.left = 0;
        }
        Some(message)
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
