//! The commands we send, as bytes, and frames as they come in
//! (<https://pulsar.apache.org/docs/4.0.x/developing-binary-protocol/>).

use std::io;

use ::pulsar::message::proto::{self, BaseCommand, base_command::Type};
use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The protocol's version that we speak: 19, of Pulsar 2.8 and later.
const PROTOCOL_VERSION: i32 = 19;
const CLIENT_VERSION: &str = concat!("stream-bridges-", env!("CARGO_PKG_VERSION"));

/// A command without payload, framed for the socket.
pub(super) fn encode(command: &BaseCommand) -> Bytes {
    let size = command.encoded_len();
    let mut bytes = Vec::with_capacity(8 + size);
    let be = |size: usize| u32::try_from(size).expect("commands are a few hundred bytes").to_be_bytes();
    bytes.extend_from_slice(&be(size + 4));
    bytes.extend_from_slice(&be(size));
    command.encode_raw(&mut bytes);
    bytes.into()
}

fn base(kind: Type) -> BaseCommand {
    BaseCommand { r#type: kind as i32, ..Default::default() }
}

pub(super) fn connect(method: &str, data: Option<Vec<u8>>, proxy_to: Option<String>) -> BaseCommand {
    let connect = proto::CommandConnect {
        client_version: CLIENT_VERSION.to_owned(),
        auth_method_name: Some(method.to_owned()),
        auth_data: data,
        protocol_version: Some(PROTOCOL_VERSION),
        proxy_to_broker_url: proxy_to,
        feature_flags: Some(proto::FeatureFlags {
            supports_auth_refresh: Some(true),
            supports_broker_entry_metadata: Some(true),
            supports_partial_producer: Some(false),
        }),
        ..Default::default()
    };
    BaseCommand { connect: Some(connect), ..base(Type::Connect) }
}

pub(super) fn auth_response(method: &str, data: Option<Vec<u8>>) -> BaseCommand {
    let response = proto::CommandAuthResponse {
        client_version: Some(CLIENT_VERSION.to_owned()),
        response: Some(proto::AuthData { auth_method_name: Some(method.to_owned()), auth_data: data }),
        protocol_version: Some(PROTOCOL_VERSION),
    };
    BaseCommand { auth_response: Some(response), ..base(Type::AuthResponse) }
}

pub(super) fn ping() -> BaseCommand {
    BaseCommand { ping: Some(proto::CommandPing {}), ..base(Type::Ping) }
}

pub(super) fn pong() -> BaseCommand {
    BaseCommand { pong: Some(proto::CommandPong {}), ..base(Type::Pong) }
}

pub(super) fn partitions(request_id: u64, topic: &str) -> BaseCommand {
    let metadata = proto::CommandPartitionedTopicMetadata { topic: topic.to_owned(), request_id, ..Default::default() };
    BaseCommand { partition_metadata: Some(metadata), ..base(Type::PartitionedMetadata) }
}

pub(super) fn lookup(request_id: u64, topic: &str, authoritative: bool, listener: Option<String>) -> BaseCommand {
    let lookup = proto::CommandLookupTopic {
        topic: topic.to_owned(),
        request_id,
        authoritative: Some(authoritative),
        advertised_listener_name: listener,
        ..Default::default()
    };
    BaseCommand { lookup_topic: Some(lookup), ..base(Type::Lookup) }
}

pub(super) fn producer(producer: proto::CommandProducer) -> BaseCommand {
    BaseCommand { producer: Some(producer), ..base(Type::Producer) }
}

pub(super) fn close_producer(request_id: u64, producer_id: u64) -> BaseCommand {
    let close = proto::CommandCloseProducer { producer_id, request_id };
    BaseCommand { close_producer: Some(close), ..base(Type::CloseProducer) }
}

pub(super) fn subscribe(subscribe: proto::CommandSubscribe) -> BaseCommand {
    BaseCommand { subscribe: Some(subscribe), ..base(Type::Subscribe) }
}

pub(super) fn flow(consumer_id: u64, message_permits: u32) -> BaseCommand {
    BaseCommand { flow: Some(proto::CommandFlow { consumer_id, message_permits }), ..base(Type::Flow) }
}

pub(super) fn close_consumer(request_id: u64, consumer_id: u64) -> BaseCommand {
    let close = proto::CommandCloseConsumer { consumer_id, request_id };
    BaseCommand { close_consumer: Some(close), ..base(Type::CloseConsumer) }
}

pub(super) fn last_message_id(request_id: u64, consumer_id: u64) -> BaseCommand {
    let get = proto::CommandGetLastMessageId { consumer_id, request_id };
    BaseCommand { get_last_message_id: Some(get), ..base(Type::GetLastMessageId) }
}

pub(super) fn get_or_create_schema(request_id: u64, topic: &str, schema: proto::Schema) -> BaseCommand {
    let get = proto::CommandGetOrCreateSchema { request_id, topic: topic.to_owned(), schema };
    BaseCommand { get_or_create_schema: Some(get), ..base(Type::GetOrCreateSchema) }
}

/// The request id that an answer carries.
pub(super) fn answered_request(command: &BaseCommand) -> Option<u64> {
    None.or(command.success.as_ref().map(|answer| answer.request_id))
        .or(command.error.as_ref().map(|answer| answer.request_id))
        .or(command.producer_success.as_ref().map(|answer| answer.request_id))
        .or(command.partition_metadata_response.as_ref().map(|answer| answer.request_id))
        .or(command.lookup_topic_response.as_ref().map(|answer| answer.request_id))
        .or(command.get_last_message_id_response.as_ref().map(|answer| answer.request_id))
        .or(command.get_or_create_schema_response.as_ref().map(|answer| answer.request_id))
}

/// One frame from a broker: its command, and what follows it.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) command: BaseCommand,
    pub(super) payload: Bytes,
}

/// Reads frames. Dropping the future of [`FrameReader::next`] loses nothing: what was read stays in the buffer.
pub(super) struct FrameReader<R> {
    inner: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that takes frames of at most `limit` bytes.
    pub(super) fn new(inner: R, limit: usize) -> Self {
        Self { inner, buffer: BytesMut::with_capacity(16 * 1024), limit }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next frame; an error where the connection ends or what comes is no frame.
    pub(super) async fn next(&mut self) -> io::Result<Incoming> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer, self.limit)? {
                return Ok(frame);
            }
            self.buffer.reserve(16 * 1024);
            if self.inner.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed the connection"));
            }
        }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn take_frame(buffer: &mut BytesMut, limit: usize) -> io::Result<Option<Incoming>> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let total = u32::from_be_bytes(*head) as usize;
    if total > limit {
        return Err(broken(&format!("a frame of {total} bytes came where at most {limit} are allowed")));
    }
    if buffer.len() < 4 + total {
        buffer.reserve(4 + total - buffer.len());
        return Ok(None);
    }
    let mut frame = buffer.split_to(4 + total).freeze();
    frame.advance(4);
    let size = frame.try_get_u32().map_err(|_| broken("a frame has no command"))? as usize;
    if size > frame.len() {
        return Err(broken("a command is longer than its frame"));
    }
    let command = BaseCommand::decode(frame.split_to(size)).map_err(|_| broken("a command cannot be decoded"))?;
    Ok(Some(Incoming { command, payload: frame }))
}

/// The frames in these bytes, as they would come from a socket: each one's type and the size of what follows its command.
#[cfg(feature = "fuzzing")]
pub(crate) fn frames_in(bytes: &[u8], limit: usize) -> (Vec<(i32, usize)>, Option<String>) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    // In pieces, since a socket gives pieces.
    for piece in bytes.chunks(61) {
        buffer.extend_from_slice(piece);
        loop {
            match take_frame(&mut buffer, limit) {
                Ok(Some(frame)) => {
                    // What every frame is asked for.
                    let _ = answered_request(&frame.command);
                    frames.push((frame.command.r#type, frame.payload.len()));
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
    }
    (frames, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_whole_and_oversized_ones_end_it() {
        let bytes = [&encode(&ping())[..], &encode(&flow(3, 4))[..], &[0xff, 0xff, 0xff, 0xff]].concat();
        let mut reader = FrameReader::new(&bytes[..], 1000);
        assert!(reader.next().await.unwrap().command.ping.is_some());
        let flow = reader.next().await.unwrap().command.flow.unwrap();
        assert_eq!((flow.consumer_id, flow.message_permits), (3, 4));
        assert_eq!(reader.next().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn frames_that_lie_about_their_sizes_are_errors() {
        for bytes in [&[0, 0, 0, 2, 0, 0][..], &[0, 0, 0, 5, 0, 0, 0, 9, 1], &[0, 0, 0, 5, 0, 0, 0, 1, 0xff]] {
            assert!(take_frame(&mut BytesMut::from(bytes), 100).is_err(), "{bytes:?}");
        }
    }
}
