//! Kafka as the portal's publishers use it: its topics, and a producer with the portal's partitioner and codec.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::events::{Events, Shares, now_ms};
use crate::streams::Stream;
use crate::{Result, wait};

/// What the topic and the producer take at most, in bytes: more than the largest record that is made.
const MAX_RECORD_BYTES: usize = 16 << 20;

/// Where in Kafka to publish, and how.
#[derive(Debug, Clone)]
pub struct KafkaTopic {
    /// Kafka's bootstrap servers.
    pub brokers: String,
    /// The topic to feed.
    pub topic: String,
    /// The codec: gzip, lz4, zstd, snappy or none.
    pub compression: String,
}

/// Partitions that are counted apart; the portal's topics have 20 at most.
const COUNTED_PARTITIONS: usize = 256;

struct Deliveries {
    failed: AtomicU64,
    partitions: [AtomicU64; COUNTED_PARTITIONS],
}

impl Default for Deliveries {
    fn default() -> Self {
        Self { failed: AtomicU64::new(0), partitions: [const { AtomicU64::new(0) }; COUNTED_PARTITIONS] }
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        match result {
            Ok(message) => {
                let partition = message.partition() as usize % COUNTED_PARTITIONS;
                self.partitions[partition].fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Publishes to one topic.
pub(crate) struct KafkaSink {
    producer: ThreadedProducer<Deliveries>,
    topic: String,
}

impl KafkaSink {
    pub(crate) fn new(to: &KafkaTopic) -> Result<Self> {
        Self::with(to, &[])
    }

    fn with(to: &KafkaTopic, more: &[(&str, &str)]) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &to.brokers)
            .set("client.id", "portal-generator")
            .set("partitioner", "murmur2_random")
            .set("compression.type", &to.compression)
            // One more CPU for a tenth of the bytes is no bargain in a test.
            .set("compression.level", if to.compression == "gzip" { "1" } else { "-1" })
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("batch.num.messages", "20000")
            .set("batch.size", "900000")
            .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "131072")
            .set("delivery.timeout.ms", "180000");
        for (key, value) in more {
            config.set(*key, *value);
        }
        Ok(Self { producer: config.create_with_context(Deliveries::default())?, topic: to.topic.clone() })
    }

    /// Hands the newest event to the producer; waits while its queue is full.
    pub(crate) fn send(&self, events: &Events, now: u64, stop: &AtomicBool) -> Result<()> {
        let headers = events
            .headers()
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).timestamp(now as i64).headers(headers);
        if let Some(key) = events.key() {
            record = record.key(key);
        }
        if let Some(value) = events.value() {
            record = record.payload(value);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                // The producer's own queue is the brake: Kafka takes no more for now.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    if stop.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    record = back;
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err((error, _)) => return Err(format!("cannot produce to {}: {error}", self.topic).into()),
            }
        }
    }

    /// Waits for Kafka's answers: how many were acknowledged, by partition, and how many were not.
    pub(crate) fn finish(self) -> Result<(HashMap<i32, u64>, u64)> {
        self.producer.flush(Duration::from_secs(200))?;
        let deliveries = self.producer.context();
        let counts = deliveries.partitions.iter().map(|count| count.load(Ordering::Relaxed)).enumerate();
        let partitions = counts.filter(|(_, count)| *count > 0).map(|(p, count)| (p as i32, count)).collect();
        Ok((partitions, deliveries.failed.load(Ordering::Relaxed)))
    }
}

/// Deletes a consumer group with its offsets, as their expiry does; waits until its last member is gone.
pub async fn delete_group(brokers: &str, group: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    wait::until("the group to be deleted", Duration::from_secs(60), async || {
        let results = admin.delete_groups(&[group], &options).await.map_err(|error| error.to_string())?;
        for result in results {
            result.map_err(|(name, code)| format!("{name}: {code}"))?;
        }
        Ok::<_, String>(())
    })
    .await
}

/// Deletes the topic, creates it anew, empty, and waits until it can be used.
pub async fn recreate_topic(brokers: &str, topic: &str, partitions: i32) -> Result<()> {
    delete_topic(brokers, topic).await?;
    // Deleted a moment later than it is said to be, it would be taken for the new one.
    wait::until("the topic to be gone", Duration::from_secs(30), async || match offsets(brokers, topic) {
        Ok(offsets) if !offsets.is_empty() => Err("it is there".to_owned()),
        _ => Ok(()),
    })
    .await?;
    create_topic(brokers, topic, partitions).await
}

/// The oldest offset and the end of each partition of a topic; the end is what `read_committed` may read.
pub fn offsets(brokers: &str, topic: &str) -> Result<Vec<(i64, i64)>> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let wait = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(topic), wait)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions()).count() as i32;
    (0..partitions).map(|partition| Ok(consumer.fetch_watermarks(topic, partition, wait)?)).collect()
}

/// Deletes what lies below these offsets, one per partition, as retention does.
pub async fn delete_records(brokers: &str, topic: &str, below: &[i64]) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let mut list = TopicPartitionList::new();
    for (partition, below) in below.iter().enumerate() {
        list.add_partition_offset(topic, partition as i32, Offset::Offset(*below))?;
    }
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    for element in admin.delete_records(&list, &options).await?.elements() {
        element.error()?;
    }
    Ok(())
}

/// Adds partitions to a topic: it has so many then.
pub async fn grow_topic(brokers: &str, topic: &str, partitions: usize) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    for result in admin.create_partitions([&NewPartitions::new(topic, partitions)], &AdminOptions::new()).await? {
        result.map_err(|(name, code)| format!("cannot add partitions to {name}: {code}"))?;
    }
    Ok(())
}

/// Publishes sound events by transactions.
pub struct Transactions {
    sink: KafkaSink,
    events: Events,
}

impl Transactions {
    /// A publisher with a transactional id of its own, which is the topic's name and `id`.
    pub fn to(brokers: &str, topic: &str, id: &str) -> Result<Self> {
        let kafka = KafkaTopic { brokers: brokers.into(), topic: topic.into(), compression: "lz4".into() };
        let id = format!("{topic}-{id}");
        let sink = KafkaSink::with(&kafka, &[("transactional.id", &id), ("transaction.timeout.ms", "300000")])?;
        sink.producer.init_transactions(Duration::from_secs(60))?;
        let seed = id.bytes().map(u64::from).sum();
        Ok(Self { sink, events: Events::new(Stream::JobLifecycle, seed, Shares::default()) })
    }

    /// Publishes so many events in a transaction that stays open.
    pub fn open(&mut self, events: u64) -> Result<()> {
        self.sink.producer.begin_transaction()?;
        for _ in 0..events {
            let now = now_ms();
            self.events.advance(now);
            self.sink.send(&self.events, now, &AtomicBool::new(false))?;
        }
        Ok(self.sink.producer.flush(Duration::from_secs(60))?)
    }

    /// Commits what is open.
    pub fn commit(&self) -> Result<()> {
        Ok(self.sink.producer.commit_transaction(Duration::from_secs(60))?)
    }

    /// Aborts what is open.
    pub fn abort(&self) -> Result<()> {
        Ok(self.sink.producer.abort_transaction(Duration::from_secs(60))?)
    }
}

/// Deletes the topic.
pub async fn delete_topic(brokers: &str, topic: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    for result in admin.delete_topics(&[topic], &options).await? {
        result.map_err(|(name, code)| format!("cannot delete the Kafka topic {name}: {code}"))?;
    }
    Ok(())
}

/// Creates the topic for the largest records, unless it is there, and waits until every partition has a leader.
pub async fn create_topic(brokers: &str, topic: &str, partitions: i32) -> Result<()> {
    // A test's records may bear old times: Kafka's retention, which looks every five minutes, would delete them.
    create_topic_with(brokers, topic, partitions, TopicReplication::Fixed(1), &[("retention.ms", "-1")]).await
}

/// The same, with this replication and these settings of the topic.
pub async fn create_topic_with(
    brokers: &str,
    topic: &str,
    partitions: i32,
    replication: TopicReplication<'_>,
    settings: &[(&str, &str)],
) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).set("client.id", "portal-generator").create()?;
    let limit = MAX_RECORD_BYTES.to_string();
    let mut new =
        NewTopic::new(topic, partitions, replication).set("max.message.bytes", &limit).set("cleanup.policy", "delete");
    for (key, value) in settings {
        new.config.retain(|(other, _)| other != key);
        new = new.set(key, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    for result in admin.create_topics([&new], &options).await? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(format!("cannot create the Kafka topic {name}: {code}").into()),
        }
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(10))?;
        let led = metadata.topics().iter().flat_map(|topic| topic.partitions()).filter(|p| p.leader() >= 0).count();
        if led >= partitions as usize {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("only {led} of {partitions} partitions of {topic} have a leader after 20 s").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
