//! The Pulsar connection against a broker that is played here, for what a real one does not do on demand: redirects,
//! challenges, silence, broken frames.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use bridge_common::pulsar::{
    Auth, BatchBuilder, Client, ClientConfig, Error, OutgoingMessage, ProducerEvent, ReaderStart, Seal, SendError,
    ServerError, TokenSource,
};
use prost::Message as _;
use pulsar::message::proto::{self, BaseCommand, base_command::Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

const TOPIC: &str = "persistent://public/default/t";

struct Broker {
    listener: TcpListener,
}

struct Peer {
    stream: TcpStream,
}

fn base(kind: Type) -> BaseCommand {
    BaseCommand { r#type: kind as i32, ..Default::default() }
}

impl Broker {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn url(&self) -> String {
        format!("pulsar://{}", self.listener.local_addr().unwrap())
    }

    fn config(&self) -> ClientConfig {
        ClientConfig { operation_timeout: Duration::from_millis(300), ..ClientConfig::new(self.url()) }
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = timeout(Duration::from_secs(10), self.listener.accept()).await.unwrap().unwrap();
        Peer { stream }
    }

    /// A connection that passed the handshake.
    async fn connected(&self) -> Peer {
        let mut peer = self.accept().await;
        let connect = peer.receive().await.connect.unwrap();
        assert!(connect.protocol_version() >= 19 && connect.feature_flags.unwrap().supports_auth_refresh());
        peer.send_connected().await;
        peer
    }
}

impl Peer {
    async fn receive(&mut self) -> BaseCommand {
        self.try_receive().await.expect("a command")
    }

    async fn try_receive(&mut self) -> Option<BaseCommand> {
        let total = self.stream.read_u32().await.ok()?;
        let size = self.stream.read_u32().await.ok()?;
        let mut bytes = vec![0; total as usize - 4];
        self.stream.read_exact(&mut bytes).await.ok()?;
        Some(BaseCommand::decode(&bytes[..size as usize]).unwrap())
    }

    async fn send(&mut self, command: BaseCommand) {
        let bytes = command.encode_to_vec();
        let mut frame = (bytes.len() as u32 + 4).to_be_bytes().to_vec();
        frame.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        frame.extend_from_slice(&bytes);
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn send_connected(&mut self) {
        let connected = proto::CommandConnected {
            server_version: "played".to_owned(),
            protocol_version: Some(21),
            max_message_size: Some(1000),
        };
        self.send(BaseCommand { connected: Some(connected), ..base(Type::Connected) }).await;
    }

    /// Answers one lookup: this broker has it, or that one, or that one by proxy.
    async fn answer_lookup(&mut self, url: &str, redirect: bool, proxy: bool) -> proto::CommandLookupTopic {
        let lookup = self.receive().await.lookup_topic.unwrap();
        let response = proto::CommandLookupTopicResponse {
            broker_service_url: Some(url.to_owned()),
            response: Some(if redirect { 0 } else { 1 }),
            request_id: lookup.request_id,
            authoritative: Some(redirect),
            proxy_through_service_url: Some(proxy),
            ..Default::default()
        };
        self.send(BaseCommand { lookup_topic_response: Some(response), ..base(Type::LookupResponse) }).await;
        lookup
    }

    async fn answer_producer(&mut self) -> proto::CommandProducer {
        let producer = self.receive().await.producer.unwrap();
        let success = proto::CommandProducerSuccess {
            request_id: producer.request_id,
            producer_name: producer.producer_name.clone().unwrap(),
            last_sequence_id: Some(-1),
            ..Default::default()
        };
        self.send(BaseCommand { producer_success: Some(success), ..base(Type::ProducerSuccess) }).await;
        producer
    }
}

#[tokio::test]
async fn lookups_follow_redirects_and_go_through_proxies() {
    let (first, second) = (Broker::new().await, Broker::new().await);
    let client = Client::new(first.config()).unwrap();
    let (events, _told) = unbounded_channel();
    let played = async {
        let mut peer = first.connected().await;
        assert!(!peer.answer_lookup(&second.url(), true, false).await.authoritative());
        let mut redirected = second.connected().await;
        assert!(redirected.answer_lookup("pulsar://hidden:6650", false, true).await.authoritative());
        let mut proxied = first.accept().await;
        assert_eq!(proxied.receive().await.connect.unwrap().proxy_to_broker_url.as_deref(), Some("hidden:6650"));
        proxied.send_connected().await;
        let producer = proxied.answer_producer().await;
        assert_eq!((producer.topic.as_str(), producer.user_provided_producer_name()), (TOPIC, true));
        (peer, redirected, proxied)
    };
    let (opened, _peers) = tokio::join!(client.open_producer(TOPIC, "n", None, events, 1), played);
    let opened = opened.unwrap();
    assert_eq!((opened.last_sequence_id, opened.max_message_bytes), (None, 1000));
}

#[tokio::test]
async fn an_open_without_answer_times_out_and_its_id_is_closed() {
    let broker = Broker::new().await;
    let client = Client::new(broker.config()).unwrap();
    let (events, mut told) = unbounded_channel();
    let played = async {
        let mut peer = broker.connected().await;
        peer.answer_lookup(&broker.url(), false, false).await;
        let asked = peer.receive().await.producer.unwrap();
        let closed = peer.receive().await.close_producer.unwrap();
        assert_eq!(asked.producer_id, closed.producer_id);
        asked.producer_id
    };
    let (opened, _) = tokio::join!(client.open_producer(TOPIC, "n", None, events, 1), played);
    let error = opened.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.to_string().contains(TOPIC));
    assert!(told.try_recv().is_err(), "who never had a producer hears of no end");
}

#[tokio::test]
async fn a_connection_that_ends_closes_its_producers_once_and_is_replaced_at_the_next_use() {
    let broker = Broker::new().await;
    let client = Client::new(broker.config()).unwrap();
    for _ in 0..2 {
        let (events, mut told) = unbounded_channel();
        let played = async {
            let mut peer = broker.connected().await;
            peer.answer_lookup(&broker.url(), false, false).await;
            let producer = peer.answer_producer().await;
            let send = peer.receive().await.send.unwrap();
            assert_eq!(send.producer_id, producer.producer_id);
            // A frame that announces 4 GiB.
            peer.stream.write_all(&[0xff; 8]).await.unwrap();
            peer
        };
        let used = async {
            let producer = client.open_producer(TOPIC, "n", None, events, 5).await.unwrap().producer;
            let mut builder = BatchBuilder::new();
            builder.push(&OutgoingMessage { sequence_id: 1, value: Some(b"v"), ..Default::default() }, []);
            let seal = Seal {
                producer_name: "n",
                producer_id: producer.id(),
                publish_time_ms: 1,
                compression: Default::default(),
                schema_version: None,
            };
            let frame = builder.seal(&seal).unwrap();
            producer.send(&frame).unwrap();
            let (tag, event) = timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap();
            assert!(tag == 5 && matches!(event, ProducerEvent::Closed { .. }), "{event:?}");
            assert_eq!(producer.send(&frame), Err(SendError::Gone));
            drop(producer);
            assert!(told.recv().await.is_none(), "nothing follows, and nobody keeps the channel");
        };
        tokio::join!(used, played);
    }
}

#[tokio::test]
async fn pings_are_answered_and_a_silent_broker_is_given_up() {
    let broker = Broker::new().await;
    let client = Client::new(ClientConfig { keep_alive: Duration::from_millis(100), ..broker.config() }).unwrap();
    let played = async {
        let mut peer = broker.connected().await;
        peer.answer_lookup(&broker.url(), false, false).await;
        let subscribe = peer.receive().await.subscribe.unwrap();
        assert_eq!((subscribe.durable(), subscribe.force_topic_creation()), (false, false));
        let success = proto::CommandSuccess { request_id: subscribe.request_id, schema: None };
        peer.send(BaseCommand { success: Some(success), ..base(Type::Success) }).await;
        assert!(peer.receive().await.flow.unwrap().message_permits > 0);
        peer.send(BaseCommand { ping: Some(proto::CommandPing {}), ..base(Type::Ping) }).await;
        assert!(peer.receive().await.pong.is_some());
        // From here on silence: it asks once, then gives up.
        assert!(peer.receive().await.ping.is_some());
        assert!(peer.try_receive().await.is_none());
    };
    let used = async {
        let mut reader = client.open_reader(TOPIC, ReaderStart::Earliest, false).await.unwrap();
        let error = timeout(Duration::from_secs(10), reader.next()).await.unwrap().unwrap_err();
        assert!(error.is_retryable(), "{error}");
    };
    tokio::join!(used, played);
}

#[tokio::test]
async fn a_broker_that_takes_questions_and_never_answers_is_passed_over_for_the_next_host() {
    let (frozen, awake) = (Broker::new().await, Broker::new().await);
    let url = format!("{},{}", frozen.url(), awake.url().trim_start_matches("pulsar://"));
    let client = Client::new(ClientConfig { service_url: url, ..frozen.config() }).unwrap();
    let held = async {
        let mut peer = frozen.connected().await;
        let _ = peer.receive().await;
        peer
    };
    let (refused, _still_open) = tokio::join!(client.open_reader(TOPIC, ReaderStart::Earliest, false), held);
    assert!(matches!(refused, Err(Error::Timeout { .. })), "{refused:?}");
    let played = async {
        let mut peer = awake.connected().await;
        assert!(peer.receive().await.lookup_topic.is_some(), "the next host is asked");
        peer
    };
    let (again, _) = tokio::join!(client.open_reader(TOPIC, ReaderStart::Earliest, false), played);
    assert!(again.is_err(), "and does not answer either");
}

#[tokio::test]
async fn many_who_meet_a_frozen_broker_at_once_wait_for_one_attempt_and_go_on_at_the_next_host() {
    let (frozen, awake) = (Broker::new().await, Broker::new().await);
    let url = format!("{},{}", frozen.url(), awake.url().trim_start_matches("pulsar://"));
    let connect_timeout = Duration::from_secs(1);
    let client = Client::new(ClientConfig { service_url: url, connect_timeout, ..awake.config() }).unwrap();
    let played = async {
        let mut peer = awake.connected().await;
        for _ in 0..8 {
            assert!(peer.receive().await.partition_metadata.is_some(), "all of them come here");
        }
        // Open until all of them have waited in vain.
        peer
    };
    let began = std::time::Instant::now();
    let asking = async {
        let asked: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.partitions(TOPIC).await })
            })
            .collect();
        for one in asked {
            // The second one has heard the questions, and says nothing to any of them.
            assert!(matches!(one.await.unwrap(), Err(Error::Timeout { .. })));
        }
    };
    timeout(Duration::from_secs(20), async { tokio::join!(asking, played) }).await.unwrap();
    assert!(began.elapsed() < 6 * connect_timeout, "{:?}: one after the other", began.elapsed());
}

#[tokio::test]
async fn a_challenge_is_answered_with_the_token_as_its_file_says_now() {
    let broker = Broker::new().await;
    let file = std::env::temp_dir().join(format!("bridge-token-{}", std::process::id()));
    std::fs::write(&file, "first\n").unwrap();
    let auth = Auth::Token(TokenSource::File(file.clone()));
    let client = Client::new(ClientConfig { auth, ..broker.config() }).unwrap();
    let played = async {
        let mut peer = broker.accept().await;
        let connect = peer.receive().await.connect.unwrap();
        assert_eq!((connect.auth_method_name(), connect.auth_data()), ("token", &b"first"[..]));
        peer.send_connected().await;
        std::fs::write(&file, "second").unwrap();
        let challenge = proto::CommandAuthChallenge::default();
        peer.send(BaseCommand { auth_challenge: Some(challenge), ..base(Type::AuthChallenge) }).await;
        let (mut answered, mut request) = (None, None);
        while answered.is_none() || request.is_none() {
            let command = peer.receive().await;
            answered = answered.or(command.auth_response);
            request = request.or(command.partition_metadata);
        }
        assert_eq!(answered.unwrap().response.unwrap().auth_data(), b"second");
        let error = proto::CommandError {
            request_id: request.unwrap().request_id,
            error: ServerError::TooManyRequests as i32,
            message: "later".to_owned(),
        };
        peer.send(BaseCommand { error: Some(error), ..base(Type::Error) }).await;
    };
    let (partitions, ()) = tokio::join!(client.partitions(TOPIC), played);
    std::fs::remove_file(&file).unwrap();
    let error = partitions.unwrap_err();
    assert!(matches!(error, Error::Retryable { code: ServerError::TooManyRequests, .. }), "{error}");
    assert!(error.to_string().contains("later"));
}
