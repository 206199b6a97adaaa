//! Looking at a topic from outside: no group is joined, nothing is committed. For the operator's tool.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::KafkaSettings;
use crate::config::{Config, KafkaSource};
use crate::record::Offset;

/// How long the consumer is asked at a time.
const STEP: Duration = Duration::from_millis(100);

/// What a partition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The partition.
    pub partition: u32,
    /// The first offset that is still there.
    pub low: Offset,
    /// The offset behind the newest record.
    pub high: Offset,
}

/// A record as it went by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: Offset,
    /// Milliseconds since the epoch, where the record has a stamp.
    pub timestamp_ms: Option<u64>,
}

/// A whole record, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its time stamp.
    pub timestamp_ms: Option<u64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its body; `None` is a null value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A client that only looks. Its methods block: call them where that may be.
pub struct Look {
    consumer: BaseConsumer,
    topic: String,
}

impl Look {
    /// A client for a source's topic. Connects to nothing yet.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(config: &Config, source: &KafkaSource) -> Result<Self, String> {
        let settings = KafkaSettings::from_config(config, source).map_err(|error| error.to_string())?;
        let mut client = settings.probe().map_err(|error| error.to_string())?;
        client
            .set_log_level(RDKafkaLogLevel::Critical)
            .remove("group.instance.id")
            // librdkafka wants a name; no group is joined by it.
            .set("group.id", "bridgectl")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "false")
            .set("allow.auto.create.topics", "false")
            .set("fetch.wait.max.ms", "10");
        let consumer = client.create().map_err(|error| error.to_string())?;
        Ok(Self { consumer, topic: source.topic.clone() })
    }

    /// Where every partition begins and ends now.
    ///
    /// # Errors
    /// When Kafka does not answer within `patience`, or has no such topic.
    pub fn ends(&self, patience: Duration) -> Result<Vec<Ends>, String> {
        let deadline = Instant::now() + patience;
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), patience).map_err(|error| error.to_string())?;
        let there = metadata.topics().iter().find(|there| there.name() == self.topic && there.error().is_none());
        let there = there.ok_or_else(|| format!("there is no topic {}", self.topic))?;
        let mut ends = Vec::new();
        for partition in there.partitions() {
            let left = deadline.saturating_duration_since(Instant::now()).max(STEP);
            let (low, high) = self
                .consumer
                .fetch_watermarks(&self.topic, partition.id(), left)
                .map_err(|error| format!("{}/{}: {error}", self.topic, partition.id()))?;
            let offset = |offset: i64| Offset::try_from(offset).unwrap_or_default();
            let partition = u32::try_from(partition.id()).unwrap_or_default();
            ends.push(Ends { partition, low: offset(low), high: offset(high) });
        }
        ends.sort_by_key(|ends| ends.partition);
        Ok(ends)
    }

    /// The time stamps of the first records at or behind these offsets, as far as they come within `patience`.
    ///
    /// # Errors
    /// When the partitions cannot be read at all.
    pub fn stamps(&self, from: &[(u32, Offset)], patience: Duration) -> Result<BTreeMap<u32, u64>, String> {
        let mut stamps = BTreeMap::new();
        let deadline = Instant::now() + patience;
        self.read(from, &mut |message| {
            if let Some(Seen { partition, timestamp_ms: Some(stamp), .. }) = message.map(seen) {
                stamps.entry(partition).or_insert(stamp);
            }
            stamps.len() < from.len() && Instant::now() < deadline
        })?;
        Ok(stamps)
    }

    /// The record at an offset; `None` where it is there no more.
    ///
    /// # Errors
    /// When nothing comes within `patience`.
    pub fn record(&self, partition: u32, offset: Offset, patience: Duration) -> Result<Option<Kept>, String> {
        let here = self.ends(patience)?;
        let is_there = here.iter().any(|ends| ends.partition == partition && (ends.low..ends.high).contains(&offset));
        if !is_there {
            return Ok(None);
        }
        let deadline = Instant::now() + patience;
        let mut found = None;
        self.read(&[(partition, offset)], &mut |message| match message {
            Some(message) => {
                found = Some((seen(message).offset == offset).then(|| keep(message)));
                false
            }
            None => Instant::now() < deadline,
        })?;
        found.ok_or_else(|| format!("{}/{partition}: nothing came within {} s", self.topic, patience.as_secs()))
    }

    /// Reads these partitions from these offsets on, and gives every record, and `None` whenever none is there for a moment, until
    /// `each` says false.
    ///
    /// # Errors
    /// When the partitions cannot be read at all.
    pub fn follow(&self, from: &[(u32, Offset)], each: &mut dyn FnMut(Option<Seen>) -> bool) -> Result<(), String> {
        self.read(from, &mut |message| each(message.map(seen)))
    }

    fn read(
        &self,
        from: &[(u32, Offset)],
        each: &mut dyn FnMut(Option<&BorrowedMessage<'_>>) -> bool,
    ) -> Result<(), String> {
        let mut partitions = TopicPartitionList::new();
        for (partition, offset) in from {
            let offset = KafkaOffset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
            partitions.add_partition_offset(&self.topic, partition, offset).map_err(|error| error.to_string())?;
        }
        self.consumer.assign(&partitions).map_err(|error| error.to_string())?;
        loop {
            let go_on = match self.consumer.poll(STEP) {
                Some(Ok(message)) => each(Some(&message)),
                // What is wrong with a broker may mend itself; whoever waits has a deadline of its own.
                Some(Err(_)) | None => each(None),
            };
            if !go_on {
                return self.consumer.unassign().map_err(|error| error.to_string());
            }
        }
    }
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Look").field("topic", &self.topic).finish_non_exhaustive()
    }
}

fn seen(message: &BorrowedMessage<'_>) -> Seen {
    Seen {
        partition: u32::try_from(message.partition()).unwrap_or_default(),
        offset: Offset::try_from(message.offset()).unwrap_or_default(),
        timestamp_ms: message.timestamp().to_millis().and_then(|stamp| u64::try_from(stamp).ok()),
    }
}

fn keep(message: &BorrowedMessage<'_>) -> Kept {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Kept {
        timestamp_ms: seen(message).timestamp_ms,
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
    }
}
