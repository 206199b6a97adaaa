//! The reader of a classic or quorum queue: deliveries, numbered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use lapin::types::{DeliveryTag, FieldTable};
use tokio::task::JoinHandle;

use super::declare::{self, Prepared, SingleConsumer};
use super::ledger::Ledger;
use super::link::Link;
use super::record;
use super::session::{Ack, Next, Session};
use super::sizes::Sizes;
use crate::config::QueueType;
use crate::record::{Offset, Record, SourcePartition};
use crate::source::{SourceError, Stamp, Start, Taken};

/// Reads one queue. Dropping it gives back what was not acknowledged.
pub struct QueueReader {
    partition: SourcePartition,
    link: Arc<Link>,
    consumption: Option<Box<Consumption>>,
    position: Option<Offset>,
    /// Whether RabbitMQ keeps what is rejected.
    keeps_rejected: bool,
    /// Of all bodies seen so far, for the prefetch.
    bodies: Sizes,
    /// Position and end, shared with the task that looks at the queue.
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    position: AtomicU64,
    end: AtomicU64,
}

/// One start's deliveries.
struct Consumption {
    session: Session,
    ledger: Ledger,
    prefetch: u16,
    /// Cancelled: what was taken is still acknowledged on this channel, but no more is shown.
    stopped: bool,
    /// What has ended the channel, found behind deliveries that were still shown: the next take gives it.
    fault: Option<SourceError>,
    _looker: Looker,
}

impl fmt::Debug for QueueReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueueReader({} at {:?})", self.partition, self.position)
    }
}

impl QueueReader {
    pub(super) fn new(partition: SourcePartition, link: Arc<Link>) -> Self {
        let (bodies, seen) = Default::default();
        QueueReader { partition, link, consumption: None, position: None, bodies, seen, keeps_rejected: false }
    }

    /// Which queue this is.
    pub fn partition(&self) -> &SourcePartition {
        &self.partition
    }

    /// A queue starts where it is; its numbers start at the clock, in microseconds, which is above every number before.
    ///
    /// # Errors
    /// None.
    pub async fn resolve(&mut self, _start: Start) -> Result<Offset, SourceError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(now.as_micros()).unwrap_or(0))
    }

    /// A queue cannot be asked for a message by its number: always `None`.
    ///
    /// # Errors
    /// None.
    pub async fn stamp_at(&mut self, _offset: Offset) -> Result<Option<Stamp>, SourceError> {
        Ok(None)
    }

    /// Consumes, and numbers what comes from `offset` on. What was delivered before is given back, and comes again.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`], also while the queue is missing or another consumer has it for itself;
    /// [`SourceError::Denied`].
    pub async fn start_at(&mut self, offset: Offset) -> Result<(), SourceError> {
        self.position = None;
        if let Some(before) = self.consumption.take() {
            before.session.close(&self.link).await;
        }
        let queue = &self.partition.topic;
        let Prepared { single, keeps_rejected } = declare::prepare(&self.link, queue).await?;
        self.keeps_rejected = keeps_rejected;
        // Where the queue does not see to it that one consumer has it, the consumer says so itself.
        let exclusive = single == SingleConsumer::No && self.link.settings.queue_type == QueueType::Classic;
        let prefetch = self.prefetch();
        let session = Session::open(&self.link, queue, prefetch, exclusive, FieldTable::default()).await?;
        self.seen.position.store(offset, Ordering::Relaxed);
        self.seen.end.store(offset, Ordering::Relaxed);
        let looker = Looker(tokio::spawn(look(Arc::clone(&self.link), queue.clone(), Arc::clone(&self.seen))));
        let (ledger, stopped, fault) = (Ledger::new(offset), false, None);
        self.consumption = Some(Box::new(Consumption { session, ledger, prefetch, stopped, fault, _looker: looker }));
        self.position = Some(offset);
        Ok(())
    }

    /// Stops: no more is shown. What was taken can still be settled; when all of it is, the channel is closed, and what was
    /// not taken goes back to the queue (at the latest when the reader is dropped or started again). The consumer is not
    /// cancelled before: another one would get what comes behind these deliveries before they are back.
    ///
    /// # Errors
    /// None.
    pub async fn stop(&mut self) -> Result<(), SourceError> {
        if let Some(consumption) = &mut self.consumption {
            consumption.stopped = true;
            consumption.close_when_settled();
        }
        Ok(())
    }

    /// Waits until there may be something to take. May be dropped and called again at any time.
    pub async fn ready(&mut self) {
        match &mut self.consumption {
            Some(consumption) if consumption.fault.is_some() => {}
            Some(consumption) if !consumption.stopped => consumption.session.ready().await,
            // Not before a start.
            _ => std::future::pending().await,
        }
    }

    /// Shows up to `max` deliveries, without waiting.
    /// Invariant: their numbers count up from the start, without a hole.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] when the channel or the connection has ended: start again.
    /// [`SourceError::NotStarted`]. No record has been shown by a call that fails.
    pub fn take(&mut self, max: usize, visit: &mut dyn FnMut(Record<'_>)) -> Result<Taken, SourceError> {
        let (Some(consumption), Some(start)) = (&mut self.consumption, self.position) else {
            return Err(SourceError::NotStarted { partition: self.partition.clone() });
        };
        let mut taken = Taken { drained: consumption.stopped, ..Taken::default() };
        while taken.records < max && !taken.drained && consumption.fault.is_none() {
            match consumption.session.next() {
                Next::Delivery(delivery) if delivery.delivery_tag == consumption.ledger.next_tag() => {
                    self.bodies.add(delivery.data.len());
                    record::show(&delivery, consumption.ledger.next(), self.link.settings.key.as_ref(), visit);
                    consumption.ledger.show();
                    taken.records += 1;
                }
                Next::Delivery(delivery) => {
                    let wanted = consumption.ledger.next_tag();
                    consumption.fault = Some(out_of_turn(&self.partition, delivery.delivery_tag, wanted));
                }
                Next::Empty => taken.drained = true,
                Next::Over(error) => consumption.fault = Some(error),
            }
        }
        let position = start + taken.records as u64;
        self.position = Some(position);
        self.seen.position.store(position, Ordering::Relaxed);
        let prefetch = consumption.prefetch;
        let is_too_large = !consumption.stopped && self.bodies.too_large_for(prefetch, self.link.settings.held_bytes);
        if consumption.fault.is_none() && is_too_large {
            // At every take: while deliveries keep coming there is none that shows nothing.
            consumption.fault = Some(too_large(&self.partition, self.bodies.mean(), prefetch));
        }
        if taken.records > 0 || consumption.stopped {
            return Ok(taken);
        }
        match consumption.fault.take() {
            None => Ok(taken),
            Some(fault) => {
                // Whatever this channel could still be told is void.
                self.consumption = None;
                self.position = None;
                Err(fault)
            }
        }
    }

    /// The number of the next delivery. `None` before the start and after an error.
    pub fn position(&self) -> Option<Offset> {
        self.position
    }

    /// Position and ready messages together, as of the last look at the queue.
    pub fn high_watermark(&self) -> Option<Offset> {
        let position = self.position?;
        Some(self.seen.end.load(Ordering::Relaxed).max(position))
    }

    /// Nothing: a queue has no place for it.
    pub fn commit(&self, _offset: Offset) {}

    /// Acknowledges every delivery numbered below `below` that was taken since the start, without waiting. What was
    /// delivered before that start is not: it comes again.
    pub fn settled(&mut self, below: Offset) {
        if let Some(consumption) = &mut self.consumption {
            consumption.settle(below);
        }
    }

    /// The delivery `offset` is rejected when it is settled: RabbitMQ gives it to the queue's dead-letter exchange, and
    /// drops it where there is none.
    pub fn reject(&mut self, offset: Offset) {
        if let Some(consumption) = &mut self.consumption {
            consumption.ledger.reject(offset);
        }
    }

    /// Whether the queue was declared with a dead-letter exchange, which is there. A policy may name one, too; AMQP does
    /// not tell.
    pub fn declares_dead_letter_exchange(&self) -> bool {
        self.keeps_rejected
    }

    /// The deliveries that may be under way at once, from the next start on.
    pub fn prefetch(&self) -> u16 {
        let settings = &self.link.settings;
        self.bodies.prefetch(settings.prefetch, settings.held_bytes)
    }
}

impl Consumption {
    fn settle(&mut self, below: Offset) {
        let acks = self.ledger.settle(below);
        if !acks.is_empty() {
            acks.into_iter().for_each(|ack| self.session.tell(ack));
            self.close_when_settled();
        }
    }

    fn close_when_settled(&self) {
        if self.stopped && self.ledger.is_settled() {
            self.session.tell(Ack::Close);
        }
    }
}

/// The task that looks at the queue; it ends with what it belongs to.
struct Looker(JoinHandle<()>);

impl Drop for Looker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn too_large(partition: &SourcePartition, mean: u64, prefetch: u16) -> SourceError {
    let reason = format!(
        "bodies are {mean} bytes on average, which is too much to have {prefetch} of them under way: fewer from now on"
    );
    SourceError::Unavailable { what: format!("consuming queue {}", partition.topic), reason }
}

fn out_of_turn(partition: &SourcePartition, tag: DeliveryTag, wanted: DeliveryTag) -> SourceError {
    let what = format!("consuming queue {}", partition.topic);
    SourceError::Fatal { what, reason: format!("delivery tag {tag} came in place of {wanted}") }
}

/// Looks now and then how many messages are ready, for the lag. Ends with the start it belongs to.
async fn look(link: Arc<Link>, queue: String, seen: Arc<Seen>) {
    let mut interval = tokio::time::interval(link.settings.look_interval);
    let mut channel = None;
    loop {
        interval.tick().await;
        if channel.is_none() {
            channel = link.channel().await.ok().map(|(channel, _)| channel);
        }
        let Some(open) = &channel else { continue };
        let position = seen.position.load(Ordering::Relaxed);
        match declare::ready_messages(open, &queue).await {
            Ok(ready) => seen.end.store(position + ready, Ordering::Relaxed),
            // The consumer's own channel tells what is wrong.
            Err(_) => channel = None,
        }
    }
}
