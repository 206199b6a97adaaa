//! Questions about offsets: where a partition begins and ends, where to start, whether a position still stands.

use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::bulk::GroupConsumer;
use super::faults;
use crate::record::{Offset, SourcePartition};
use crate::source::{SourceError, Start};

/// How often a position beyond the end is asked for again before it is believed: a new leader may for a moment know of
/// an older end than the one before it.
const WENT_BACK_ASKS: u32 = 11;
const WENT_BACK_PAUSE: Duration = Duration::from_millis(500);

/// A question for the brokers about one partition.
pub(super) struct Ask<'a> {
    pub(super) consumer: &'a GroupConsumer,
    pub(super) partition: &'a SourcePartition,
    pub(super) timeout: Duration,
}

impl Ask<'_> {
    /// The oldest offset, and the end (of what is committed).
    pub(super) fn watermarks(&self) -> Result<(Offset, Offset), SourceError> {
        let (topic, number) = (&self.partition.topic, self.partition.partition as i32);
        let (low, high) = self
            .consumer
            .fetch_watermarks(topic, number, self.timeout)
            .map_err(|error| faults::of_client(&self.what("asking for the offsets of"), topic, &error))?;
        Ok((low.max(0) as u64, high.max(0) as u64))
    }

    /// Turns a start into an offset.
    pub(super) fn resolve(&self, start: Start) -> Result<Offset, SourceError> {
        match start {
            Start::Offset(offset) => Ok(offset),
            Start::Earliest => Ok(self.watermarks()?.0),
            Start::Latest => Ok(self.watermarks()?.1),
            Start::TimeMs(time) => match self.first_since(time)? {
                Some(offset) => Ok(offset),
                None => Ok(self.watermarks()?.1),
            },
        }
    }

    /// The group's committed offset.
    pub(super) fn committed(&self) -> Result<Option<Offset>, SourceError> {
        let topic = &self.partition.topic;
        let typed = |error| faults::of_client(&self.what("asking for the group's committed offset of"), topic, &error);
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, self.partition.partition as i32);
        let answer = self.consumer.committed_offsets(asked, self.timeout).map_err(typed)?;
        only_offset(&answer).map_err(typed)
    }

    fn first_since(&self, time_ms: u64) -> Result<Option<Offset>, SourceError> {
        let topic = &self.partition.topic;
        let typed = |error| faults::of_client(&self.what("asking for the offset by time of"), topic, &error);
        let time = i64::try_from(time_ms).unwrap_or(i64::MAX);
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset(topic, self.partition.partition as i32, KafkaOffset::Offset(time)).map_err(typed)?;
        let answer = self.consumer.offsets_for_times(asked, self.timeout).map_err(typed)?;
        only_offset(&answer).map_err(typed)
    }

    /// Whether reading can go on at `position`: not below what is still there, not beyond the end.
    pub(super) fn check(&self, position: Offset) -> Result<(), SourceError> {
        let mut asks = 0;
        loop {
            let partition = self.partition.clone();
            let (oldest, end) = self.watermarks()?;
            if position < oldest {
                return Err(SourceError::Gap { partition, from: position, oldest });
            }
            if position <= end {
                return Ok(());
            }
            asks += 1;
            if asks == WENT_BACK_ASKS {
                return Err(SourceError::WentBack { partition, position, end });
            }
            std::thread::sleep(WENT_BACK_PAUSE);
        }
    }

    fn what(&self, doing: &str) -> String {
        format!("{doing} {}", self.partition)
    }
}

/// The offset in an answer about one partition, if it names one.
fn only_offset(answer: &TopicPartitionList) -> Result<Option<Offset>, KafkaError> {
    let elements = answer.elements();
    let Some(element) = elements.first() else { return Ok(None) };
    element.error()?;
    Ok(match element.offset() {
        KafkaOffset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    })
}
