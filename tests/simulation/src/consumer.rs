//! The driver's side of a queue: deliveries are numbered, looked up among those read back, and acknowledged when they
//! are settled.

use std::collections::VecDeque;

use bridge_core::lane::{Admit, Event, ScanFrom, Tag};
use bridge_core::recall::{ReadBack, Recall};
use bridge_core::record::MessageId;

use super::plan::TOPICS;
use super::queue::{FromQueue, ToQueue};
use super::topic::Name;
use super::world::{Due, World};

/// What an instance has of a queue.
#[derive(Debug)]
pub struct Consumption {
    pub prefetch: u64,
    /// The consumer that is open.
    consumer: Option<usize>,
    /// Delivered and not taken.
    pub deliveries: VecDeque<u64>,
    /// Taken in this session: id and message.
    taken: Vec<(u64, u64)>,
    /// How many of those taken are acknowledged.
    acked: usize,
    /// When this opening began: what was asked for before does not count.
    pub opening: Tag,
    /// What the scans of this opening have read.
    pub read_back: ReadBack,
    recall: Recall,
}

impl Consumption {
    /// Of a process that starts with this prefetch.
    pub fn with(prefetch: u64) -> Self {
        Self {
            prefetch,
            consumer: None,
            deliveries: VecDeque::new(),
            taken: Vec::new(),
            acked: 0,
            opening: Tag(0),
            read_back: ReadBack::new(),
            recall: Recall::new(),
        }
    }
}

impl World {
    /// The identity of a message, as recall knows it.
    fn identity(&self, message: u64) -> u128 {
        let identities = self.plan.queue.as_ref().expect("only messages of a queue have identities");
        u128::from(identities[message as usize]) << 64 | 1
    }

    /// A scan is complete: what was read counts for the recall.
    pub(super) fn read_back(&mut self, i: usize, scan: Tag, topic: usize, from: ScanFrom) {
        let is_of_this_opening = self.queue.is_some() && scan > self.instances[i].consumer.opening;
        let (ScanFrom::Mark(mark), true) = (from, is_of_this_opening) else { return };
        let start = mark.id().unwrap_or(MessageId { ledger: 0, entry: 0 });
        let own = self.topics[topic].readable().iter().filter(|entry| entry.id >= start && entry.name != Name::Foreign);
        let found: Vec<(MessageId, u128)> =
            own.flat_map(|entry| entry.messages().iter().map(|message| (entry.id, self.identity(*message)))).collect();
        self.instances[i].consumer.read_back.add(TOPICS[topic], &found);
    }

    /// Begins to consume.
    pub(super) fn consume(&mut self, i: usize) {
        let latency = self.latency();
        let (now, incarnation) = (self.now, self.instances[i].incarnation);
        let consumption = &mut self.instances[i].consumer;
        if consumption.consumer.is_some() {
            return self.rules.broken("a queue is never led back", format!("instance {i}"));
        }
        consumption.recall = std::mem::take(&mut consumption.read_back).recall();
        let Some(queue) = &mut self.queue else { return };
        let consumer = queue.consumer(i, incarnation, consumption.prefetch, now);
        consumption.consumer = Some(consumer);
        consumption.taken.clear();
        consumption.acked = 0;
        queue.consumers[consumer].up_at = now + latency;
        self.at(now + latency, Due::ToQueue(ToQueue::Consume { consumer }));
    }

    /// Reads no more. With `flush` what is in flight is still acknowledged, and the consumer stays the active one until the
    /// channel is closed: nobody else may be delivered anything before what it holds is back in its place. Else the channel
    /// is closed at once.
    pub(super) fn stop_consuming(&mut self, i: usize, flush: bool) {
        let consumption = &mut self.instances[i].consumer;
        consumption.deliveries.clear();
        let Some(consumer) = consumption.consumer else { return };
        if flush {
            return;
        }
        consumption.consumer = None;
        self.send_to_queue(consumer, ToQueue::Close { consumer });
        self.close_client_side(consumer);
    }

    fn close_client_side(&mut self, consumer: usize) {
        if let Some(queue) = &mut self.queue {
            queue.consumers[consumer].client_open = false;
        }
    }

    fn send_to_queue(&mut self, consumer: usize, what: ToQueue) {
        let latency = self.latency();
        let now = self.now;
        let Some(queue) = &mut self.queue else { return };
        let one = &mut queue.consumers[consumer];
        one.up_at = (now + latency).max(one.up_at);
        let at = one.up_at;
        self.at(at, Due::ToQueue(what));
    }

    /// The process is gone, and its channel sooner or later.
    pub(super) fn consumer_dies(&mut self, i: usize, silently: bool) {
        let Some(consumer) = self.instances[i].consumer.consumer.take() else { return };
        self.close_client_side(consumer);
        let delay = if silently { self.random.between(1000, 40_000) } else { self.random.between(0, 50) };
        let Some(queue) = &mut self.queue else { return };
        queue.consumers[consumer].blackhole |= silently;
        let at = (self.now + delay).max(if silently { 0 } else { queue.consumers[consumer].up_at });
        self.at(at, Due::ToQueue(ToQueue::Close { consumer }));
    }

    /// A frozen process gives no sign of life.
    pub(super) fn consumer_freezes(&mut self, i: usize) {
        if let Some(consumer) = self.instances[i].consumer.consumer {
            let delay = self.random.between(500, 20_000);
            self.at(self.now + delay, Due::ToQueue(ToQueue::Heartbeat { consumer }));
        }
    }

    /// What comes from the queue.
    pub(super) fn hear_queue(&mut self, i: usize, what: FromQueue) {
        let is_reading = self.instances[i].source.is_some();
        let consumption = &mut self.instances[i].consumer;
        match what {
            FromQueue::Delivery { consumer, message } if is_reading && consumption.consumer == Some(consumer) => {
                consumption.deliveries.push_back(message);
            }
            FromQueue::Gone { consumer } if consumption.consumer == Some(consumer) => {
                consumption.consumer = None;
                consumption.deliveries.clear();
                self.close_client_side(consumer);
                self.step(i, Event::SourceFailed { reason: "the channel is closed".into(), stop: false });
            }
            _ => {}
        }
    }

    /// Takes some deliveries: each gets the next id, and is looked up before anything else.
    pub(super) fn take_deliveries(&mut self, i: usize) {
        for _ in 0..self.random.between(1, self.plan.chunk) {
            let Some(message) = self.instances[i].consumer.deliveries.pop_front() else { break };
            let identity = self.identity(message);
            let instance = &mut self.instances[i];
            let (Some(id), Some(partition)) = (instance.source, &mut instance.partition) else { return };
            instance.source = Some(id + 1);
            instance.consumer.taken.push((id, message));
            let is_stored = instance.consumer.recall.take(identity);
            let admit = if is_stored { partition.admit(id) } else { partition.admit_delivery(id, identity) };
            if matches!(admit, Admit::Hold | Admit::Suppress) {
                return self.rules.broken("a queue's deliveries are taken or refused", format!("{id}: {admit:?}"));
            }
            if is_stored {
                self.note(|| format!("instance {i} recalls message {message} ({id})"));
            } else {
                self.note(|| format!("instance {i} takes message {message} ({id})"));
                self.load(i, id, message, admit);
            }
        }
        self.acknowledge(i);
    }

    /// Acknowledges what is settled, as soon as it is.
    pub(super) fn acknowledge(&mut self, i: usize) {
        let instance = &mut self.instances[i];
        let Some(consumer) = instance.consumer.consumer else { return };
        let below = instance.partition.as_ref().and_then(|partition| partition.acknowledge_below());
        let settled = below.map_or(0, |below| instance.consumer.taken.partition_point(|(id, _)| *id < below));
        if settled <= instance.consumer.acked {
            return;
        }
        instance.consumer.acked = settled;
        // Some are lost on the way, and with them the channel.
        if !self.is_calm && self.random.chance(20) {
            self.lose_channel(consumer);
        }
        self.send_to_queue(consumer, ToQueue::Ack { consumer, count: settled });
    }

    /// The messages that were taken under these ids; none where the source is no queue.
    pub(super) fn messages(&self, i: usize, ids: &[u64]) -> Vec<u64> {
        if self.queue.is_none() {
            return Vec::new();
        }
        let taken = &self.instances[i].consumer.taken;
        let message = |id: &u64| taken.binary_search_by_key(id, |(id, _)| *id).map(|index| taken[index].1);
        ids.iter().filter_map(|id| message(id).ok()).collect()
    }
}
