//! Topics, producers and readers for the tests against a real Kafka.
#![allow(dead_code, unreachable_pub)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bridge_common::source::kafka::{KafkaGroup, KafkaSettings, PartitionReader};
use bridge_common::source::{Leave, Notice, Reader};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedReceiver;

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub type Notices = UnboundedReceiver<Notice>;

fn brokers() -> String {
    std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS names a Kafka")
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers()).create().expect("an admin client")
}

pub fn producer(properties: &[(&str, &str)]) -> ThreadedProducer<DefaultProducerContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("message.max.bytes", "10000000").set("linger.ms", "5");
    properties.iter().fold(&mut config, |config, (key, value)| config.set(*key, *value));
    config.create().expect("a producer")
}

/// A topic of the test's own.
pub struct Topic {
    pub name: String,
}

impl Topic {
    /// A name that no topic has.
    pub fn absent() -> Topic {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
        Topic { name: format!("t-{}-{now}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    pub async fn create(partitions: i32, settings: &[(&str, &str)]) -> Topic {
        let topic = Topic::absent();
        let mut new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(1));
        new.config.extend_from_slice(settings);
        let made = admin().create_topics([&new], &AdminOptions::new()).await.expect("asked");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        topic
    }

    pub async fn delete(&self) {
        let gone = admin().delete_topics(&[&self.name], &AdminOptions::new()).await.expect("asked");
        assert!(gone.iter().all(Result::is_ok), "{gone:?}");
    }

    /// Creates the deleted topic again, as soon as its deletion is through.
    pub async fn create_again(&self, partitions: i32) {
        let new = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
        let admin = admin();
        loop {
            match &admin.create_topics([&new], &AdminOptions::new()).await.expect("asked")[0] {
                Ok(_) => return,
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    pub async fn grow(&self, partitions: usize) {
        let grown = admin()
            .create_partitions([&NewPartitions::new(&self.name, partitions)], &AdminOptions::new())
            .await
            .expect("asked");
        assert!(grown.iter().all(Result::is_ok), "{grown:?}");
    }

    pub async fn delete_below(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, partition, Offset::Offset(offset)).expect("a good offset");
        admin().delete_records(&list, &AdminOptions::new()).await.expect("deleted");
    }

    /// Writes so many records; each body is the record's number in the call.
    pub fn fill(&self, partition: i32, count: usize) {
        self.write(partition, (0..count).map(|number| number.to_string().into_bytes()));
    }

    /// Writes so many records of a size, hard to compress or not.
    pub fn fill_sized(&self, partition: i32, count: usize, bytes: usize) {
        self.write(partition, (0..count).map(|_| vec![b'x'; bytes]));
    }

    fn write(&self, partition: i32, bodies: impl Iterator<Item = Vec<u8>>) {
        let producer = producer(&[]);
        for body in bodies {
            producer
                .send(BaseRecord::<(), _>::to(&self.name).partition(partition).payload(&body))
                .map_err(|(error, _)| error)
                .expect("queued");
        }
        producer.flush(PATIENCE).expect("flushed");
    }

    pub fn settings(&self) -> KafkaSettings {
        let mut settings = KafkaSettings::new(brokers(), &self.name, &self.name);
        settings.revoke_deadline = Duration::from_secs(10);
        settings
    }

    pub async fn join(&self) -> (KafkaGroup, Notices) {
        KafkaGroup::open(self.settings()).await.expect("joined")
    }
}

/// A record that outlives its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub offset: u64,
    pub timestamp_ms: Option<u64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// The next notice.
pub async fn next(notices: &mut Notices) -> Notice {
    tokio::time::timeout(PATIENCE, notices.recv()).await.expect("a notice in time").expect("the group lives")
}

/// The reader that it is where only Kafka is asked.
#[allow(irrefutable_let_patterns, reason = "there may be other kinds, by the features of the build")]
pub fn of_kafka(reader: Reader) -> PartitionReader {
    let Reader::Kafka(reader) = reader else { panic!("Kafka gives readers of Kafka") };
    reader
}

/// The next notice, which has to be an assignment.
pub async fn assigned(notices: &mut Notices) -> PartitionReader {
    match next(notices).await {
        Notice::Assigned(reader) => of_kafka(reader),
        other => panic!("{other:?}"),
    }
}

/// Takes what is there, at most `max` records.
pub fn take(reader: &mut PartitionReader, max: usize, seen: &mut Vec<Seen>) {
    let taken = reader.take(max, &mut |record| {
        let headers = record.headers.iter().map(|h| (h.name.to_owned(), h.value.map(<[u8]>::to_vec))).collect();
        seen.push(Seen {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers,
        });
    });
    let taken = taken.expect("no error");
    assert_eq!(taken.transient, None);
}

/// Reads so many records.
pub async fn read(reader: &mut PartitionReader, count: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    while seen.len() < count {
        tokio::time::timeout(PATIENCE, reader.ready()).await.unwrap_or_else(|_| panic!("{} of {count}", seen.len()));
        take(reader, count - seen.len(), &mut seen);
    }
    seen
}

/// Reads until the position is there.
pub async fn read_until(reader: &mut PartitionReader, position: u64) -> Vec<Seen> {
    let mut seen = Vec::new();
    while reader.position() < Some(position) {
        let came = tokio::time::timeout(PATIENCE, reader.ready()).await;
        came.unwrap_or_else(|_| panic!("stays at {:?}", reader.position()));
        take(reader, 1_000, &mut seen);
    }
    seen
}

/// Leaves the group as a pipeline does: a revoked reader is dropped.
pub async fn leave(group: KafkaGroup, readers: impl IntoIterator<Item = PartitionReader>, mut notices: Notices) {
    let mut readers: Vec<_> = readers.into_iter().collect();
    let leaving = tokio::spawn(group.close(Leave::ForGood, PATIENCE));
    while let Some(notice) = tokio::time::timeout(PATIENCE, notices.recv()).await.expect("the group ends") {
        let Notice::Revoked { partition, .. } = notice else { panic!("{notice:?}") };
        readers.retain(|reader| reader.partition().partition != partition);
    }
    assert!(readers.is_empty(), "every partition is asked back: {readers:?}");
    leaving.await.expect("left");
}

/// The memory that this process has now.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = pages.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("not so late")
}

/// Does a turn again and again until it says that it is there.
pub async fn wait_until(mut turn: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !turn().await {
        assert!(tokio::time::Instant::now() < deadline, "did not come in time");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
