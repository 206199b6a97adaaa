//! Who on a connection gets what comes in: answers by request id, receipts by producer id, entries by consumer id.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::pulsar::message::proto::{self, BaseCommand, ServerError};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::command::{Incoming, answered_request};
use crate::record::MessageId;

/// Requests that may be without answer on one connection at a time.
const MAX_PENDING: usize = 10_000;
/// Bytes of entries that one reader may leave unread before it is ended.
const MAX_UNREAD_BYTES: usize = 64 * 1024 * 1024;

/// Where a producer's events go, with the tag that was given when it was opened. The channel needs no bound of its own:
/// each frame sent makes at most one receipt or error, and frames are bounded by the caller's window.
pub type ProducerEvents = mpsc::UnboundedSender<(u64, ProducerEvent)>;

/// What happens to a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProducerEvent {
    /// A batch is persisted, or was dropped as a duplicate.
    Receipt {
        /// The lowest id of the batch.
        lowest_sequence_id: u64,
        /// Its highest id.
        highest_sequence_id: u64,
        /// Where it is stored; `None` is the broker's -1:-1, which says "duplicate" and nothing about what is stored.
        message_id: Option<MessageId>,
    },
    /// A batch was refused.
    SendError {
        /// The highest id of the batch.
        highest_sequence_id: u64,
        /// The broker's code.
        code: ServerError,
        /// The broker's own words.
        message: String,
    },
    /// The producer is no more, though its owner did not close it: the broker closed it, or the connection is gone.
    /// Comes once at most. Receipts may still follow when it was the broker.
    Closed {
        /// Why.
        reason: String,
    },
}

/// What comes for a reader.
#[derive(Debug)]
pub(super) enum Delivery {
    /// An entry, not yet taken apart.
    Entry(MessageId, Bytes),
    /// Nothing more will come: why, and whether the topic was terminated.
    Ended { reason: String, terminated: bool },
}

struct ProducerRoute {
    events: ProducerEvents,
    tag: u64,
    /// Shared with the producer: false once nothing can be sent any more.
    open: Arc<AtomicBool>,
    /// Its owner is closing it, and hears of its end from the close itself.
    closing: bool,
}

impl ProducerRoute {
    /// Invariant: `Closed` is told once, and only where the owner did not close: `open` turns false once.
    fn close(&self, reason: &str) {
        if self.open.swap(false, Ordering::AcqRel) && !self.closing {
            self.tell(ProducerEvent::Closed { reason: reason.to_owned() });
        }
    }

    fn tell(&self, event: ProducerEvent) {
        // An owner that no longer listens has nothing to settle.
        let _ = self.events.send((self.tag, event));
    }
}

struct ConsumerRoute {
    queue: mpsc::UnboundedSender<Delivery>,
    unread_bytes: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Table {
    /// Why the connection is dead, once it is.
    dead: Option<String>,
    pending: HashMap<u64, oneshot::Sender<BaseCommand>>,
    producers: HashMap<u64, ProducerRoute>,
    consumers: HashMap<u64, ConsumerRoute>,
}

/// The routes of one connection.
#[derive(Default)]
pub(super) struct Routes {
    table: Mutex<Table>,
}

/// What the connection itself has to do about a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Todo {
    Nothing,
    Pong,
    AnswerChallenge,
}

impl Routes {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the connection is dead, if it is.
    pub(super) fn dead(&self) -> Option<String> {
        self.table().dead.clone()
    }

    /// Waits for the answer to a request that is about to be sent. An error says why it cannot be sent.
    pub(super) fn expect_answer(&self, request_id: u64) -> Result<oneshot::Receiver<BaseCommand>, String> {
        let mut table = self.table();
        if let Some(reason) = &table.dead {
            return Err(reason.clone());
        }
        if table.pending.len() >= MAX_PENDING {
            return Err(format!("{MAX_PENDING} requests are waiting for an answer already"));
        }
        let (sender, receiver) = oneshot::channel();
        table.pending.insert(request_id, sender);
        Ok(receiver)
    }

    /// Nobody waits for this answer any more.
    pub(super) fn forget_request(&self, request_id: u64) {
        self.table().pending.remove(&request_id);
    }

    /// Adds a producer. On a dead connection it is not added; the request that follows says so.
    pub(super) fn add_producer(&self, id: u64, events: ProducerEvents, tag: u64) -> Arc<AtomicBool> {
        let mut table = self.table();
        let open = Arc::new(AtomicBool::new(table.dead.is_none()));
        if table.dead.is_none() {
            // Until the broker has said yes, its end is told by the answer to the request alone.
            let route = ProducerRoute { events, tag, open: Arc::clone(&open), closing: true };
            table.producers.insert(id, route);
        }
        open
    }

    /// The broker said yes: from now on the owner is told of its end. False where it has ended already.
    pub(super) fn producer_is_open(&self, id: u64) -> bool {
        match self.table().producers.get_mut(&id) {
            Some(route) if route.open.load(Ordering::Acquire) => {
                route.closing = false;
                true
            }
            _ => false,
        }
    }

    /// The owner closes it: no more sends, and no `Closed`. False where it has ended already.
    pub(super) fn producer_is_closing(&self, id: u64) -> bool {
        match self.table().producers.get_mut(&id) {
            Some(route) => {
                route.closing = true;
                route.open.swap(false, Ordering::AcqRel)
            }
            None => false,
        }
    }

    /// Nobody listens for this producer any more. Whether there was one.
    pub(super) fn remove_producer(&self, id: u64) -> bool {
        match self.table().producers.remove(&id) {
            Some(route) => {
                route.open.store(false, Ordering::Release);
                true
            }
            None => false,
        }
    }

    pub(super) fn add_consumer(&self, id: u64, unread_bytes: Arc<AtomicUsize>) -> mpsc::UnboundedReceiver<Delivery> {
        let (queue, receiver) = mpsc::unbounded_channel();
        let mut table = self.table();
        if table.dead.is_none() {
            table.consumers.insert(id, ConsumerRoute { queue, unread_bytes });
        }
        receiver
    }

    /// Nobody listens for this reader any more. Whether there was one.
    pub(super) fn remove_consumer(&self, id: u64) -> bool {
        self.table().consumers.remove(&id).is_some()
    }

    /// The connection is dead: everybody is told, once.
    pub(super) fn die(&self, reason: &str) {
        let mut table = self.table();
        if table.dead.is_some() {
            return;
        }
        table.dead = Some(reason.to_owned());
        // Dropping the senders wakes who waits for answers; they ask for the reason.
        table.pending.clear();
        for (_, route) in table.producers.drain() {
            route.close(reason);
        }
        for (_, route) in table.consumers.drain() {
            let _ = route.queue.send(Delivery::Ended { reason: reason.to_owned(), terminated: false });
        }
    }

    /// Hands a frame to whom it belongs.
    pub(super) fn dispatch(&self, incoming: Incoming) -> Todo {
        let Incoming { command, payload } = incoming;
        if let Some(receipt) = &command.send_receipt {
            self.receipt(receipt);
        } else if let Some(message) = &command.message {
            self.entry(message, payload);
        } else if let Some(error) = &command.send_error {
            self.send_error(error);
        } else if command.ping.is_some() {
            return Todo::Pong;
        } else if command.auth_challenge.is_some() {
            return Todo::AnswerChallenge;
        } else if let Some(close) = &command.close_producer {
            if let Some(route) = self.table().producers.get(&close.producer_id) {
                route.close("the broker closed it (its topic is unloaded or moves)");
            }
        } else if let Some(close) = &command.close_consumer {
            self.end_consumer(close.consumer_id, "the broker closed it (its topic is unloaded or moves)", false);
        } else if let Some(end) = &command.reached_end_of_topic {
            self.end_consumer(end.consumer_id, "the topic is terminated and read to its end", true);
        } else if let Some(request_id) = answered_request(&command) {
            self.answer(request_id, command);
        }
        Todo::Nothing
    }

    fn answer(&self, request_id: u64, command: BaseCommand) {
        let mut table = self.table();
        if command.producer_success.as_ref().is_some_and(|success| success.producer_ready == Some(false)) {
            // The real answer comes later, under the same request id.
            return;
        }
        if let Some(waiting) = table.pending.remove(&request_id) {
            let _ = waiting.send(command);
        }
    }

    fn receipt(&self, receipt: &proto::CommandSendReceipt) {
        let table = self.table();
        let Some(route) = table.producers.get(&receipt.producer_id) else { return };
        let message_id = receipt.message_id.as_ref().and_then(message_id);
        let highest = receipt.highest_sequence_id.unwrap_or(0).max(receipt.sequence_id);
        route.tell(ProducerEvent::Receipt {
            lowest_sequence_id: receipt.sequence_id,
            highest_sequence_id: highest,
            message_id,
        });
    }

    fn send_error(&self, error: &proto::CommandSendError) {
        let table = self.table();
        let Some(route) = table.producers.get(&error.producer_id) else { return };
        route.tell(ProducerEvent::SendError {
            highest_sequence_id: error.sequence_id,
            code: ServerError::try_from(error.error).unwrap_or(ServerError::UnknownError),
            message: error.message.clone(),
        });
    }

    fn entry(&self, message: &proto::CommandMessage, payload: Bytes) {
        let mut table = self.table();
        let Some(route) = table.consumers.get(&message.consumer_id) else { return };
        let unread = route.unread_bytes.fetch_add(payload.len(), Ordering::AcqRel) + payload.len();
        let delivery = match message_id(&message.message_id) {
            Some(id) if unread <= MAX_UNREAD_BYTES => Delivery::Entry(id, payload),
            _ => {
                let reason = format!("{unread} bytes came that were not read yet; open it again where it stopped");
                Delivery::Ended { reason, terminated: false }
            }
        };
        let ended = matches!(delivery, Delivery::Ended { .. });
        if route.queue.send(delivery).is_err() || ended {
            table.consumers.remove(&message.consumer_id);
        }
    }

    fn end_consumer(&self, id: u64, reason: &str, terminated: bool) {
        if let Some(route) = self.table().consumers.remove(&id) {
            let _ = route.queue.send(Delivery::Ended { reason: reason.to_owned(), terminated });
        }
    }
}

/// The wire's message id as ours; `None` where either part is -1.
pub(super) fn message_id(id: &proto::MessageIdData) -> Option<MessageId> {
    let valid = id.ledger_id != u64::MAX && id.entry_id != u64::MAX;
    valid.then_some(MessageId { ledger: id.ledger_id, entry: id.entry_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(command: BaseCommand) -> Incoming {
        Incoming { command, payload: Bytes::new() }
    }

    fn close_producer(producer_id: u64) -> Incoming {
        let close = proto::CommandCloseProducer { producer_id, request_id: u64::MAX };
        incoming(BaseCommand { close_producer: Some(close), ..Default::default() })
    }

    fn receipt(producer_id: u64, ledger_id: u64) -> Incoming {
        let send_receipt = proto::CommandSendReceipt {
            producer_id,
            sequence_id: 5,
            highest_sequence_id: Some(9),
            message_id: Some(proto::MessageIdData { ledger_id, entry_id: ledger_id, ..Default::default() }),
        };
        incoming(BaseCommand { send_receipt: Some(send_receipt), ..Default::default() })
    }

    #[test]
    fn closed_is_told_once_and_receipts_may_follow_it() {
        let routes = Routes::default();
        let (events, mut told) = mpsc::unbounded_channel();
        let open = routes.add_producer(1, events, 42);
        assert!(routes.producer_is_open(1));
        routes.dispatch(close_producer(1));
        routes.dispatch(close_producer(1));
        routes.dispatch(receipt(1, u64::MAX));
        routes.dispatch(receipt(2, 7));
        routes.die("gone");
        assert!(!open.load(Ordering::Acquire));
        assert!(matches!(told.try_recv(), Ok((42, ProducerEvent::Closed { .. }))));
        let duplicate = ProducerEvent::Receipt { lowest_sequence_id: 5, highest_sequence_id: 9, message_id: None };
        assert_eq!(told.try_recv(), Ok((42, duplicate)));
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn an_owner_that_closes_hears_no_closed() {
        let routes = Routes::default();
        let (events, mut told) = mpsc::unbounded_channel();
        routes.add_producer(1, events, 1);
        assert!(routes.producer_is_open(1));
        assert!(routes.producer_is_closing(1));
        routes.die("gone");
        assert!(told.try_recv().is_err());
        assert!(routes.expect_answer(1).is_err());
    }

    #[test]
    fn a_reader_that_does_not_read_is_ended_instead_of_filling_the_memory() {
        let routes = Routes::default();
        let mut queue = routes.add_consumer(1, Arc::default());
        let message = proto::CommandMessage { consumer_id: 1, ..Default::default() };
        let entry = Bytes::from(vec![0; MAX_UNREAD_BYTES / 2 + 1]);
        for _ in 0..3 {
            let command = BaseCommand { message: Some(message.clone()), ..Default::default() };
            routes.dispatch(Incoming { command, payload: entry.clone() });
        }
        assert!(matches!(queue.try_recv(), Ok(Delivery::Entry(..))));
        assert!(matches!(queue.try_recv(), Ok(Delivery::Ended { .. })));
        assert!(queue.try_recv().is_err());
    }
}
