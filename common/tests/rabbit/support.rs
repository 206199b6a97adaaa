//! Queues, senders and readers for the tests against a real RabbitMQ, and what happens to a node.
#![allow(dead_code, unreachable_pub)]

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bridge_common::config::QueueType;
use bridge_common::source::rabbitmq::{RabbitGroup, RabbitSettings};
use bridge_common::source::{Notice, Reader, SourceError, Taken};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use tokio::sync::RwLock;

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Tests that harm the node hold it alone.
pub static NODE: RwLock<()> = RwLock::const_new(());

pub fn url() -> String {
    std::env::var("RABBITMQ_URL").expect("RABBITMQ_URL names a RabbitMQ")
}

/// A name of the test's own.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_micros();
    format!("{what}-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// What a record was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub offset: u64,
    pub timestamp_ms: Option<u64>,
    pub key: Option<Vec<u8>>,
    pub value: String,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A queue of the test's own, deleted in the end, with a sender.
pub struct Bench {
    pub settings: RabbitSettings,
    pub queue: String,
    pub channel: Channel,
    connection: Connection,
}

impl Bench {
    pub async fn new(kind: QueueType) -> Self {
        let queue = unique("q");
        let mut settings = RabbitSettings::new(url(), &queue, unique("stream"));
        settings.queue_type = kind;
        settings.look_interval = Duration::from_millis(100);
        let (connection, channel) = connect().await;
        Bench { settings, queue, channel, connection }
    }

    /// After the node was gone.
    pub async fn reconnect(&mut self) {
        (self.connection, self.channel) = connect().await;
    }

    pub async fn open(&self) -> (RabbitGroup, Reader) {
        let (group, mut notices) = RabbitGroup::open(self.settings.clone()).await.expect("opened");
        let Some(Notice::Assigned(reader)) = notices.recv().await else { panic!("no reader") };
        (group, reader)
    }

    pub async fn publish(&self, properties: BasicProperties, body: &[u8]) {
        let sent = self.channel.basic_publish(
            "".into(),
            self.queue.as_str().into(),
            BasicPublishOptions::default(),
            body,
            properties,
        );
        let confirmed = sent.await.expect("sent").await.expect("answered");
        assert!(confirmed.is_ack(), "{confirmed:?}");
    }

    /// Bodies `from..to`, pipelined.
    pub async fn fill(&self, from: u64, to: u64) {
        let mut confirms = Vec::new();
        for number in from..to {
            let (queue, body) = (self.queue.as_str().into(), number.to_string());
            let options = BasicPublishOptions::default();
            let sent =
                self.channel.basic_publish("".into(), queue, options, body.as_bytes(), BasicProperties::default());
            confirms.push(sent.await.expect("sent"));
        }
        for confirm in confirms {
            assert!(confirm.await.expect("answered").is_ack());
        }
    }

    /// Ready messages, by the queue's own count.
    pub async fn ready(&self) -> u32 {
        let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(self.queue.as_str().into(), passive, FieldTable::default());
        queue.await.expect("looked").message_count()
    }

    pub async fn until_ready(&self, count: u32) {
        until("ready messages", || async { self.ready().await == count }).await;
    }

    pub async fn delete(&self) {
        self.channel.queue_delete(self.queue.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    }
}

async fn connect() -> (Connection, Channel) {
    let connection = Connection::connect(&url(), ConnectionProperties::default()).await.expect("connected");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    (connection, channel)
}

/// Looks again and again until it is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let mut interval = tokio::time::interval(Duration::from_millis(20));
    let looking = async {
        while !holds().await {
            interval.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

pub fn take(reader: &mut Reader, max: usize, seen: &mut Vec<Seen>) -> Result<Taken, SourceError> {
    reader.take(max, &mut |record| {
        seen.push(Seen {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: String::from_utf8(record.value.expect("a body").to_vec()).expect("text"),
            headers: record.headers.iter().map(|h| (h.name.to_owned(), h.value.map(<[u8]>::to_vec))).collect(),
        });
    })
}

/// Takes so many.
pub async fn read(reader: &mut Reader, count: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    let reading = async {
        while seen.len() < count {
            reader.ready().await;
            let missing = count - seen.len();
            take(reader, missing, &mut seen).expect("taken");
        }
    };
    let done = tokio::time::timeout(PATIENCE, reading).await;
    done.unwrap_or_else(|_| panic!("{} of {count} came in time", seen.len()));
    seen
}

/// Takes until it fails, and says how.
pub async fn fault(reader: &mut Reader) -> SourceError {
    until_fault(reader).await.1
}

/// Takes until it fails: what came before, and how it failed.
pub async fn until_fault(reader: &mut Reader) -> (Vec<Seen>, SourceError) {
    let reading = async {
        let mut seen = Vec::new();
        loop {
            reader.ready().await;
            if let Err(error) = take(reader, 1000, &mut seen) {
                return (seen, error);
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("a fault in time")
}

/// Starts until it works: after a fault the first tries may still meet the dying connection.
pub async fn start(reader: &mut Reader, offset: u64) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = reader.start_at(offset).await {
        assert!(error.is_transient() && Instant::now() < deadline, "{error}");
        tokio::task::yield_now().await;
    }
}

pub fn values(seen: &[Seen]) -> Vec<u64> {
    seen.iter().map(|seen| seen.value.parse().expect("a number")).collect()
}

pub fn offsets(seen: &[Seen]) -> Vec<u64> {
    seen.iter().map(|seen| seen.offset).collect()
}

/// The management API.
pub async fn management(method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
    let base = std::env::var("RABBITMQ_MANAGEMENT_URL").expect("RABBITMQ_MANAGEMENT_URL names its management");
    // A second call finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut request = reqwest::Client::new().request(method, format!("{base}/api/{path}"));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.expect("an answer").error_for_status().expect("done");
    serde_json::from_slice(&answer.bytes().await.expect("read")).unwrap_or(Value::Null)
}

/// Closes the connections of a stream's source, as an operator would.
pub async fn kill_connections(stream: &str) {
    let wanted = format!("bridge-{stream}");
    let killed = AtomicU64::new(0);
    until("a connection to kill", || async {
        let all = management(reqwest::Method::GET, "connections", None).await;
        for connection in all.as_array().expect("a list") {
            if connection["client_properties"]["connection_name"] == wanted.as_str() {
                assert_eq!(connection["timeout"], 30, "heartbeats are on");
                let name = connection["name"].as_str().expect("a name").replace(' ', "%20").replace('>', "%3E");
                management(reqwest::Method::DELETE, &format!("connections/{name}"), None).await;
                killed.fetch_add(1, Ordering::Relaxed);
            }
        }
        killed.load(Ordering::Relaxed) > 0
    })
    .await;
}

fn stack_directory() -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    std::env::var("STACK_DIR").unwrap_or_else(|_| format!("{root}/target/stack"))
}

/// Stops the node, and starts it again with its data.
pub fn restart_node() {
    for verb in ["down", "up"] {
        let stack = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/local/stack");
        let done = Command::new(stack).args([verb, "rabbitmq"]).env("STACK_DIR", stack_directory()).output();
        let done = done.expect("the stack runs");
        assert!(done.status.success(), "{verb}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Has the node evaluate an Erlang expression.
pub fn evaluate(expression: &str) {
    let directory = stack_directory();
    let ports = std::fs::read_to_string(format!("{directory}/ports/rabbitmq")).expect("the stack's ports");
    let port = ports.lines().find_map(|line| line.strip_prefix("rabbitmq_epmd_port=")).expect("the port mapper's port");
    let done = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl")
        .args(["-n", "bridges@localhost", "eval", expression])
        .envs([("HOME", format!("{directory}/rabbitmq/data")), ("ERL_EPMD_PORT", port.to_owned())])
        .output()
        .expect("rabbitmqctl runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
