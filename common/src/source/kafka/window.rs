//! A stretch of a topic, read without a group: nothing is committed, no bridge notices.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset as KafkaOffset, TopicPartitionList};

use super::bulk::{Buffer, Popped, Queue};
use super::group::count_partitions;
use super::{KafkaSettings, faults};
use crate::record::{Header, Offset, Record, SourcePartition};
use crate::source::SourceError;

/// A topic that is looked at.
pub struct KafkaTopic {
    consumer: BaseConsumer,
    settings: KafkaSettings,
    cluster_id: String,
    partitions: u32,
}

impl std::fmt::Debug for KafkaTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KafkaTopic({} on cluster {})", self.settings.topic, self.cluster_id)
    }
}

impl KafkaTopic {
    /// Looks at the topic. Blocks for `request_timeout` at most, some times.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] where no broker answers, [`SourceError::UnknownTopic`], [`SourceError::Denied`].
    pub fn open(settings: KafkaSettings) -> Result<Self, SourceError> {
        let what = format!("looking at topic {} on {}", settings.topic, settings.brokers);
        let mut client = settings.probe()?;
        client.set("isolation.level", "read_committed");
        let consumer: BaseConsumer = client
            .create_with_context(DefaultConsumerContext)
            .map_err(|error| faults::of_client(&what, &settings.topic, &error))?;
        let partitions = count_partitions(&consumer, &settings.topic, settings.request_timeout)?;
        let cluster_id = consumer
            .client()
            .fetch_cluster_id(settings.request_timeout)
            .ok_or_else(|| SourceError::Unavailable { what, reason: "no broker told the cluster's id".into() })?;
        Ok(Self { consumer, settings, cluster_id, partitions })
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// One of its partitions.
    pub fn partition(&self, partition: u32) -> SourcePartition {
        SourcePartition { cluster_id: self.cluster_id.clone(), topic: self.settings.topic.clone(), partition }
    }

    /// The oldest offset of a partition, and the end of what is committed.
    ///
    /// # Errors
    /// As [`KafkaTopic::open`].
    pub fn watermarks(&self, partition: u32) -> Result<(Offset, Offset), SourceError> {
        let (topic, timeout) = (&self.settings.topic, self.settings.request_timeout);
        let (low, high) = self
            .consumer
            .fetch_watermarks(topic, partition as i32, timeout)
            .map_err(|error| self.fault("asking for the offsets of", partition, &error))?;
        Ok((low.max(0) as u64, high.max(0) as u64))
    }

    /// The first offset whose record's time stamp is at or after this time; `None` where there is none.
    ///
    /// # Errors
    /// As [`KafkaTopic::open`].
    pub fn first_since(&self, partition: u32, time_ms: u64) -> Result<Option<Offset>, SourceError> {
        let typed = |error: KafkaError| self.fault("asking for the offset by time of", partition, &error);
        let time = i64::try_from(time_ms).unwrap_or(i64::MAX);
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset(&self.settings.topic, partition as i32, KafkaOffset::Offset(time)).map_err(typed)?;
        let answer = self.consumer.offsets_for_times(asked, self.settings.request_timeout).map_err(typed)?;
        let elements = answer.elements();
        let Some(element) = elements.first() else { return Ok(None) };
        element.error().map_err(typed)?;
        Ok(match element.offset() {
            KafkaOffset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        })
    }

    /// Starts reading these partitions at these offsets. What is fetched and waits to be taken may use so much memory.
    ///
    /// # Errors
    /// As [`KafkaTopic::open`].
    pub fn read(&self, from: &[(u32, Offset)], queue_bytes: u64) -> Result<Window, SourceError> {
        Window::open(self, from, queue_bytes)
    }

    fn fault(&self, doing: &str, partition: u32, error: &KafkaError) -> SourceError {
        let topic = &self.settings.topic;
        faults::of_client(&format!("{doing} {topic}/{partition}"), topic, error)
    }
}

/// Some partitions of a topic being read, each at its own pace: what is not asked for stays with librdkafka, within bounds.
pub struct Window {
    partitions: Vec<Partition>,
    consumer: Arc<BaseConsumer>,
    buffer: Buffer,
    headers: Vec<Header<'static>>,
}

struct Partition {
    source: SourcePartition,
    queue: Queue<DefaultConsumerContext>,
    /// Everything below was shown, or is no record.
    position: Offset,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.partitions.iter().map(|partition| &partition.source)).finish()
    }
}

impl Window {
    fn open(topic: &KafkaTopic, from: &[(u32, Offset)], queue_bytes: u64) -> Result<Self, SourceError> {
        let name = &topic.settings.topic;
        let what = format!("reading topic {name}");
        let typed = |error: KafkaError| faults::of_client(&what, name, &error);
        let settings = KafkaSettings { queue_bytes, ..topic.settings.clone() };
        let mut client = settings.consumer(from.len() as u32)?;
        // A group's name must be there, and nobody joins it.
        client.set("group.id", format!("{}-window", topic.settings.group_id));
        client.remove("group.instance.id");
        let consumer: BaseConsumer = client.create_with_context(DefaultConsumerContext).map_err(typed)?;
        let consumer = Arc::new(consumer);
        let split = |(number, position): &(u32, Offset)| {
            let unknown =
                || SourceError::UnknownTopic { topic: name.clone(), reason: format!("no partition {number}") };
            let queue = Queue::split(&consumer, name, *number as i32).ok_or_else(unknown)?;
            Ok(Partition { source: topic.partition(*number), queue, position: *position })
        };
        // Before they are assigned: what came earlier would not be in the partition's own queue.
        let partitions = from.iter().map(split).collect::<Result<Vec<_>, SourceError>>()?;
        let mut list = TopicPartitionList::new();
        for (number, offset) in from {
            let offset = KafkaOffset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            list.add_partition_offset(name, *number as i32, offset).map_err(typed)?;
        }
        consumer.assign(&list).map_err(typed)?;
        Ok(Self { partitions, consumer, buffer: Buffer::default(), headers: Vec::new() })
    }

    /// Below this everything of a partition was shown, or is no record. Partitions go by the order in which they were asked for.
    pub fn position(&self, partition: usize) -> Offset {
        self.partitions[partition].position
    }

    /// Lets librdkafka say what is wrong with the brokers, waiting so long at most. To be called now and then.
    ///
    /// # Errors
    /// What no time mends; [`SourceError::Unavailable`], which time may mend.
    pub fn serve(&self, wait: Duration) -> Result<(), SourceError> {
        let source = &self.partitions[0].source;
        match self.consumer.poll(wait) {
            None => Ok(()),
            Some(Err(error)) => Err(faults::of_client(&format!("reading {}", source.topic), &source.topic, &error)),
            // A record here would be missing from its partition.
            Some(Ok(message)) => Err(SourceError::Fatal {
                what: format!("offset {} of {}/{}", message.offset(), message.topic(), message.partition()),
                reason: "came past its partition's queue".to_owned(),
            }),
        }
    }

    /// Shows up to `max` records of one of the partitions, without waiting, in their order; gives how many.
    ///
    /// # Errors
    /// What stops this partition: an offset that is not there, rights that are missing. What time may mend is no error.
    pub fn show(
        &mut self,
        partition: usize,
        max: usize,
        visit: &mut dyn FnMut(&Record<'_>),
    ) -> Result<usize, SourceError> {
        let Partition { source, queue, position } = &mut self.partitions[partition];
        let Some(batch) = queue.pop(max, &mut self.buffer) else { return Ok(0) };
        let (mut shown, mut fault) = (0, None);
        batch.each(&mut self.headers, |popped| {
            match popped {
                Popped::Record(record, _) => {
                    *position = record.offset + 1;
                    shown += 1;
                    visit(&record);
                }
                Popped::End { offset } => *position = (*position).max(u64::try_from(offset).unwrap_or(0)),
                Popped::Fault { code, reason } => match faults::of_partition(source, *position, code, reason) {
                    SourceError::Unavailable { .. } => {}
                    error => {
                        fault = Some(error);
                        return ControlFlow::Break(());
                    }
                },
            }
            ControlFlow::Continue(())
        });
        fault.map_or(Ok(shown), Err)
    }
}
