//! Reading a topic partition back, entry by entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ::pulsar::message::proto::{self, command_subscribe::SubType};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::command;
use super::connection::Connection;
use super::entry::Entry;
use super::error::{Error, Refusal};
use super::routes::{Delivery, message_id};
use crate::record::MessageId;

/// Bytes that a reader asks for ahead of what was read, about, where nothing else is said.
const AHEAD_BYTES: usize = 8 * 1024 * 1024;
/// Messages that it asks for ahead: at first, when nothing is known of their size, and at most, where nothing else is said.
const AHEAD_MESSAGES: std::ops::RangeInclusive<usize> = 8..=1000;

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderStart {
    /// At the oldest entry there is.
    Earliest,
    /// Behind the newest: what comes from now on.
    Latest,
    /// At this entry, itself included; where it is gone, at the next one.
    At(MessageId),
    /// At the first entry that was published so many seconds ago or later, by the producers' clocks; with 0, as `Latest`.
    SecondsAgo(u32),
}

impl ReaderStart {
    /// -1:-1 is the earliest; the largest signed numbers are the latest.
    fn to_wire(self) -> proto::MessageIdData {
        let (ledger_id, entry_id, batch_index) = match self {
            Self::Earliest => (u64::MAX, u64::MAX, None),
            Self::Latest | Self::SecondsAgo(0) => (i64::MAX as u64, i64::MAX as u64, None),
            // The broker moves the subscription from there, as the request says beside.
            Self::SecondsAgo(_) => (u64::MAX, u64::MAX, None),
            // With an index the broker steps one entry back, so that the batch itself comes.
            Self::At(id) => (id.ledger, id.entry, Some(0)),
        };
        proto::MessageIdData { ledger_id, entry_id, batch_index, ..Default::default() }
    }

    /// How far the broker moves the subscription back in time, once it is there.
    fn rollback_seconds(self) -> Option<u64> {
        match self {
            Self::SecondsAgo(seconds) if seconds > 0 => Some(u64::from(seconds)),
            _ => None,
        }
    }
}

/// Reads one topic partition without leaving a trace in it: a non-durable subscription of its own. Entries come in the
/// topic's order. What is asked for ahead is bounded by about 8 MiB, for certain by 64 MiB.
pub struct Reader {
    id: u64,
    topic: String,
    connection: Arc<Connection>,
    queue: mpsc::UnboundedReceiver<Delivery>,
    unread_bytes: Arc<AtomicUsize>,
    permits: Permits,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("id", &self.id).field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) async fn open(
        connection: Arc<Connection>,
        operation: &str,
        topic: &str,
        start: ReaderStart,
        read_compacted: bool,
    ) -> Result<Self, Error> {
        let id = connection.fresh_id();
        let unread_bytes = Arc::new(AtomicUsize::new(0));
        let queue = connection.routes().add_consumer(id, Arc::clone(&unread_bytes));
        // From here on, whatever ends this future closes the subscription again.
        let mut reader =
            Self { id, topic: topic.to_owned(), connection, queue, unread_bytes, permits: Permits::default() };
        let subscribe = |request_id| {
            command::subscribe(proto::CommandSubscribe {
                topic: topic.to_owned(),
                subscription: subscription_name(id),
                sub_type: SubType::Exclusive as i32,
                consumer_id: id,
                request_id,
                durable: Some(false),
                start_message_id: Some(start.to_wire()),
                start_message_rollback_duration_sec: start.rollback_seconds(),
                read_compacted: Some(read_compacted),
                force_topic_creation: Some(false),
                ..Default::default()
            })
        };
        reader.connection.request(operation, subscribe).await?;
        reader.ask_for_more();
        Ok(reader)
    }

    /// Asks for so many messages, and about so many bytes, ahead at most from now on. Small messages in large batches are many:
    /// with few of them asked for, the broker sends a batch and waits to be asked again. Where large ones follow on small ones,
    /// more come than was asked for, up to the certain bound.
    pub fn set_ahead(&mut self, messages: usize, bytes: usize) {
        (self.permits.ahead_messages, self.permits.ahead_bytes) = (messages.max(*AHEAD_MESSAGES.start()), bytes);
    }

    /// The next entry; waits where there is none yet, so whoever reads to the end asks for
    /// [`Reader::last_message_id`] first. Markers of the broker's own are passed over. Dropping
    /// the future loses no entry. After an error the reader is of no
    /// more use: open another at the last id.
    pub async fn next(&mut self) -> Result<Entry, Error> {
        loop {
            match self.queue.recv().await {
                Some(Delivery::Entry(id, bytes)) => {
                    let entry = self.take(id, bytes)?;
                    if !entry.is_marker {
                        return Ok(entry);
                    }
                }
                Some(Delivery::Ended { reason, terminated }) => return Err(self.ended(reason, terminated)),
                None => return Err(self.ended("it has ended already".to_owned(), false)),
            }
        }
    }

    fn take(&mut self, id: MessageId, bytes: Bytes) -> Result<Entry, Error> {
        let length = bytes.len();
        self.unread_bytes.fetch_sub(length, Ordering::AcqRel);
        let entry = Entry::decode(id, bytes).map_err(|error| Error::Protocol {
            operation: format!("read entry {id} of {}", self.topic),
            broker: self.connection.broker().to_owned(),
            message: error.to_string(),
        })?;
        self.permits.used(entry.count, length);
        self.ask_for_more();
        Ok(entry)
    }

    fn ask_for_more(&mut self) {
        if let Some(more) = self.permits.grant() {
            self.connection.tell(&command::flow(self.id, more));
        }
    }

    fn ended(&self, reason: String, terminated: bool) -> Error {
        let operation = format!("read {}", self.topic);
        let broker = self.connection.broker().to_owned();
        if terminated {
            let code = proto::ServerError::TopicTerminatedError;
            Error::Refused { refusal: Refusal::Terminated, operation, broker, code, message: reason }
        } else {
            Error::Retryable { operation, broker, code: proto::ServerError::ServiceNotReady, message: reason }
        }
    }

    /// What the broker takes at most for checksum, metadata and payload of one batch.
    pub fn max_message_bytes(&self) -> usize {
        self.connection.max_message_bytes()
    }

    /// The id of the newest entry; `None` where the topic is empty.
    pub async fn last_message_id(&self) -> Result<Option<MessageId>, Error> {
        let operation = format!("get the last message id of {}", self.topic);
        let answer = self.connection.request(&operation, |id| command::last_message_id(id, self.id)).await?;
        let answer = answer.get_last_message_id_response.ok_or_else(|| self.connection.unexpected(&operation))?;
        Ok(message_id(&answer.last_message_id))
    }

    /// The id of the newest entry that is ahead of a reader that has read nothing yet; `None` where it starts at the end.
    pub async fn last_ahead(&self) -> Result<Option<MessageId>, Error> {
        let operation = format!("get the last message id of {}", self.topic);
        let answer = self.connection.request(&operation, |id| command::last_message_id(id, self.id)).await?;
        let answer = answer.get_last_message_id_response.ok_or_else(|| self.connection.unexpected(&operation))?;
        let passed = answer.consumer_mark_delete_position.as_ref().and_then(message_id);
        Ok(message_id(&answer.last_message_id).filter(|last| Some(*last) > passed))
    }

    /// Closes the subscription and waits for the broker to say so. Dropping the reader closes it without waiting.
    pub async fn close(self) -> Result<(), Error> {
        let operation = format!("close the reader of {}", self.topic);
        self.connection.routes().remove_consumer(self.id);
        self.connection.request(&operation, |id| command::close_consumer(id, self.id)).await.map(|_| ())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.connection.routes().remove_consumer(self.id) {
            self.connection.tell(&command::close_consumer(self.connection.fresh_id(), self.id));
        }
    }
}

/// A name that no other reader has, here or elsewhere.
fn subscription_name(id: u64) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("bridge-reader-{}-{}-{count}-{id}", std::process::id(), since.as_nanos())
}

/// How many messages the broker may still send. It counts messages where we would count bytes, and it sends whole
/// batches, also beyond the count; so the count follows the size of the largest message seen.
#[derive(Debug)]
struct Permits {
    granted: i64,
    largest_message_bytes: usize,
    ahead_messages: usize,
    ahead_bytes: usize,
}

impl Default for Permits {
    fn default() -> Self {
        let (ahead_messages, ahead_bytes) = (*AHEAD_MESSAGES.end(), AHEAD_BYTES);
        Self { granted: 0, largest_message_bytes: 0, ahead_messages, ahead_bytes }
    }
}

impl Permits {
    fn used(&mut self, messages: u32, bytes: usize) {
        self.granted -= i64::from(messages);
        let each = bytes / (messages.max(1) as usize);
        self.largest_message_bytes = self.largest_message_bytes.max(each).max(1);
    }

    /// How many more to grant, once half of them are used up.
    fn grant(&mut self) -> Option<u32> {
        let wanted = self
            .ahead_bytes
            .checked_div(self.largest_message_bytes)
            .unwrap_or(*AHEAD_MESSAGES.start())
            .clamp(*AHEAD_MESSAGES.start(), self.ahead_messages);
        let wanted = i64::try_from(wanted).expect("at most some thousands");
        if self.granted > wanted / 2 {
            return None;
        }
        let more = u32::try_from(wanted - self.granted).unwrap_or(u32::MAX);
        self.granted += i64::from(more);
        Some(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_start_small_and_follow_the_size_of_messages() {
        let mut permits = Permits::default();
        assert_eq!(permits.grant(), Some(8));
        assert_eq!(permits.grant(), None);
        // One batch of small messages takes more than was granted: all of it is given back, and more.
        permits.used(500, 50_000);
        assert_eq!(permits.grant(), Some(492 + 1000));
        for _ in 0..1000 {
            permits.used(1, 5 * 1024 * 1024);
        }
        assert_eq!(permits.grant(), Some(8));
        assert_eq!(permits.granted, 8);
    }
}
