//! The model of a queue: the messages that it holds, its consumers, of which one is active at a time, what they hold
//! without an acknowledgement, and what comes of that when a channel ends.

use std::collections::{BTreeSet, VecDeque};

use super::plan::Slot;
use super::world::{Due, Inbound, World};

/// From a consumer to the queue, in order.
#[derive(Debug, Clone, Copy)]
pub enum ToQueue {
    /// A consumer is there.
    Consume { consumer: usize },
    /// So many of the first deliveries on this channel are acknowledged.
    Ack { consumer: usize, count: usize },
    /// The channel ends; what is not acknowledged is delivered again.
    Close { consumer: usize },
    /// The broker asks for a sign of life.
    Heartbeat { consumer: usize },
    /// The client notices that the channel is gone.
    ClientNotices { consumer: usize },
}

/// From the queue to an instance.
#[derive(Debug, Clone, Copy)]
pub enum FromQueue {
    Delivery { consumer: usize, message: u64 },
    Gone { consumer: usize },
}

/// A consumer, each on a channel of its own.
#[derive(Debug, Clone)]
pub struct Consumer {
    pub instance: usize,
    pub incarnation: u32,
    prefetch: usize,
    /// Registered with the queue.
    is_there: bool,
    pub is_closed: bool,
    pub client_open: bool,
    pub blackhole: bool,
    unacked: VecDeque<u64>,
    /// How many of its deliveries are acknowledged.
    acked: usize,
    pub up_at: u64,
    down_at: u64,
}

/// One queue with single active consumer.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Waiting, in the order in which they were published; what is delivered again has its old place.
    ready: BTreeSet<u64>,
    pub acked: Vec<bool>,
    pub consumers: Vec<Consumer>,
}

impl Queue {
    /// A queue that will be given these messages.
    pub fn new(source: &[Slot]) -> Self {
        let is_gap = |message: &usize| source[*message] == Slot::Gap;
        let ready = (0..source.len()).filter(|message| !is_gap(message)).map(|message| message as u64).collect();
        Self { ready, acked: (0..source.len()).map(|message| is_gap(&message)).collect(), consumers: Vec::new() }
    }

    /// Whether all messages below this one are acknowledged.
    pub fn is_empty(&self, available: u64) -> bool {
        self.acked[..available as usize].iter().all(|acked| *acked)
    }

    /// A further consumer; not there yet.
    pub fn consumer(&mut self, instance: usize, incarnation: u32, prefetch: u64, now: u64) -> usize {
        self.consumers.push(Consumer {
            instance,
            incarnation,
            prefetch: prefetch as usize,
            is_there: false,
            acked: 0,
            is_closed: false,
            client_open: true,
            blackhole: false,
            unacked: VecDeque::new(),
            up_at: now,
            down_at: now,
        });
        self.consumers.len() - 1
    }

    /// The active consumer takes the next message, if it may.
    fn next(&mut self, available: u64) -> Option<(usize, u64)> {
        let active = self.consumers.iter().position(|one| one.is_there && !one.is_closed)?;
        let message = *self.ready.first().filter(|message| **message < available)?;
        let consumer = &mut self.consumers[active];
        if consumer.unacked.len() >= consumer.prefetch {
            return None;
        }
        self.ready.remove(&message);
        consumer.unacked.push_back(message);
        Some((active, message))
    }

    fn close(&mut self, consumer: usize) {
        self.consumers[consumer].is_closed = true;
        self.ready.extend(self.consumers[consumer].unacked.drain(..));
    }
}

impl World {
    /// Delivers what may be delivered.
    pub(super) fn deliver(&mut self) {
        let available = self.available;
        while let Some((consumer, message)) = self.queue.as_mut().and_then(|queue| queue.next(available)) {
            self.note(|| format!("queue: delivers {message} to consumer {consumer}"));
            self.send_from_queue(consumer, FromQueue::Delivery { consumer, message });
        }
    }

    /// Sends to the instance of a consumer, in order.
    fn send_from_queue(&mut self, consumer: usize, what: FromQueue) {
        let latency = self.latency();
        let Some(queue) = &mut self.queue else { return };
        let one = &mut queue.consumers[consumer];
        if one.blackhole {
            return;
        }
        one.down_at = (self.now + latency).max(one.down_at);
        let (at, instance, incarnation) = (one.down_at, one.instance, one.incarnation);
        self.at(at, Due::ToInstance { instance, incarnation, inbound: Inbound::FromQueue(what) });
    }

    /// What comes to the queue.
    pub(super) fn at_queue(&mut self, what: ToQueue) {
        let Some(queue) = &mut self.queue else { return };
        let one = |queue: &Queue, consumer: usize| queue.consumers[consumer].clone();
        match what {
            ToQueue::Consume { consumer } => queue.consumers[consumer].is_there = true,
            ToQueue::Ack { consumer, count } if !one(queue, consumer).blackhole => {
                let consumer = &mut queue.consumers[consumer];
                let fresh = count.saturating_sub(consumer.acked).min(consumer.unacked.len());
                consumer.acked = consumer.acked.max(count);
                for message in consumer.unacked.drain(..fresh) {
                    queue.acked[message as usize] = true;
                    self.rules.acknowledged(message);
                }
            }
            ToQueue::Close { consumer } if !queue.consumers[consumer].is_closed => {
                queue.close(consumer);
                self.note(|| format!("queue: the channel of consumer {consumer} is closed"));
                self.send_from_queue(consumer, FromQueue::Gone { consumer });
            }
            ToQueue::Heartbeat { consumer } => {
                let one = one(queue, consumer);
                let instance = &self.instances[one.instance];
                if instance.frozen || instance.incarnation != one.incarnation {
                    return self.at_queue(ToQueue::Close { consumer });
                }
            }
            ToQueue::ClientNotices { consumer } => {
                let (instance, incarnation) = (one(queue, consumer).instance, one(queue, consumer).incarnation);
                let inbound = Inbound::FromQueue(FromQueue::Gone { consumer });
                self.at(self.now, Due::ToInstance { instance, incarnation, inbound });
            }
            ToQueue::Ack { .. } | ToQueue::Close { .. } => {}
        }
        self.deliver();
    }

    /// The channel of some consumer ends: at once, or (`silently`) so that both sides have to find out.
    pub(super) fn break_channel(&mut self, silently: bool) {
        let Some(queue) = &mut self.queue else { return };
        let open: Vec<usize> = (0..queue.consumers.len()).filter(|one| !queue.consumers[*one].is_closed).collect();
        if open.is_empty() {
            return;
        }
        let consumer = self.random.pick(&open);
        if silently {
            self.lose_channel(consumer);
        } else {
            self.at_queue(ToQueue::Close { consumer });
        }
    }

    /// Nothing passes on this channel any more, and both sides find out some time.
    pub(super) fn lose_channel(&mut self, consumer: usize) {
        let Some(queue) = &mut self.queue else { return };
        queue.consumers[consumer].blackhole = true;
        let (client, broker) = (self.random.between(1000, 40_000), self.random.between(1000, 40_000));
        self.at(self.now + client, Due::ToQueue(ToQueue::ClientNotices { consumer }));
        self.at(self.now + broker, Due::ToQueue(ToQueue::Close { consumer }));
    }
}
