//! The polled source against a real RabbitMQ, Pulsar and Kafka, as `deploy/local/stack` starts them. RabbitMQ is stopped
//! and started again on the way.
#![cfg(all(feature = "poll", feature = "kafka"))]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bridge_common::config::{PollEndpoint, PollFigures, PollKind, PollMetric, PollSource};
use bridge_common::source::poll::{KafkaAccess, PollReader};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(90);
const FIGURES: [&str; 10] = [
    "messagesPerSecond",
    "p50LatencyMs",
    "p95LatencyMs",
    "p99LatencyMs",
    "memoryUsageMb",
    "cpuPercentage",
    "connectionCount",
    "uptime",
    "partitionCount",
    "brokerCount",
];

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: deploy/local/stack env tells it"))
}

/// The sections of the source: the three brokers, and Pulsar once more as any exporter.
fn section() -> PollSource {
    let http = |kind, url: String| PollEndpoint { kind, url: Some(url), ..PollEndpoint::default() };
    let pulsar = format!("{}/metrics", variable("PULSAR_ADMIN_URL"));
    let metric = |metric: &str, scale| Some(PollMetric { metric: metric.to_owned(), scale });
    let exporter = PollEndpoint {
        figures: PollFigures {
            memory_usage_mb: metric("process_resident_memory_bytes", None),
            latency: metric("pulsar_metadata_store_ops_latency_ms", Some(1.0)),
            ..PollFigures::default()
        },
        stats: BTreeMap::from([("openFiles".to_owned(), "process_open_fds".to_owned())]),
        ..http(PollKind::Prometheus, pulsar.clone())
    };
    let kafka = PollEndpoint { kind: PollKind::Kafka, groups_max: Some(100), ..PollEndpoint::default() };
    let endpoint = BTreeMap::from([
        ("rabbitmq".to_owned(), http(PollKind::RabbitMq, variable("RABBITMQ_METRICS_URL"))),
        ("pulsar".to_owned(), http(PollKind::Pulsar, pulsar)),
        ("kafka".to_owned(), kafka),
        ("exporter".to_owned(), exporter),
    ]);
    let source = PollSource { interval_ms: 1_000, timeout_ms: 1_000, endpoint };
    source.check().expect("a good section");
    source
}

/// Reads until the endpoint's record is as wanted.
async fn until(reader: &mut PollReader, endpoint: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            reader.ready().await;
            let mut found = None;
            let taken = reader.take(1, &mut |record| {
                let record: Value = serde_json::from_slice(record.value.expect("a body")).expect("JSON");
                if record["endpoint"] == endpoint {
                    found = Some(record);
                }
            });
            taken.expect("taken");
            if let Some(record) = found {
                if wanted(&record) {
                    return record;
                }
                last = record;
            }
        }
    });
    let found = found.await;
    found.unwrap_or_else(|_| panic!("{endpoint} did not become what it should be; its last record: {last:#}"))
}

fn is_measured(record: &Value, figure: &str) -> bool {
    record["quality"][figure] == "measured"
}

/// The figures that are measured, after a check that quality and value agree in all of them.
fn measured(record: &Value) -> Vec<&'static str> {
    for figure in FIGURES {
        assert_eq!(record[figure].is_number(), is_measured(record, figure), "{figure} in {record:#}");
        assert!(record[figure].is_number() || record[figure].is_null(), "{figure} in {record:#}");
    }
    FIGURES.into_iter().filter(|figure| is_measured(record, figure)).collect()
}

fn number(record: &Value, figure: &str) -> f64 {
    record[figure].as_f64().unwrap_or_else(|| panic!("{figure} in {record:#}"))
}

/// Something that goes on in a thread until it is dropped.
struct Background {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    fn new(mut step: impl FnMut() + Send + 'static) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                step();
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// One AMQP connection that publishes without end; just as much of the protocol as this takes.
fn publish_to_rabbitmq() -> Background {
    let url = variable("RABBITMQ_URL");
    let address = url.rsplit_once('@').expect("a URL with a user").1.split('/').next().expect("an address");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let frame = |kind: u8, channel: u16, payload: &[u8]| {
        let mut frame = vec![kind];
        frame.extend(channel.to_be_bytes());
        frame.extend((payload.len() as u32).to_be_bytes());
        frame.extend(payload);
        frame.push(0xce);
        frame
    };
    let start_ok = [b"\0\x0a\0\x0b\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest".as_slice(), b"\x05en_US"].concat();
    let tune_ok = b"\0\x0a\0\x1f\x07\xff\0\x02\0\0\0\0";
    let open = b"\0\x0a\0\x28\x01/\0\0";
    let mut say = |bytes: &[u8]| {
        stream.write_all(bytes).expect("sent");
        assert!(stream.read(&mut [0; 4096]).expect("an answer") > 0, "RabbitMQ closed the connection");
    };
    say(b"AMQP\0\0\x09\x01");
    say(&frame(1, 0, &start_ok));
    say(&[frame(1, 0, tune_ok), frame(1, 0, open)].concat());
    say(&frame(1, 1, b"\0\x14\0\x0a\0"));
    let publish = frame(1, 1, b"\0\x3c\0\x28\0\0\0\x04none\0");
    let message = [publish, frame(2, 1, b"\0\x3c\0\0\0\0\0\0\0\0\0\x02\0\0"), frame(3, 1, b"hi")].concat();
    // It ends with RabbitMQ, which is stopped in the test.
    Background::new(move || drop(stream.write_all(&message)))
}

/// A topic of three partitions that a group has read all but 60 of 100 records of, and a producer that goes on elsewhere.
struct Topics {
    group: String,
    _producing: Background,
}

async fn write_to_kafka() -> Topics {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    let (read, busy, group) = (format!("poll-read-{nanos}"), format!("poll-busy-{nanos}"), format!("a-poll-{nanos}"));
    let config = |group: &str| {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", variable("KAFKA_BROKERS")).set("group.id", group);
        config
    };
    let admin: AdminClient<DefaultClientContext> = config("none").create().expect("an admin client");
    let topic = |name| NewTopic::new(name, 3, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic(&read), &topic(&busy)], &AdminOptions::new()).await.expect("asked");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", variable("KAFKA_BROKERS"))
        .set("message.timeout.ms", "30000")
        .create()
        .expect("a producer");
    for _ in 0..100 {
        producer.send(BaseRecord::<(), _>::to(&read).partition(1).payload("hi")).map_err(|(e, _)| e).expect("queued");
    }
    producer.flush(PATIENCE).expect("flushed");
    let consumer: BaseConsumer = config(&group).create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&read, 1, Offset::Offset(40)).expect("a good offset");
    consumer.commit(&list, CommitMode::Sync).expect("committed");
    let producing = Background::new(move || {
        let _ = producer.send(BaseRecord::<(), _>::to(&busy).payload("hi"));
        producer.poll(Duration::ZERO);
    });
    Topics { group, _producing: producing }
}

/// RabbitMQ, stopped; it is started again when this is dropped, however the test went.
struct Stopped;

impl Stopped {
    fn rabbitmq() -> Self {
        stack("down");
        Self
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        stack("up");
    }
}

fn stack(verb: &str) {
    // Without it, another stack than the one that is being tested would be stopped.
    let directory = variable("STACK_DIR");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/local/stack");
    let done = Command::new(script).args([verb, "rabbitmq"]).env("STACK_DIR", directory).output().expect("started");
    assert!(done.status.success(), "stack {verb}: {}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
#[ignore = "needs real brokers: tests/run"]
async fn real_brokers_are_polled_and_one_goes_down_and_comes_back() {
    bridge_common::cli::install_tls();
    let topics = write_to_kafka().await;
    let publishing = publish_to_rabbitmq();
    let access = KafkaAccess {
        brokers: variable("KAFKA_BROKERS"),
        client_id: "bridge-poll-test".to_owned(),
        properties: BTreeMap::new(),
    };
    let mut reader = PollReader::new("brokers", &section(), &access).expect("a reader");
    reader.start_at(500).await.expect("started");

    let first = until(&mut reader, "rabbitmq", |_| true).await;
    assert_eq!(first["isConnected"], true, "{first:#}");
    assert_eq!(measured(&first), ["memoryUsageMb", "connectionCount", "uptime"], "rates need a second poll");

    let is_busy = |record: &Value| {
        record["messagesPerSecond"].as_f64() > Some(0.0) && record["connectionCount"].as_u64() >= Some(1)
    };
    let record = until(&mut reader, "rabbitmq", is_busy).await;
    let expected = ["messagesPerSecond", "memoryUsageMb", "cpuPercentage", "connectionCount", "uptime"];
    assert_eq!(measured(&record), expected);
    assert!(number(&record, "messagesPerSecond") < 1_000.0, "some 90 a second are published: {record:#}");
    assert!((10.0..10_000.0).contains(&number(&record, "memoryUsageMb")), "{record:#}");
    assert!((0.0..=6_400.0).contains(&number(&record, "cpuPercentage")), "{record:#}");
    assert!(record["topicStats"]["messagesUnroutable"].as_u64() > Some(0), "nothing is bound to its key: {record:#}");

    let record = until(&mut reader, "pulsar", |record| is_measured(record, "messagesPerSecond")).await;
    assert!(number(&record, "connectionCount") >= 1.0 && number(&record, "partitionCount") >= 1.0, "{record:#}");
    assert!((50.0..50_000.0).contains(&number(&record, "memoryUsageMb")), "{record:#}");
    assert!(number(&record, "cpuPercentage") > 0.0 && number(&record, "uptime") > 1.0, "{record:#}");
    assert!(!is_measured(&record, "brokerCount"), "{record:#}");

    let record = until(&mut reader, "kafka", |record| record["messagesPerSecond"].as_f64() > Some(0.0)).await;
    assert_eq!(measured(&record), ["messagesPerSecond", "partitionCount", "brokerCount"]);
    assert_eq!(record["brokerCount"], 1);
    assert!(number(&record, "partitionCount") >= 6.0, "{record:#}");
    let group = |record: &Value| record["topicStats"]["groups"][&topics.group].clone();
    let record = until(&mut reader, "kafka", |record| !group(record).is_null()).await;
    assert_eq!(group(&record), json!({ "lag": 60, "partitions": 1 }), "{record:#}");

    let record = until(&mut reader, "exporter", |record| is_measured(record, "memoryUsageMb")).await;
    assert_eq!((&record["brokerName"], &record["isConnected"]), (&json!("exporter"), &json!(true)));
    assert!(record["topicStats"]["openFiles"].as_u64() > Some(0), "{record:#}");

    let stopped = tokio::task::spawn_blocking(Stopped::rabbitmq).await.expect("stopped");
    let record = until(&mut reader, "rabbitmq", |record| record["isConnected"] == false).await;
    assert_eq!(measured(&record), Vec::<&str>::new());
    assert!(record["errorMessage"].as_str().is_some_and(|reason| !reason.is_empty()), "{record:#}");
    assert_eq!((&record["topicStats"], &record["quality"]["topicStats"]), (&Value::Null, &json!("missing")));
    let others = until(&mut reader, "pulsar", |_| true).await;
    assert_eq!(others["isConnected"], true, "it does not take others with it: {others:#}");

    drop(publishing);
    tokio::task::spawn_blocking(move || drop(stopped)).await.expect("started again");
    let record = until(&mut reader, "rabbitmq", |record| record["isConnected"] == true).await;
    assert!(!is_measured(&record, "messagesPerSecond"), "a rate does not reach over an outage: {record:#}");
    until(&mut reader, "rabbitmq", |record| is_measured(record, "messagesPerSecond")).await;
}
