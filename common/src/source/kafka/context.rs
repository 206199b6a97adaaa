//! The rebalance callback: partitions come and go here, on the group's thread.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;

use super::Health;
use super::bulk::{self, GroupConsumer, Queue};
use super::faults;
use super::partition::PartitionReader;
use crate::logging::events;
use crate::record::SourcePartition;
use crate::source::{Notice, SourceError};

/// How often a wait shows that the group's thread still steps.
pub(super) const STEP: Duration = Duration::from_millis(100);

/// What librdkafka's callbacks need to know.
pub(super) struct GroupContext {
    pub(super) cluster_id: String,
    pub(super) topic: String,
    /// Its identity as a static member.
    pub(super) instance_id: Option<String>,
    pub(super) revoke_deadline: Duration,
    pub(super) request_timeout: Duration,
    pub(super) health: Arc<Health>,
    /// Commits of the mirror that the coordinator refused.
    pub(super) commits_failed: Arc<AtomicU64>,
    /// Bounded by construction: a partition has at most one reader and one revoke at a time, and the callback waits for
    /// the reader's end before the next.
    pub(super) notices: UnboundedSender<Notice>,
    /// The consumer itself, for the readers; set right after it is made, before it subscribes.
    pub(super) consumer: OnceLock<Weak<GroupConsumer>>,
    pub(super) owned: Mutex<HashMap<u32, Assignment>>,
}

/// A partition that is ours.
pub(super) struct Assignment {
    queue: Weak<Queue>,
    /// Disconnected when the reader is dropped.
    released: Receiver<Infallible>,
}

/// Kept by a reader: its end tells the group that the partition has been let go.
pub(super) type Held = SyncSender<Infallible>;

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let topic = &self.topic;
        // What it calls an error it deals with by itself; what it cannot deal with comes to us as an error of its own.
        match level {
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(event = events::DETAIL, topic, facility, "kafka client: {message}");
            }
            _ => tracing::warn!(event = events::KAFKA_CLIENT, topic, cause = facility, "kafka client: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.trouble(&self.topic, &error.to_string(), format!("kafka client: {error}: {reason}"));
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, base: &GroupConsumer, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(base, list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoke(base, list),
            _ => return,
        };
        if let Err(error) = done {
            let what = format!("rebalance of topic {}", self.topic);
            self.notify(Notice::Failed(SourceError::Fatal { what, reason: error.to_string() }));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            self.commits_failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(event = events::DETAIL, topic = %self.topic, "the group's committed offset was not moved: {error}");
        }
    }
}

impl GroupContext {
    /// Takes the partitions and hands out their readers. Nothing is fetched yet: each partition is paused before it is
    /// assigned (and again after, in case librdkafka did not know it before), at an offset that is never used.
    fn assign(&self, base: &GroupConsumer, list: &TopicPartitionList) -> KafkaResult<()> {
        let consumer = self.consumer.get().and_then(Weak::upgrade);
        let (mut mine, mut readers) = (TopicPartitionList::new(), Vec::new());
        for number in numbers(list) {
            mine.add_partition_offset(&self.topic, number, Offset::Offset(0))?;
            let queue = consumer.as_ref().and_then(|consumer| Queue::split(consumer, &self.topic, number));
            readers.extend(queue.map(|queue| self.reader(number, queue)));
        }
        if let Err(error) = base.pause(&mine) {
            tracing::debug!(event = events::DETAIL, topic = %self.topic, "pausing before the assignment: {error}");
        }
        self.go_on_at_positions(base)?;
        base.incremental_assign(&mine)?;
        if mine.count() > 0 {
            base.pause(&mine)?;
        }
        tracing::debug!(event = events::DETAIL, topic = %self.topic, partitions = ?numbers(&mine), "assigned");
        for reader in readers {
            self.notify(Notice::Assigned(reader.into()));
        }
        Ok(())
    }

    fn reader(&self, number: i32, queue: Queue) -> PartitionReader {
        let queue = Arc::new(queue);
        let (held, released) = sync_channel(1);
        let partition = number as u32;
        self.owned().insert(partition, Assignment { queue: Arc::downgrade(&queue), released });
        let (cluster_id, topic) = (self.cluster_id.clone(), self.topic.clone());
        PartitionReader::new(SourcePartition { cluster_id, topic, partition }, queue, held, self.request_timeout)
    }

    /// Asks for the partitions back and waits until their readers are gone, or the deadline; then gives them up.
    /// Invariant: when this returns, no reader of theirs can take another message.
    fn revoke(&self, base: &GroupConsumer, list: &TopicPartitionList) -> KafkaResult<()> {
        let lost = base.assignment_lost();
        let numbers = numbers(list);
        tracing::debug!(event = events::DETAIL, topic = %self.topic, partitions = ?numbers, lost, "revoked");
        for &number in &numbers {
            // A start that waits for librdkafka would wait for this very callback.
            if let Some(queue) = self.owned().get(&(number as u32)).and_then(|owned| owned.queue.upgrade()) {
                queue.begin_revoke();
            }
            self.notify(Notice::Revoked { partition: number as u32, lost });
        }
        let deadline = Instant::now() + self.revoke_deadline;
        for number in numbers {
            let Some(assignment) = self.owned().remove(&(number as u32)) else { continue };
            if !self.wait_until_released(&assignment, deadline) {
                let (topic, partition) = (&self.topic, number);
                let event = events::PARTITION_NOT_DRAINED;
                tracing::warn!(event, topic, partition, "not drained within the deadline; giving it up");
            }
            // Also when the reader is gone: a start that it had asked for may still be under way.
            if let Some(queue) = assignment.queue.upgrade() {
                queue.disarm();
            }
        }
        self.go_on_at_positions(base)?;
        base.incremental_unassign(list)
    }

    /// Makes every partition go on where its reader stands. To be called before librdkafka is told to go on after a
    /// rebalance: it has paused all partitions, and would resume each at the offset after the last that was taken in
    /// bulk. But up to 2.12 it counts the end of a partition and errors as if they were messages (librdkafka#4844), so
    /// it would skip a record. A seek makes it forget that offset; it waits for nothing, and comes before the resume in
    /// the partition's own order of work. A reader in the midst of a batch gets some of it again and drops it.
    pub(super) fn go_on_at_positions(&self, base: &GroupConsumer) -> KafkaResult<()> {
        for (&partition, assignment) in self.owned().iter() {
            let Some(queue) = assignment.queue.upgrade() else { continue };
            let state = queue.state();
            if let Some(position) = state.position {
                let mut list = TopicPartitionList::new();
                let offset = Offset::Offset(i64::try_from(position).unwrap_or(i64::MAX));
                list.add_partition_offset(&self.topic, partition as i32, offset)?;
                if let Some(epoch) = state.epoch_below(position) {
                    bulk::set_leader_epoch(&list, epoch);
                }
                base.seek_partitions(list, Duration::ZERO)?;
                // What is outdated now still fills the queue, and a queue that is not empty wakes nobody.
                queue.wake().notify_one();
            }
        }
        Ok(())
    }

    fn wait_until_released(&self, assignment: &Assignment, deadline: Instant) -> bool {
        loop {
            self.health.step();
            let left = deadline.saturating_duration_since(Instant::now());
            match assignment.released.recv_timeout(left.min(STEP)) {
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return false,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(never) => match never {},
            }
        }
    }

    /// Tells the pipeline. Without one, the notice and a reader in it are dropped here, which releases the partition.
    pub(super) fn notify(&self, notice: Notice) {
        drop(self.notices.send(notice));
    }

    pub(super) fn owned(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Assignment>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the client has given up for, if it has.
    fn fatal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.consumer.get().and_then(Weak::upgrade).and_then(|consumer| consumer.client().fatal_error())
    }

    /// An error that came to the group, not to a partition.
    pub(super) fn failed(&self, error: &KafkaError) {
        let what = format!("consuming topic {}", self.topic);
        let told = match (self.fatal(), &self.instance_id) {
            (Some((RDKafkaErrorCode::FencedInstanceId, reason)), Some(id)) => {
                SourceError::Fenced { what, instance_id: id.clone(), reason }
            }
            _ => faults::of_client(&what, &self.topic, error),
        };
        if told.is_transient() {
            self.health.trouble(&self.topic, &error.to_string(), told.to_string());
        } else {
            self.notify(Notice::Failed(told));
        }
    }
}

fn numbers(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}
