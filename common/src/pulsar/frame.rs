//! Batches as Pulsar stores them, written straight into the buffer that goes to the socket.
//!
//! ```text
//! [total][command size][BaseCommand SEND][0x0e01][crc32c][metadata size][MessageMetadata][payload]
//! payload, perhaps compressed = ([size][SingleMessageMetadata][value])*
//! ```
//! All sizes are 4 bytes big-endian; the checksum covers all that follows it. The field numbers are `PulsarApi.proto`'s;
//! the tests hold the bytes against the generated messages.

use std::str;

use base64::Engine as _;
use bytes::Bytes;

use super::codec::{Codec, Compression};
use super::protobuf::{put_bytes, put_length, put_uint, small_field_len};

/// Before the checksum.
pub(super) const MAGIC_CHECKSUM: [u8; 2] = [0x0e, 0x01];
/// Bytes of magic, checksum and metadata size.
const CHECKSUM_HEAD: usize = 2 + 4 + 4;
/// What the metadata of a batch takes at most beside the producer's name and the schema version.
const METADATA_FIXED_BYTES: usize = 80;
/// `BaseCommand.Type.SEND`, which is also the number of the field that holds the command.
const SEND: u64 = 6;

/// One message to be put into a batch, borrowed from wherever it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutgoingMessage<'a> {
    /// Its place in the sequence of its producer: the source offset.
    pub sequence_id: u64,
    /// Its key. Bytes that are not UTF-8 are written in base64 with the flag that says so, as every client reads it.
    pub key: Option<&'a [u8]>,
    /// Milliseconds since the epoch when the event happened.
    pub event_time_ms: Option<u64>,
    /// Its body; `None` is a null value, which is not an empty one.
    pub value: Option<&'a [u8]>,
}

/// What [`BatchBuilder::seal`] puts around the messages.
#[derive(Debug, Clone, Copy)]
pub struct Seal<'a> {
    /// The producer's name.
    pub producer_name: &'a str,
    /// The producer's id on its connection: a frame belongs to one opening of a producer.
    pub producer_id: u64,
    /// Milliseconds since the epoch.
    pub publish_time_ms: u64,
    /// How the payload is compressed.
    pub compression: Compression,
    /// The version of the schema all its messages have, as the broker gave it.
    pub schema_version: Option<&'a [u8]>,
}

/// A sealed batch: bytes ready for the socket. Cloning shares them, so that a resend repeats exactly the same bytes.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Bytes,
    producer_id: u64,
    body_bytes: usize,
    lowest: u64,
    highest: u64,
    count: u32,
}

impl Frame {
    /// The lowest sequence id of the batch: receipts name it.
    pub fn lowest(&self) -> u64 {
        self.lowest
    }

    /// The highest sequence id of the batch: send errors name it.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// How many messages it holds.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The producer's id it was sealed for.
    pub fn producer_id(&self) -> u64 {
        self.producer_id
    }

    /// All bytes, which is what it holds of memory.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes that count against `max_message_size`: checksum, metadata and payload.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// The bytes as they go to the socket.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Collects messages into a batch. One per lane, kept: its buffers are reused from batch to batch, and pushing a message
/// allocates nothing once they have grown.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    payload: Vec<u8>,
    codec: Codec,
    base64: String,
    count: u32,
    lowest: u64,
    highest: u64,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many messages the batch has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether the batch has no message.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The payload's bytes before compression.
    pub fn len_bytes(&self) -> usize {
        self.payload.len()
    }

    /// The lowest sequence id, of a batch that is not empty.
    pub fn lowest(&self) -> Option<u64> {
        (self.count > 0).then_some(self.lowest)
    }

    /// The highest sequence id, of a batch that is not empty.
    pub fn highest(&self) -> Option<u64> {
        (self.count > 0).then_some(self.highest)
    }

    /// Forgets what was pushed; the buffers stay.
    pub fn clear(&mut self) {
        self.payload.clear();
        self.count = 0;
    }

    /// What the batch would add to `max_message_size` with one more message, uncompressed and generously counted: below
    /// the limit it is certain to fit. `properties_bytes` are names and values together, `properties` how many.
    pub fn body_bytes_with(
        &self,
        message: &OutgoingMessage<'_>,
        properties: usize,
        properties_bytes: usize,
        producer_name: &str,
    ) -> usize {
        let key = message.key.map_or(0, |key| key.len().div_ceil(3) * 4);
        let single = 64 + key + properties_bytes + properties * 24 + message.value.map_or(0, <[u8]>::len);
        let plain = self.payload.len() + single;
        // LZ4's bound, which is above Zstandard's.
        CHECKSUM_HEAD + METADATA_FIXED_BYTES + producer_name.len() + 32 + plain + plain / 255 + 32
    }

    /// Adds a message. Its properties come in order; names may repeat.
    ///
    /// Invariant: sequence ids rise strictly within a batch, so that its first id is its lowest, which is what the
    /// broker's deduplication compares.
    ///
    /// # Panics
    /// Where the invariant is broken, or a body has 2 GiB or more, which no broker takes.
    pub fn push<'p>(
        &mut self,
        message: &OutgoingMessage<'_>,
        properties: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) {
        self.push_with(message, |put| properties.into_iter().for_each(|(name, value)| put(name, value)));
    }

    /// As [`BatchBuilder::push`], for properties that are made on the way: `properties` is called once, and calls what it
    /// is given for each of them.
    ///
    /// # Panics
    /// As [`BatchBuilder::push`].
    pub fn push_with(&mut self, message: &OutgoingMessage<'_>, properties: impl FnOnce(&mut dyn FnMut(&str, &str))) {
        let id = message.sequence_id;
        assert!(self.count == 0 || id > self.highest, "sequence id {id} does not rise above {}", self.highest);
        if self.count == 0 {
            self.lowest = id;
        }
        self.highest = id;
        self.count += 1;

        let value = message.value.unwrap_or_default();
        let value_bytes = i32::try_from(value.len()).expect("bodies are below the broker's limit, far below 2 GiB");
        let start = self.payload.len();
        self.payload.extend_from_slice(&[0; 4]);
        properties(&mut |name, value| put_property(&mut self.payload, 1, name, value));
        let is_base64 = message.key.is_some_and(|key| !self.put_key(key));
        put_uint(&mut self.payload, 3, u64::from(value_bytes.unsigned_abs()));
        if let Some(event_time_ms) = message.event_time_ms {
            put_uint(&mut self.payload, 5, event_time_ms);
        }
        if is_base64 {
            put_uint(&mut self.payload, 6, 1);
        }
        put_uint(&mut self.payload, 8, id);
        if message.value.is_none() {
            put_uint(&mut self.payload, 9, 1);
        }
        let metadata_bytes = be_size(self.payload.len() - start - 4);
        self.payload[start..start + 4].copy_from_slice(&metadata_bytes);
        self.payload.extend_from_slice(value);
    }

    /// Whether the key is written as it is, or else in base64.
    fn put_key(&mut self, key: &[u8]) -> bool {
        let is_text = str::from_utf8(key).is_ok();
        if is_text {
            put_bytes(&mut self.payload, 2, key);
        } else {
            self.base64.clear();
            base64::engine::general_purpose::STANDARD.encode_string(key, &mut self.base64);
            put_bytes(&mut self.payload, 2, self.base64.as_bytes());
        }
        is_text
    }

    /// Closes the batch into a frame of exactly its size and leaves the builder empty. Fails only where the compressor
    /// does; the batch stays then.
    ///
    /// # Panics
    /// On an empty batch.
    pub fn seal(&mut self, seal: &Seal<'_>) -> Result<Frame, std::io::Error> {
        assert!(self.count > 0, "an empty batch cannot be sealed");
        let plain_bytes = self.payload.len();
        let payload = self.codec.compress(&self.payload, seal.compression)?;

        let mut metadata = Vec::with_capacity(METADATA_FIXED_BYTES + seal.producer_name.len() + 16);
        put_bytes(&mut metadata, 1, seal.producer_name.as_bytes());
        put_uint(&mut metadata, 2, self.lowest);
        put_uint(&mut metadata, 3, seal.publish_time_ms);
        if seal.compression != Compression::None {
            put_uint(&mut metadata, 8, seal.compression.wire_type() as u64);
        }
        put_uint(&mut metadata, 9, plain_bytes as u64);
        // Always there, also for one message: without it, readers take the payload for a message that is no batch.
        put_uint(&mut metadata, 11, u64::from(self.count));
        if let Some(version) = seal.schema_version {
            put_bytes(&mut metadata, 16, version);
        }
        put_uint(&mut metadata, 24, self.highest);

        let command = send_command(seal.producer_id, self.lowest, self.highest, self.count);
        let body_bytes = CHECKSUM_HEAD + metadata.len() + payload.len();
        let total = 4 + command.len() + body_bytes;
        let mut bytes = Vec::with_capacity(4 + total);
        bytes.extend_from_slice(&be_size(total));
        bytes.extend_from_slice(&be_size(command.len()));
        bytes.extend_from_slice(&command);
        bytes.extend_from_slice(&MAGIC_CHECKSUM);
        let checksum_at = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&be_size(metadata.len()));
        bytes.extend_from_slice(&metadata);
        bytes.extend_from_slice(payload);
        let checksum = crc32c::crc32c(&bytes[checksum_at + 4..]);
        bytes[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_be_bytes());

        let frame = Frame {
            bytes: Bytes::from(bytes),
            producer_id: seal.producer_id,
            body_bytes,
            lowest: self.lowest,
            highest: self.highest,
            count: self.count,
        };
        self.clear();
        Ok(frame)
    }
}

fn be_size(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("batches are below the broker's limit, far below 4 GiB").to_be_bytes()
}

fn put_property(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    put_length(out, field, small_field_len(name.len()) + small_field_len(value.len()));
    put_bytes(out, 1, name.as_bytes());
    put_bytes(out, 2, value.as_bytes());
}

/// `BaseCommand { type: SEND, send: CommandSend { .. } }`.
fn send_command(producer_id: u64, lowest: u64, highest: u64, count: u32) -> Vec<u8> {
    let mut send = Vec::with_capacity(48);
    put_uint(&mut send, 1, producer_id);
    put_uint(&mut send, 2, lowest);
    put_uint(&mut send, 3, u64::from(count));
    put_uint(&mut send, 6, highest);
    let mut command = Vec::with_capacity(send.len() + 8);
    put_uint(&mut command, 1, SEND);
    put_length(&mut command, SEND as u32, send.len());
    command.extend_from_slice(&send);
    command
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
