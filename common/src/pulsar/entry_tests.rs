use ::pulsar::message::proto::{KeyValue, MessageMetadata, SingleMessageMetadata};
use proptest::prelude::*;

use super::*;
use crate::pulsar::{BatchBuilder, Compression, OutgoingMessage, Seal};

const ID: MessageId = MessageId { ledger: 3, entry: 4 };

/// What a broker would hand out of a frame: all that follows the command.
fn stored(builder: &mut BatchBuilder, compression: Compression) -> Bytes {
    let seal =
        Seal { producer_name: "p", producer_id: 1, publish_time_ms: 2, compression, schema_version: Some(b"version") };
    let frame = builder.seal(&seal).unwrap();
    frame.bytes().slice(frame.len_bytes() - frame.body_bytes()..)
}

/// An entry as a foreign producer writes it, with the broker's metadata before it.
fn foreign(metadata: &MessageMetadata, payload: &[u8]) -> Bytes {
    let raw = metadata.encode_to_vec();
    let mut body = u32::try_from(raw.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(&raw);
    body.extend_from_slice(payload);
    let broker = BrokerEntryMetadata { broker_timestamp: Some(99), index: Some(1) }.encode_to_vec();
    let mut entry = MAGIC_BROKER_METADATA.to_vec();
    entry.extend_from_slice(&u32::try_from(broker.len()).unwrap().to_be_bytes());
    entry.extend_from_slice(&broker);
    entry.extend_from_slice(&MAGIC_CHECKSUM);
    entry.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    entry.extend_from_slice(&body);
    entry.into()
}

fn metadata() -> MessageMetadata {
    MessageMetadata { producer_name: "foreign".to_owned(), sequence_id: 40, publish_time: 1, ..Default::default() }
}

fn single(payload: &mut Vec<u8>, metadata: &SingleMessageMetadata, body: &[u8]) {
    let raw = metadata.encode_to_vec();
    payload.extend_from_slice(&u32::try_from(raw.len()).unwrap().to_be_bytes());
    payload.extend_from_slice(&raw);
    payload.extend_from_slice(body);
}

/// The most that a payload becomes is taken, in each codec: the bound on sizes refuses no honest batch.
#[test]
fn the_most_that_a_payload_becomes_is_not_refused() {
    let zeros = vec![0; 8 << 20];
    let lz4 = lz4_flex::block::compress(&zeros);
    let zstd = zstd::bulk::compress(&zeros, 19).unwrap();
    let zlib = miniz_oxide::deflate::compress_to_vec_zlib(&zeros, 9);
    for (codec, payload) in [(CompressionType::Lz4, lz4), (CompressionType::Zstd, zstd), (CompressionType::Zlib, zlib)]
    {
        assert_eq!(codec::decompress(&payload, codec, zeros.len()).as_deref(), Ok(&zeros[..]), "{codec:?}");
        let refused = codec::decompress(&payload[..10], codec, 128 << 20);
        assert_eq!(refused, Err(DecodeError::Decompression { codec: codec.as_str_name() }));
    }
}

#[test]
fn a_message_that_is_no_batch_has_everything_in_the_entrys_metadata() {
    let metadata = MessageMetadata {
        properties: vec![KeyValue { key: "a".to_owned(), value: "b".to_owned() }],
        partition_key: Some("/wCA".to_owned()),
        partition_key_b64_encoded: Some(true),
        event_time: Some(7),
        ..metadata()
    };
    let entry = Entry::decode(ID, foreign(&metadata, b"body")).unwrap();
    assert_eq!((entry.sequence_id, entry.highest_sequence_id, entry.count), (40, 40, 1));
    assert_eq!(entry.broker_time_ms, Some(99));
    let batch = entry.batch().unwrap();
    let messages: Vec<_> = batch.messages().map(Result::unwrap).collect();
    let [message] = &messages[..] else { panic!("{} messages", messages.len()) };
    assert_eq!(message.key.as_deref(), Some(&[0xff, 0x00, 0x80][..]));
    assert_eq!(message.properties().collect::<Vec<_>>(), [("a", "b")]);
    assert_eq!((message.sequence_id, message.event_time_ms, message.value), (40, Some(7), &b"body"[..]));
}

#[test]
fn messages_without_an_id_count_up_and_compacted_ones_are_passed_over() {
    let mut payload = Vec::new();
    let body = SingleMessageMetadata { payload_size: 1, ..Default::default() };
    single(&mut payload, &body, b"x");
    single(&mut payload, &SingleMessageMetadata { compacted_out: Some(true), ..Default::default() }, b"");
    single(&mut payload, &body, b"y");
    let plain = payload.len();
    let metadata = MessageMetadata {
        num_messages_in_batch: Some(3),
        compression: Some(CompressionType::Zlib as i32),
        uncompressed_size: Some(u32::try_from(plain).unwrap()),
        ..metadata()
    };
    let zlib = miniz_oxide::deflate::compress_to_vec_zlib(&payload, 6);
    let entry = Entry::decode(ID, foreign(&metadata, &zlib)).unwrap();
    let batch = entry.batch().unwrap();
    let messages: Vec<_> = batch.messages().map(Result::unwrap).map(|m| (m.sequence_id, m.value)).collect();
    assert_eq!(messages, [(40, &b"x"[..]), (42, &b"y"[..])]);
}

#[test]
fn what_cannot_be_read_still_shows_its_ids() {
    let snappy = MessageMetadata { compression: Some(4), highest_sequence_id: Some(49), ..metadata() };
    let entry = Entry::decode(ID, foreign(&snappy, b"?")).unwrap();
    assert_eq!((&entry.producer_name[..], entry.sequence_id, entry.highest_sequence_id), ("foreign", 40, 49));
    assert_eq!(entry.batch().unwrap_err(), DecodeError::UnsupportedCodec { codec: "SNAPPY" });
    let unknown = MessageMetadata { compression: Some(77), ..metadata() };
    let unknown = Entry::decode(ID, foreign(&unknown, b"?")).unwrap();
    assert!(matches!(unknown.batch(), Err(DecodeError::UnsupportedCodec { .. })));
    let chunk = MessageMetadata { num_chunks_from_msg: Some(3), chunk_id: Some(1), ..metadata() };
    let chunk = Entry::decode(ID, foreign(&chunk, b"?")).unwrap();
    assert_eq!(chunk.batch().unwrap_err(), DecodeError::Chunked { chunk: 1, chunks: 3 });
    let bomb = MessageMetadata { compression: Some(1), uncompressed_size: Some(u32::MAX), ..metadata() };
    let bomb = Entry::decode(ID, foreign(&bomb, b"?")).unwrap();
    assert!(matches!(bomb.batch(), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn a_changed_byte_is_noticed() {
    let mut bytes = foreign(&metadata(), b"body").to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(Entry::decode(ID, bytes.into()).unwrap_err(), DecodeError::Checksum);
}

#[derive(Debug, Clone)]
struct Given {
    key: Option<Vec<u8>>,
    time: Option<u64>,
    value: Option<Vec<u8>>,
    properties: Vec<(String, String)>,
}

fn given() -> impl Strategy<Value = Given> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let properties = proptest::collection::vec((".{0,8}", ".{0,200}"), 0..4);
    let time = proptest::option::of(1..u64::MAX);
    (bytes(), time, bytes(), properties).prop_map(|(key, time, value, properties)| Given {
        key,
        time,
        value,
        properties,
    })
}

proptest! {
    /// Whatever is put into a batch comes out of it, under every compression.
    #[test]
    fn batches_come_back(
        given in proptest::collection::vec(given(), 1..20),
        first in 0..u64::MAX / 2,
        step in 1..1000u64,
        compression in proptest::sample::select(vec![Compression::None, Compression::Lz4, Compression::Zstd(1)]),
    ) {
        let mut builder = BatchBuilder::new();
        for (id, given) in (first..).step_by(step as usize).zip(&given) {
            let message = OutgoingMessage {
                sequence_id: id,
                key: given.key.as_deref(),
                event_time_ms: given.time,
                value: given.value.as_deref(),
            };
            builder.push(&message, given.properties.iter().map(|(name, value)| (&name[..], &value[..])));
        }
        let entry = Entry::decode(ID, stored(&mut builder, compression)).unwrap();
        prop_assert_eq!(entry.count as usize, given.len());
        prop_assert_eq!(entry.schema_version.as_deref(), Some(&b"version"[..]));
        prop_assert_eq!(entry.highest_sequence_id, first + step * (given.len() as u64 - 1));
        let batch = entry.batch().unwrap();
        let messages: Vec<_> = batch.messages().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(messages.len(), given.len());
        for ((message, given), index) in messages.iter().zip(&given).zip(0..) {
            prop_assert_eq!(message.sequence_id, first + step * index);
            prop_assert_eq!(message.key.as_deref(), given.key.as_deref());
            prop_assert_eq!(message.event_time_ms, given.time);
            prop_assert_eq!(message.null_value, given.value.is_none());
            prop_assert_eq!(message.value, given.value.as_deref().unwrap_or_default());
            let properties: Vec<_> = message.properties().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(&properties, &given.properties);
        }
    }

    /// Bytes of any kind are an error at worst.
    #[test]
    fn hostile_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        codec in 0..6i32,
        count in any::<i32>(),
        size in 0..100_000u32,
    ) {
        let _ = Entry::decode(ID, bytes.clone().into());
        let metadata = MessageMetadata {
            compression: Some(codec),
            num_messages_in_batch: Some(count),
            uncompressed_size: Some(size),
            ..metadata()
        };
        if let Ok(entry) = Entry::decode(ID, foreign(&metadata, &bytes))
            && let Ok(batch) = entry.batch()
        {
            for message in batch.messages().flatten() {
                let _ = message.properties().count();
            }
        }
    }

    /// Good entries with a few bytes changed behind the checksum.
    #[test]
    fn damaged_batches_never_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let mut builder = BatchBuilder::new();
        for id in 0..5 {
            let message = OutgoingMessage { sequence_id: id, key: Some(b"key"), value: Some(b"value"), ..Default::default() };
            builder.push(&message, [("name", "value")]);
        }
        let mut bytes = stored(&mut builder, Compression::None).to_vec();
        let length = bytes.len() - 6;
        for (at, byte) in changes {
            bytes[6 + at % length] = byte;
        }
        let checksum = crc32c::crc32c(&bytes[6..]);
        bytes[2..6].copy_from_slice(&checksum.to_be_bytes());
        if let Ok(entry) = Entry::decode(ID, bytes.into())
            && let Ok(batch) = entry.batch()
        {
            for message in batch.messages().flatten() {
                let _ = message.properties().count();
            }
        }
    }
}
