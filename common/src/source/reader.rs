//! The reader of one source partition, of whatever kind the source is.

use super::{SourceError, Stamp, Start, Taken};
use crate::record::{Offset, Record, SourcePartition};

/// Reads one source partition. Dropping it gives the partition up. What each method promises is said in the module's
/// documentation; the kinds differ in what an offset is: Kafka's and a RabbitMQ stream's own, or a counter.
#[derive(Debug)]
pub enum Reader {
    /// A partition of a Kafka topic.
    #[cfg(feature = "kafka")]
    Kafka(super::kafka::PartitionReader),
    /// A classic or quorum queue of RabbitMQ: its offsets are a counter.
    #[cfg(feature = "rabbitmq")]
    RabbitQueue(super::rabbitmq::QueueReader),
    /// A stream of RabbitMQ.
    #[cfg(feature = "rabbitmq")]
    RabbitStream(super::rabbitmq::StreamReader),
    /// Endpoints that are polled: its offsets are a counter.
    #[cfg(feature = "poll")]
    Poll(super::poll::PollReader),
}

/// The same call on whatever reader it is.
macro_rules! each {
    ($self:ident, $reader:ident => $call:expr) => {
        match $self {
            #[cfg(feature = "kafka")]
            Reader::Kafka($reader) => $call,
            #[cfg(feature = "rabbitmq")]
            Reader::RabbitQueue($reader) => $call,
            #[cfg(feature = "rabbitmq")]
            Reader::RabbitStream($reader) => $call,
            #[cfg(feature = "poll")]
            Reader::Poll($reader) => $call,
        }
    };
}

impl Reader {
    /// Which partition this is.
    pub fn partition(&self) -> &SourcePartition {
        each!(self, reader => reader.partition())
    }

    /// Turns a start into an offset, for partitions without a checkpoint.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] while the source does not answer.
    pub async fn resolve(&mut self, start: Start) -> Result<Offset, SourceError> {
        each!(self, reader => reader.resolve(start).await)
    }

    /// The stamp of the record at `offset`, or of the next one that exists; `None` where there is none, or where the
    /// source cannot be asked for a record. Call [`Reader::start_at`] afterwards.
    ///
    /// # Errors
    /// As [`Reader::start_at`].
    pub async fn stamp_at(&mut self, offset: Offset) -> Result<Option<Stamp>, SourceError> {
        each!(self, reader => reader.stamp_at(offset).await)
    }

    /// Starts reading at `offset`, or starts again there: what was fetched before is never shown after.
    ///
    /// # Errors
    /// What keeps the reader from it, see [`SourceError`]. The reader is stopped then; call again.
    pub async fn start_at(&mut self, offset: Offset) -> Result<(), SourceError> {
        each!(self, reader => reader.start_at(offset).await)
    }

    /// Stops reading and fetching.
    ///
    /// # Errors
    /// As [`Reader::start_at`]; what was fetched is dropped all the same.
    pub async fn stop(&mut self) -> Result<(), SourceError> {
        each!(self, reader => reader.stop().await)
    }

    /// Waits until there may be something to take, or to hear. May be dropped and called again at any time.
    pub async fn ready(&mut self) {
        each!(self, reader => reader.ready().await);
    }

    /// Shows up to `max` records to `visit`, without waiting.
    ///
    /// # Errors
    /// What stops this partition. No record has been shown by a call that fails.
    pub fn take(&mut self, max: usize, visit: &mut dyn FnMut(Record<'_>)) -> Result<Taken, SourceError> {
        each!(self, reader => reader.take(max, visit))
    }

    /// The next offset to be shown: everything below it has been shown, or is no record.
    pub fn position(&self) -> Option<Offset> {
        each!(self, reader => reader.position())
    }

    /// The end of the partition as far as it is known.
    pub fn high_watermark(&self) -> Option<Offset> {
        each!(self, reader => reader.high_watermark())
    }

    /// The position that the source remembers, where it remembers one (Kafka's committed offset).
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] while the source does not answer.
    pub async fn committed(&mut self) -> Result<Option<Offset>, SourceError> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(reader) => reader.committed().await,
            #[allow(unreachable_patterns, reason = "a bridge is built for the kinds that its stream has")]
            _ => Ok(None),
        }
    }

    /// Whether the source tells of each record by itself, so that whoever waits for the next is woken for every one (RabbitMQ).
    pub fn tells_of_each(&self) -> bool {
        match self {
            #[cfg(feature = "rabbitmq")]
            Self::RabbitQueue(_) | Self::RabbitStream(_) => true,
            #[allow(unreachable_patterns, reason = "a bridge is built for the kinds that its stream has")]
            _ => false,
        }
    }

    /// How many offsets at the end cannot be read, since a transaction of a publisher is open (Kafka).
    pub fn held_back(&self) -> u64 {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(reader) => reader.held_back(),
            #[allow(unreachable_patterns, reason = "a bridge is built for the kinds that its stream has")]
            _ => 0,
        }
    }

    /// Looks where the partition ends, without waiting, if that has not been heard of for long.
    pub fn look_at_end(&mut self) {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(reader) => reader.look_at_end(),
            #[allow(unreachable_patterns, reason = "a bridge is built for the kinds that its stream has")]
            _ => {}
        }
    }

    /// The checkpoint's position, for lag tools of the source (Kafka's committed offset).
    pub fn commit(&self, offset: Offset) {
        each!(self, reader => reader.commit(offset));
    }

    /// Everything below `position` is settled: what a queue acknowledges by. Others have nothing to do.
    pub fn settled(&mut self, position: Offset) {
        match self {
            #[cfg(feature = "rabbitmq")]
            Self::RabbitQueue(reader) => reader.settled(position),
            _ => _ = position,
        }
    }

    /// Whether what is settled is still somewhere in the source: a queue keeps what it has only where it has a dead-letter
    /// exchange to give it to.
    pub fn keeps_rejected(&self) -> bool {
        match self {
            #[cfg(feature = "rabbitmq")]
            Self::RabbitQueue(reader) => reader.declares_dead_letter_exchange(),
            _ => true,
        }
    }

    /// The record at this offset is to be kept by the source when it is settled, since no message of the target holds it.
    pub fn reject(&mut self, offset: Offset) {
        match self {
            #[cfg(feature = "rabbitmq")]
            Self::RabbitQueue(reader) => reader.reject(offset),
            _ => _ = offset,
        }
    }
}

#[cfg(feature = "kafka")]
impl From<super::kafka::PartitionReader> for Reader {
    fn from(reader: super::kafka::PartitionReader) -> Self {
        Self::Kafka(reader)
    }
}

#[cfg(feature = "rabbitmq")]
impl From<super::rabbitmq::QueueReader> for Reader {
    fn from(reader: super::rabbitmq::QueueReader) -> Self {
        Self::RabbitQueue(reader)
    }
}

#[cfg(feature = "rabbitmq")]
impl From<super::rabbitmq::StreamReader> for Reader {
    fn from(reader: super::rabbitmq::StreamReader) -> Self {
        Self::RabbitStream(reader)
    }
}

#[cfg(feature = "poll")]
impl From<super::poll::PollReader> for Reader {
    fn from(reader: super::poll::PollReader) -> Self {
        Self::Poll(reader)
    }
}
