//! What starts and stops the fetching of a partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::bulk::{self, Queue, State};
use super::faults;
use super::offsets::Ask;
use crate::record::{Offset, SourcePartition};
use crate::source::SourceError;

/// How long librdkafka may take to be ready for a seek after an assignment.
const SEEK_DEADLINE: Duration = Duration::from_secs(10);
const SEEK_PATIENCE: Duration = Duration::from_millis(300);
const SEEK_PAUSE: Duration = Duration::from_millis(20);

/// Why a move did not come about.
enum Moved {
    /// librdkafka would not seek now.
    Refused(SourceError),
    /// Anything else.
    Failed(SourceError),
}

impl From<SourceError> for Moved {
    fn from(error: SourceError) -> Self {
        Moved::Failed(error)
    }
}

/// What starts and stops the fetching of a partition. Shared with the blocking calls that do it.
pub(super) struct Control {
    partition: SourcePartition,
    pub(super) queue: Arc<Queue>,
    pub(super) timeout: Duration,
    /// The last start or stop that was asked for: one that was given up by its caller must not come in after it.
    wanted: AtomicU64,
    /// The end of the partition, as it was last asked for; 0 where it never was.
    pub(super) end: AtomicU64,
}

impl Control {
    pub(super) fn new(partition: SourcePartition, queue: Arc<Queue>, timeout: Duration) -> Self {
        Self { partition, queue, timeout, wanted: AtomicU64::new(0), end: AtomicU64::new(0) }
    }

    /// Who answers questions about the partition.
    pub(super) fn ask(&self) -> Ask<'_> {
        Ask { consumer: self.queue.consumer(), partition: &self.partition, timeout: self.timeout }
    }

    /// The number of a new start or stop, which makes all earlier ones void.
    pub(super) fn ticket(&self) -> u64 {
        self.wanted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Runs `work` unless the partition has been revoked, and holds off a revoke meanwhile.
    pub(super) fn while_ours<E: From<SourceError>>(
        &self,
        ticket: u64,
        work: impl FnOnce(&Self, &mut State) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.queue.state();
        if !state.ours {
            return Err(SourceError::Revoked { partition: self.partition.clone() }.into());
        }
        if self.wanted.load(Ordering::Relaxed) != ticket {
            return Err(SourceError::NotStarted { partition: self.partition.clone() }.into());
        }
        work(self, &mut state)
    }

    /// Fetches from `offset` on.
    pub(super) fn start(&self, ticket: u64, offset: Offset) -> Result<(), SourceError> {
        self.while_ours(ticket, |control, _| control.pause())?;
        self.ask().check(offset)?;
        let asked = Instant::now();
        let mut assigned_anew = false;
        loop {
            if self.queue.is_revoking() {
                return Err(SourceError::Revoked { partition: self.partition.clone() });
            }
            let refused = match self.while_ours(ticket, |control, state| control.move_to(offset, state)) {
                Err(Moved::Refused(error)) => error,
                Err(Moved::Failed(error)) => return Err(error),
                Ok(()) => return Ok(()),
            };
            if asked.elapsed() >= SEEK_DEADLINE {
                return Err(refused);
            }
            // Right after an assignment librdkafka refuses to seek for a moment. After an offset that was out of range
            // it has stopped fetching, and refuses for ever: then the partition is assigned anew. That may end a pause
            // of all partitions for a rebalance, as the callback does.
            if !assigned_anew && asked.elapsed() >= SEEK_PATIENCE {
                assigned_anew = true;
                let consumer = self.queue.consumer();
                consumer.context().go_on_at_positions(consumer).map_err(|error| self.typed(&error))?;
                self.while_ours(ticket, |control, _| control.assign_anew(offset))?;
            }
            std::thread::sleep(SEEK_PAUSE);
        }
    }

    /// Fetches nothing more.
    pub(super) fn pause(&self) -> Result<(), SourceError> {
        let paused = self.list(0).and_then(|list| self.queue.consumer().pause(&list));
        paused.map_err(|error| self.typed(&error))
    }

    /// Moves to `offset` and fetches from there. A seek raises librdkafka's version barrier: what was fetched before is
    /// dropped when it is taken from the queue.
    fn move_to(&self, offset: Offset, state: &mut State) -> Result<(), Moved> {
        let consumer = self.queue.consumer();
        let list = self.list(offset).inspect(|list| {
            // A log that was cut below the offset, and has grown beyond it since, shows itself by nothing else.
            if let Some(epoch) = state.epoch_below(offset) {
                bulk::set_leader_epoch(list, epoch);
            }
        });
        let sought = list.and_then(|list| consumer.seek_partitions(list, self.timeout));
        let sought = sought.and_then(|list| list.elements().iter().try_for_each(|element| element.error()));
        sought.map_err(|error| Moved::Refused(self.typed(&error)))?;
        state.position = Some(offset);
        let resumed = self.list(offset).and_then(|list| consumer.resume(&list));
        resumed.map_err(|error| Moved::Failed(self.typed(&error)))
    }

    /// Gives the partition up to librdkafka and takes it again, without the group.
    fn assign_anew(&self, offset: Offset) -> Result<(), SourceError> {
        let consumer = self.queue.consumer();
        let done = self.list(offset).and_then(|list| {
            consumer.incremental_unassign(&list)?;
            consumer.pause(&list)?;
            consumer.incremental_assign(&list)?;
            consumer.pause(&list)
        });
        done.map_err(|error| self.typed(&error))
    }

    /// The partition at this offset, as librdkafka wants it.
    pub(super) fn list(&self, offset: Offset) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        let offset = KafkaOffset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        list.add_partition_offset(&self.partition.topic, self.partition.partition as i32, offset)?;
        Ok(list)
    }

    fn typed(&self, error: &KafkaError) -> SourceError {
        faults::of_client(&format!("moving in {}", self.partition), &self.partition.topic, error)
    }
}
