//! Reads a source and works out what the target must hold: a Kafka topic to its end, or the journal of what was published
//! to queues.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::checker::{Identity, Source};
use crate::expect::{Input, Record, Rules};
use crate::oracle::Digest;
use crate::{Result, journal};

/// How long no record may come before the end is reached.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one source holds, by partition; a queue has one.
#[derive(Debug, Default, Clone)]
pub(crate) struct SourceRecords {
    /// What must become of the records, in the source's order.
    pub(crate) partitions: BTreeMap<i32, Vec<Record>>,
    /// The digests of the first bytes of those that are too large.
    pub(crate) too_large_heads: HashSet<Digest>,
}

/// Reads a source: Kafka from its beginning to its end as of now, of a queue what was published.
pub(crate) async fn read(source: &Source, rules: &Arc<Rules>) -> Result<SourceRecords> {
    match source {
        Source::Kafka { brokers, topic } => read_kafka(brokers, topic, rules).await,
        Source::Queue { journal, identity, .. } => {
            let (journal, identity, rules) = (journal.clone(), identity.clone(), Arc::clone(rules));
            tokio::task::spawn_blocking(move || read_journal(&journal, &identity, &rules)).await?
        }
    }
}

fn read_journal(journal: &Path, identity: &Identity, rules: &Rules) -> Result<SourceRecords> {
    let mut records = SourceRecords::default();
    let mut published = journal::read(journal)?;
    // It was written in the order of the answers.
    published.sort_by_key(|published| published.number);
    let expected =
        published.iter().filter_map(|one| rules.expect_published(one, identity, &mut records.too_large_heads));
    let expected = expected.collect();
    records.partitions.insert(0, expected);
    Ok(records)
}

async fn read_kafka(brokers: &str, topic: &str, rules: &Arc<Rules>) -> Result<SourceRecords> {
    let kafka = Kafka { brokers: brokers.to_owned(), topic: topic.to_owned() };
    let ends = {
        let kafka = kafka.clone();
        tokio::task::spawn_blocking(move || kafka.ends()).await??
    };
    let mut readers = Vec::new();
    // Two readers: translating by trees of values is the slowest part of the check.
    for half in 0..2 {
        let ends: HashMap<i32, i64> = ends.iter().filter(|(p, _)| *p % 2 == half).map(|(p, end)| (*p, *end)).collect();
        let (kafka, rules) = (kafka.clone(), Arc::clone(rules));
        readers.push(tokio::task::spawn_blocking(move || kafka.read_partitions(&rules, ends)));
    }
    let mut records = SourceRecords::default();
    for reader in readers {
        let read = reader.await??;
        records.partitions.extend(read.partitions);
        records.too_large_heads.extend(read.too_large_heads);
    }
    Ok(records)
}

#[derive(Debug, Clone)]
struct Kafka {
    brokers: String,
    topic: String,
}

impl Kafka {
    fn consumer(&self) -> Result<BaseConsumer> {
        Ok(ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "parity-checker")
            .set("group.id", "parity-checker")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "32768")
            .create()?)
    }

    /// The partitions that hold anything, or ever did, with their high watermarks.
    fn ends(&self) -> Result<HashMap<i32, i64>> {
        let consumer = self.consumer()?;
        let wait = Duration::from_secs(20);
        let metadata = consumer.fetch_metadata(Some(&self.topic), wait)?;
        let partitions: Vec<i32> =
            metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        if partitions.is_empty() {
            return Err(format!("the Kafka topic {} does not exist at {}", self.topic, self.brokers).into());
        }
        let mut ends = HashMap::new();
        for partition in partitions {
            ends.insert(partition, consumer.fetch_watermarks(&self.topic, partition, wait)?.1);
        }
        Ok(ends)
    }

    fn read_partitions(&self, rules: &Rules, ends: HashMap<i32, i64>) -> Result<SourceRecords> {
        let partitions = ends.keys().map(|partition| (*partition, Vec::new())).collect();
        let mut records = SourceRecords { partitions, ..SourceRecords::default() };
        let mut unread: HashMap<i32, i64> = ends.into_iter().filter(|(_, end)| *end > 0).collect();
        let consumer = self.consumer()?;
        let mut assignment = TopicPartitionList::new();
        for partition in unread.keys() {
            assignment.add_partition_offset(&self.topic, *partition, Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        let mut last = Instant::now();
        while !unread.is_empty() {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    last = Instant::now();
                    let partition = message.partition();
                    let Some(end) = unread.get(&partition).copied() else { continue };
                    if message.offset() < end {
                        let record = expect(&message, rules, &mut records.too_large_heads);
                        records.partitions.entry(partition).or_default().push(record);
                    }
                    if message.offset() + 1 >= end {
                        unread.remove(&partition);
                    }
                }
                // The end is a marker, or nothing is left below the high watermark.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    unread.remove(&partition);
                }
                Some(Err(error)) if last.elapsed() > PATIENCE => return Err(error.into()),
                None if last.elapsed() > PATIENCE => {
                    return Err(
                        format!("Kafka gave no record of {} for {PATIENCE:?}; unread: {unread:?}", self.topic).into()
                    );
                }
                Some(Err(_)) | None => {}
            }
        }
        Ok(records)
    }
}

/// Works out what must become of one record.
fn expect(message: &BorrowedMessage<'_>, rules: &Rules, too_large_heads: &mut HashSet<Digest>) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    let offset = message.offset() as u64;
    let input = Input {
        place: offset,
        offset: Some(offset),
        value: message.payload(),
        key: message.key(),
        event_time: message.timestamp().to_millis().unwrap_or_default() as u64,
        headers: headers.map(|header| (header.key, header.value)).collect(),
        own_identity: None,
        has_digest: false,
        is_certain: true,
    };
    rules.expect(&input, too_large_heads)
}
