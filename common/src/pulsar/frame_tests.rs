use ::pulsar::message::proto;
use prost::Message as _;

use super::*;

fn seal(compression: Compression) -> Seal<'static> {
    Seal {
        producer_name: "bridge/s/c/t/0",
        producer_id: 300,
        publish_time_ms: 1_700_000_000_000,
        compression,
        schema_version: Some(&[0, 0, 0, 0, 0, 0, 0, 5]),
    }
}

fn be32(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize
}

/// The generated messages, decoded from the hand-written bytes, say exactly what was meant and nothing else.
#[test]
fn bytes_decode_to_the_messages_of_the_protocol() {
    let mut builder = BatchBuilder::new();
    let key = [0xff, 0x00, 0x80];
    let full = OutgoingMessage { sequence_id: 7, key: Some(b"k"), event_time_ms: Some(9), value: Some(b"body") };
    builder.push(&full, [("a", "1"), ("a", "")]);
    builder.push(&OutgoingMessage { sequence_id: 9, key: Some(&key), value: Some(b""), ..Default::default() }, []);
    builder.push(&OutgoingMessage { sequence_id: u64::MAX, ..Default::default() }, []);
    assert_eq!((builder.count(), builder.lowest(), builder.highest()), (3, Some(7), Some(u64::MAX)));
    let frame = builder.seal(&seal(Compression::None)).unwrap();
    assert!(builder.is_empty());

    let bytes = frame.bytes();
    assert_eq!(be32(bytes), bytes.len() - 4);
    let command_bytes = be32(&bytes[4..]);
    let command = proto::BaseCommand::decode(&bytes[8..8 + command_bytes]).unwrap();
    let send = proto::CommandSend {
        producer_id: 300,
        sequence_id: 7,
        num_messages: Some(3),
        highest_sequence_id: Some(u64::MAX),
        ..Default::default()
    };
    let expected =
        proto::BaseCommand { r#type: proto::base_command::Type::Send as i32, send: Some(send), ..Default::default() };
    assert_eq!(command, expected);

    let body = &bytes[8 + command_bytes..];
    assert_eq!(body.len(), frame.body_bytes());
    assert_eq!(body[..2], MAGIC_CHECKSUM);
    assert_eq!(be32(&body[2..]) as u32, crc32c::crc32c(&body[6..]));
    let metadata_bytes = be32(&body[6..]);
    let metadata = proto::MessageMetadata::decode(&body[10..10 + metadata_bytes]).unwrap();
    let mut payload = &body[10 + metadata_bytes..];
    let expected = proto::MessageMetadata {
        producer_name: "bridge/s/c/t/0".to_owned(),
        sequence_id: 7,
        publish_time: 1_700_000_000_000,
        uncompressed_size: Some(payload.len() as u32),
        num_messages_in_batch: Some(3),
        schema_version: Some(vec![0, 0, 0, 0, 0, 0, 0, 5]),
        highest_sequence_id: Some(u64::MAX),
        ..Default::default()
    };
    assert_eq!(metadata, expected);

    let pair = |key: &str, value: &str| proto::KeyValue { key: key.to_owned(), value: value.to_owned() };
    let expected = [
        proto::SingleMessageMetadata {
            properties: vec![pair("a", "1"), pair("a", "")],
            partition_key: Some("k".to_owned()),
            payload_size: 4,
            event_time: Some(9),
            sequence_id: Some(7),
            ..Default::default()
        },
        proto::SingleMessageMetadata {
            partition_key: Some("/wCA".to_owned()),
            partition_key_b64_encoded: Some(true),
            sequence_id: Some(9),
            ..Default::default()
        },
        proto::SingleMessageMetadata { sequence_id: Some(u64::MAX), null_value: Some(true), ..Default::default() },
    ];
    for (expected, value) in expected.iter().zip(["body", "", ""]) {
        let size = be32(payload);
        let single = proto::SingleMessageMetadata::decode(&payload[4..4 + size]).unwrap();
        assert_eq!(single, *expected);
        payload = &payload[4 + size..];
        assert_eq!(&payload[..single.payload_size as usize], value.as_bytes());
        payload = &payload[single.payload_size as usize..];
    }
    assert!(payload.is_empty());
}

#[test]
fn what_was_announced_as_fitting_does_fit() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd(1)] {
        let mut builder = BatchBuilder::new();
        // Bytes that no codec makes smaller.
        let value: Vec<u8> = (0..100_000u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
        let message = OutgoingMessage {
            sequence_id: u64::MAX,
            key: Some(&value[..1000]),
            event_time_ms: Some(u64::MAX),
            value: Some(&value),
        };
        let announced = builder.body_bytes_with(&message, 2, 6, "bridge/s/c/t/0");
        builder.push(&message, [("abc", ""), ("d", "ef")]);
        let frame = builder.seal(&seal(compression)).unwrap();
        assert!(frame.body_bytes() <= announced, "{} > {announced} with {compression:?}", frame.body_bytes());
    }
}

#[test]
#[should_panic(expected = "does not rise")]
fn sequence_ids_must_rise_within_a_batch() {
    let mut builder = BatchBuilder::new();
    builder.push(&OutgoingMessage { sequence_id: 5, ..Default::default() }, []);
    builder.push(&OutgoingMessage { sequence_id: 5, ..Default::default() }, []);
}
