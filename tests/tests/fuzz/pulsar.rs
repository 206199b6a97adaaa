//! What comes from Pulsar: frames, and entries that anybody may have written.

use bridge_common::fuzzing;
use bridge_common::pulsar::{BatchBuilder, Compression, DecodeError, Entry, OutgoingMessage, Seal};
use bridge_common::record::MessageId;
use bytes::Bytes;
use prost::Message as _;
use pulsar::message::proto::{MessageMetadata, SingleMessageMetadata};

use crate::engine::{Outcome, Pieces, Plan, fuzz, reference};

/// The largest frame in these tests.
const FRAME_BYTES_MAX: usize = 64 * 1024;
const ID: MessageId = MessageId { ledger: 1, entry: 2 };

#[test]
fn pulsar_frames() {
    fuzz(Plan { name: "pulsar-frames", inputs: 40_000, growth: 120 }, |bytes| {
        let (frames, error) = fuzzing::pulsar_frames(bytes, FRAME_BYTES_MAX);
        let payloads: usize = frames.iter().map(|(_, bytes)| bytes + 8).sum();
        assert!(payloads <= bytes.len(), "what frames hold came in");
        let kinds: Vec<String> = frames.iter().take(3).map(|(kind, _)| letters(*kind)).collect();
        Outcome::new(format!("{kinds:?} {error:?}"))
    });
}

/// A number in letters, since kinds of answers are told apart without digits.
fn letters(number: i32) -> String {
    number.to_string().bytes().map(|digit| char::from(digit.wrapping_add(b'a' - b'0'))).collect()
}

#[test]
fn pulsar_entry() {
    fuzz(Plan { name: "pulsar-entry", inputs: 20_000, growth: 4 }, |bytes| {
        // As it is, and as its writer would have sealed it: else nothing gets past the checksum.
        let raw = entry(bytes);
        let mended = mended(bytes);
        if mended == bytes {
            return raw;
        }
        let sealed = entry(&mended);
        Outcome { kind: format!("{} / {}", raw.kind, sealed.kind), bytes: bytes.len() + raw.bytes + sealed.bytes }
    });
}

/// The entry with the checksum that goes with its bytes.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let mut at = 0;
    if let Some([0x0e, 0x02, a, b, c, d]) = mended.first_chunk::<6>() {
        at = 6usize.saturating_add(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
    }
    if mended.get(at..).is_some_and(|rest| rest.len() >= 6 && rest.starts_with(&[0x0e, 0x01])) {
        let checksum = crc32c(&mended[at + 6..]);
        mended[at + 2..at + 6].copy_from_slice(&checksum.to_be_bytes());
    }
    mended
}

/// Castagnoli's, bit by bit: independent of the one under test.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

fn entry(bytes: &[u8]) -> Outcome {
    let entry = match Entry::decode(ID, Bytes::copy_from_slice(bytes)) {
        Ok(entry) => entry,
        Err(error) => return Outcome { kind: error.to_string(), bytes: bytes.len() },
    };
    assert!(entry.len_bytes() <= bytes.len());
    assert!(entry.highest_sequence_id >= entry.sequence_id);
    let mut kind = format!("marker {} broker time {}", entry.is_marker, entry.broker_time_ms.is_some());
    let batch = match entry.batch() {
        Ok(batch) => batch,
        Err(error) => {
            // A payload that turns out not to be what it claims had its room, if it could have been.
            let bytes = if matches!(error, DecodeError::Decompression { .. }) { becomes(bytes.len()) } else { 0 };
            return Outcome { kind: format!("{kind} {error}"), bytes };
        }
    };
    let (mut messages, mut bodies) = (0u64, 0usize);
    for message in batch.messages() {
        match message {
            Ok(message) => {
                messages += 1;
                bodies += message.value.len();
                let properties = message.properties().count();
                let (key, time) = (message.key.is_some(), message.event_time_ms.is_some());
                if messages < 4 {
                    kind +=
                        &format!(" [{key} {time} {} {} {}]", message.null_value, message.has_own_id, properties > 0);
                }
            }
            Err(error) => kind += &format!(" {error}"),
        }
    }
    assert!(messages <= u64::from(entry.count));
    let ids = batch.sequence_ids().filter(Result::is_ok).count() as u64;
    assert_eq!(ids, messages, "the ids alone are those of the messages");
    // What a foreign payload becomes is the broker's and its producer's affair, up to the limit.
    Outcome { kind, bytes: becomes(bytes.len()).min(bodies.max(bytes.len()) * 4 + (1 << 20)) }
}

/// How much a compressed payload can become at most: a Zstandard block of 4 bytes becomes 128 KiB.
fn becomes(bytes: usize) -> usize {
    bytes.saturating_mul(32 * 1024).min(bridge_common::pulsar::MAX_UNCOMPRESSED_BYTES)
}

#[test]
fn pulsar_metadata() {
    // The metadata by itself: what is read of it is what the generated messages read.
    fuzz(Plan { name: "pulsar-metadata", inputs: 10_000, growth: 4 }, |metadata| {
        let mut bytes = u32::try_from(metadata.len()).expect("short").to_be_bytes().to_vec();
        bytes.extend_from_slice(metadata);
        let ours = Entry::decode(ID, Bytes::from(bytes));
        let theirs = reference(|| MessageMetadata::decode(metadata));
        let kind = format!("{:?} {}", ours.as_ref().map(drop), theirs.is_ok());
        if let (Ok(ours), Ok(theirs)) = (&ours, &theirs) {
            assert_eq!(ours.producer_name, theirs.producer_name);
            assert_eq!(ours.sequence_id, theirs.sequence_id);
            assert_eq!(ours.highest_sequence_id, theirs.highest_sequence_id.unwrap_or(0).max(theirs.sequence_id));
            assert_eq!(ours.publish_time_ms, theirs.publish_time);
            assert_eq!(i64::from(ours.count), i64::from(theirs.num_messages_in_batch.unwrap_or(1)));
            assert_eq!(ours.schema_version, theirs.schema_version);
            assert_eq!(ours.is_marker, theirs.marker_type.is_some());
            alone(ours, theirs);
        }
        Outcome::new(kind)
    });
}

/// A message that is no batch has all it has in the metadata.
fn alone(entry: &Entry, metadata: &MessageMetadata) {
    let Ok(batch) = entry.batch() else { return };
    if metadata.num_messages_in_batch.is_some() {
        return;
    }
    let Some(Ok(message)) = batch.messages().next() else { return };
    let theirs = metadata.properties.iter().map(|pair| (pair.key.as_str(), pair.value.as_str()));
    assert!(message.properties().eq(theirs), "properties");
    assert_eq!(message.event_time_ms, metadata.event_time.filter(|time| *time != 0));
    assert_eq!(message.null_value, metadata.null_value());
    if !metadata.partition_key_b64_encoded() {
        assert_eq!(message.key.as_deref(), metadata.partition_key.as_ref().map(String::as_bytes));
    }
}

#[test]
fn pulsar_single_metadata() {
    fuzz(Plan { name: "pulsar-single-metadata", inputs: 10_000, growth: 4 }, |single| {
        let outer = MessageMetadata { num_messages_in_batch: Some(1), sequence_id: 9, ..MessageMetadata::default() };
        let outer = outer.encode_to_vec();
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short").to_be_bytes();
        let bytes = [&size(&outer)[..], &outer, &size(single), single].concat();
        let entry = Entry::decode(ID, Bytes::from(bytes)).expect("a sound head");
        let batch = entry.batch().expect("not compressed");
        let ours = batch.messages().next();
        let theirs = reference(|| SingleMessageMetadata::decode(single));
        let kind = format!("{:?} {}", ours.as_ref().map(|ours| ours.as_ref().map(drop)), theirs.is_ok());
        if let (Some(Ok(ours)), Ok(theirs)) = (&ours, &theirs) {
            assert_eq!(theirs.payload_size, 0, "there is no body");
            assert!(!theirs.compacted_out());
            assert_eq!(ours.sequence_id, theirs.sequence_id.unwrap_or(9));
            assert_eq!(ours.event_time_ms, theirs.event_time.filter(|time| *time != 0));
            assert_eq!(ours.null_value, theirs.null_value());
            let properties = theirs.properties.iter().map(|pair| (pair.key.as_str(), pair.value.as_str()));
            assert!(ours.properties().eq(properties), "properties");
            if !theirs.partition_key_b64_encoded() {
                assert_eq!(ours.key.as_deref(), theirs.partition_key.as_ref().map(String::as_bytes));
            }
        }
        Outcome::new(kind)
    });
}

#[test]
fn pulsar_batches_come_back() {
    fuzz(Plan { name: "pulsar-batch", inputs: 4_000, growth: 400 }, |bytes| {
        let mut pieces = Pieces(bytes);
        let compression = match pieces.byte() % 3 {
            0 => Compression::None,
            1 => Compression::Lz4,
            _ => Compression::Zstd(1),
        };
        let (name, version) = (pieces.text(), pieces.bytes());
        let (mut builder, mut messages, mut id) = (BatchBuilder::new(), Vec::new(), pieces.number() >> 1);
        while !pieces.is_empty() {
            let flags = pieces.byte();
            let key = (flags & 1 == 0).then(|| pieces.bytes());
            let event_time_ms = (flags & 2 == 0).then(|| pieces.number().max(1));
            let value = (flags & 4 == 0).then(|| pieces.bytes());
            let properties: Vec<_> = (0..flags >> 6).map(|_| (pieces.text(), pieces.text())).collect();
            let message = OutgoingMessage { sequence_id: id, key, event_time_ms, value };
            builder.push(&message, properties.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            messages.push((message, properties));
            id += 1 + u64::from(flags >> 3 & 7);
        }
        if messages.is_empty() {
            return Outcome::new("no message");
        }
        let seal = Seal {
            producer_name: &name,
            producer_id: 1,
            publish_time_ms: 5,
            compression,
            schema_version: Some(version),
        };
        let frame = builder.seal(&seal).expect("memory is there");
        let stored = frame.bytes().slice(frame.len_bytes() - frame.body_bytes()..);
        let entry = Entry::decode(ID, stored).expect("what we write");
        assert_eq!((entry.sequence_id, entry.highest_sequence_id), (frame.lowest(), frame.highest()));
        assert_eq!((&entry.producer_name, entry.schema_version.as_deref()), (&name, Some(version)));
        let batch = entry.batch().expect("what we write");
        let mut read = batch.messages();
        for (message, properties) in &messages {
            let back = read.next().expect("all of them").expect("what we write");
            assert_eq!(back.sequence_id, message.sequence_id);
            assert_eq!(back.key.as_deref(), message.key);
            assert_eq!(back.event_time_ms, message.event_time_ms);
            assert_eq!((back.null_value, back.value), (message.value.is_none(), message.value.unwrap_or_default()));
            assert!(back.properties().eq(properties.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
        }
        assert!(read.next().is_none());
        Outcome { kind: format!("{compression:?} {}", messages.len().ilog2()), bytes: frame.len_bytes() + (8 << 10) }
    });
}
