//! The brokers' side: what they do with requests, writes, connections, and their own misfortunes.

use bridge_core::lane::{NotOpened, SendFailure, Tag};

use super::plan::{Slot, TOPICS};
use super::topic::{Name, Producer, Verdict, Write};
use super::world::{Down, Due, Inbound, Up, World};

/// How long the broker waits for a sign of life of a holder whose name somebody else asks for.
const LIVENESS_MS: u64 = 5000;

impl World {
    pub(super) fn at_broker(&mut self, conn: usize, up: Up) {
        match up {
            Up::Open { tag, topic, name } => self.open_producer(conn, tag, topic, name),
            Up::Send { tag, topic, ids, messages, checkpoint } => {
                let Some(producer) = self.topics[topic].producer(conn, tag) else {
                    self.note(|| format!("broker: {} swallows {ids:?} of conn {conn} {tag:?}", TOPICS[topic]));
                    return;
                };
                let (name, stored) = (producer.name, producer.stored_at_open);
                if !producer.closing {
                    self.rules.sent(topic, name, ids[0], stored);
                    self.receive(conn, tag, topic, Write { name, from: Some((conn, tag)), ids, messages, checkpoint });
                }
            }
            Up::Close { tag, topic } => {
                let drains = self.topics[topic].has_writes_of(conn, tag);
                match self.topics[topic].producer(conn, tag) {
                    Some(producer) if drains => producer.closing = true,
                    _ => {
                        self.topics[topic].producers.retain(|other| other.conn != conn || other.tag != tag);
                        self.down(conn, Down::Closed { tag });
                    }
                }
            }
        }
    }

    fn open_producer(&mut self, conn: usize, tag: Tag, topic: usize, name: Name) {
        let now = self.now;
        let (broker, available_at) = (self.topics[topic].broker, self.topics[topic].available_at);
        if broker != self.conns[conn].broker || now < available_at {
            let reason = NotOpened::Later("the topic is not served here".into());
            return self.down(conn, Down::NotOpened { tag, reason });
        }
        let holder = self.topics[topic].producers.iter().find(|producer| producer.name == name);
        if let Some(holder) = holder.map(|producer| producer.conn) {
            if holder != conn && !self.conns[holder].is_checked {
                self.conns[holder].is_checked = true;
                self.at(now + LIVENESS_MS, Due::LivenessCheck { conn: holder });
            }
            return self.down(conn, Down::NotOpened { tag, reason: NotOpened::Busy("another".into()) });
        }
        let last = self.topics[topic].last_sequence_id(name);
        let stored_at_open = self.topics[topic].highest_stored(name);
        self.note(|| format!("broker: {} opens {name:?} for conn {conn} {tag:?}, L = {last:?}", TOPICS[topic]));
        self.topics[topic].producers.push(Producer { conn, tag, name, closing: false, stored_at_open });
        self.down(conn, Down::Opened { tag, last });
    }

    fn receive(&mut self, conn: usize, tag: Tag, topic: usize, write: Write) {
        let (lowest, highest) = (write.ids[0], write.ids[write.ids.len() - 1]);
        let text = format!("{:?} {:?}", write.name, write.ids);
        let oversized =
            |id: &u64| matches!(self.plan.source.get(*id as usize), Some(Slot::Record { oversized: true, .. }));
        if topic > 1 && write.messages().iter().any(oversized) {
            self.note(|| format!("broker: {} refuses {text} for its size", TOPICS[topic]));
            return self.down(conn, Down::Failed { tag, highest, failure: SendFailure::Refused("too large".into()) });
        }
        if !self.is_calm && self.random.chance(self.plan.checksum_per_mille) {
            self.note(|| format!("broker: {} finds a wrong checksum in {text}: a hole", TOPICS[topic]));
            return self.down(conn, Down::Failed { tag, highest, failure: SendFailure::Unknown("checksum".into()) });
        }
        let verdict = self.topics[topic].push(write);
        self.note(|| format!("broker: {} {verdict:?} {text}", TOPICS[topic]));
        match verdict {
            Verdict::Accept => self.schedule_persist(topic),
            Verdict::Duplicate => self.down(conn, Down::Receipt { tag, lowest, id: None }),
            Verdict::CannotTell => {
                let failure = SendFailure::Unknown("cannot determine whether it is a duplicate".into());
                self.down(conn, Down::Failed { tag, highest, failure });
            }
        }
    }

    pub(super) fn schedule_persist(&mut self, topic: usize) {
        let slow = !self.is_calm && self.random.chance(self.plan.slow_per_mille);
        let delay = if slow { self.random.between(100, 6000) } else { self.random.between(1, 15) };
        let at = (self.now + delay).max(self.topics[topic].last_due);
        self.topics[topic].last_due = at;
        let generation = self.topics[topic].generation;
        self.at(at, Due::Persist { topic, generation });
    }

    pub(super) fn persist(&mut self, topic: usize, generation: u32) {
        if self.topics[topic].generation != generation {
            return;
        }
        if let Some(write) = self.store(topic) {
            self.drained(topic, write.from);
        }
    }

    /// The oldest write of a topic is stored, checked, and answered.
    fn store(&mut self, topic: usize) -> Option<Write> {
        let write = self.topics[topic].persist()?;
        self.mix(write.ids[0] + 1000 * topic as u64);
        let entry = self.topics[topic].log[self.topics[topic].log.len() - 1].id;
        self.note(|| {
            let what = write.checkpoint.as_ref().map(|checkpoint| format!("{checkpoint:?}")).unwrap_or_default();
            format!("STORED {} {:?} {:?} at {entry} {what}", TOPICS[topic], write.name, write.ids)
        });
        self.rules.stored(&self.topics, topic, self.queue.as_ref());
        if let Some((conn, tag)) = write.from
            && self.topics[topic].producer(conn, tag).is_some()
        {
            self.down(conn, Down::Receipt { tag, lowest: write.ids[0], id: Some(entry) });
        }
        Some(write)
    }

    /// A producer that is being closed goes when its last write is answered.
    fn drained(&mut self, topic: usize, from: Option<(usize, Tag)>) {
        let Some((conn, tag)) = from else { return };
        if self.topics[topic].has_writes_of(conn, tag) {
            return;
        }
        if self.topics[topic].producer(conn, tag).is_some_and(|producer| producer.closing) {
            self.topics[topic].producers.retain(|other| other.conn != conn || other.tag != tag);
            self.down(conn, Down::Closed { tag });
        }
    }

    /// Writing fails: for all that is under way.
    pub(super) fn fail_writes(&mut self, topic: usize) {
        self.note(|| format!("broker: all writes under way on {} fail", TOPICS[topic]));
        for write in self.topics[topic].fail_writes() {
            let Some((conn, tag)) = write.from else { continue };
            if self.topics[topic].producer(conn, tag).is_some() {
                let (highest, failure) = (write.ids[write.ids.len() - 1], SendFailure::Unknown("persistence".into()));
                self.down(conn, Down::Failed { tag, highest, failure });
            }
            self.drained(topic, write.from);
        }
    }

    /// A topic is unloaded and loaded again, perhaps elsewhere: some of the writes under way are stored, the rest is
    /// lost, some of the receipts come (even behind the CLOSE_PRODUCER), and with `silently` no CLOSE_PRODUCER does.
    pub(super) fn unload(&mut self, topic: usize, silently: bool) {
        let (broker, away) = (self.random.below(self.plan.brokers as u64) as usize, self.random.pick(&[0, 10, 1500]));
        self.note(|| format!("broker: unloads {} (silently: {silently}), next on {broker}", TOPICS[topic]));
        let kept = self.random.below(self.topics[topic].writes.len() as u64 + 1);
        let before = self.random.chance(500);
        if before && !silently {
            self.close_by_broker(topic);
        }
        let answered = self.random.chance(500) && !silently;
        if !answered {
            self.topics[topic].writes.iter_mut().for_each(|write| write.from = None);
        }
        // Producers that were told of the close already still get these receipts.
        for _ in 0..kept {
            let from = self.topics[topic].writes[0].from;
            let lowest = self.topics[topic].writes[0].ids[0];
            self.store(topic);
            if let (Some((conn, tag)), true) = (from, before) {
                let id = self.topics[topic].log.last().map(|entry| entry.id);
                self.down(conn, Down::Receipt { tag, lowest, id });
            }
        }
        if !before && !silently {
            self.close_by_broker(topic);
        }
        self.topics[topic].producers.clear();
        let forgets = self.plan.forgets && !self.is_calm;
        self.topics[topic].recover(&mut self.random, forgets);
        self.topics[topic].broker = broker;
        self.topics[topic].available_at = self.now + away;
        self.topics[topic].last_due = self.now;
    }

    fn close_by_broker(&mut self, topic: usize) {
        for Producer { conn, tag, closing, .. } in std::mem::take(&mut self.topics[topic].producers) {
            self.down(conn, if closing { Down::Closed { tag } } else { Down::ClosedByBroker { tag } });
        }
    }

    /// A broker stops and comes back; its topics are taken over, and its clients see their connections end.
    pub(super) fn restart_broker(&mut self, broker: usize) {
        self.note(|| format!("broker {broker} restarts"));
        for topic in 0..TOPICS.len() {
            if self.topics[topic].broker == broker {
                self.unload(topic, true);
            }
        }
        for conn in 0..self.conns.len() {
            if self.conns[conn].broker == broker {
                self.close_connection(conn);
            }
        }
    }

    /// The broker closes a connection: its producers are gone, its writes go on.
    pub(super) fn close_connection(&mut self, conn: usize) {
        self.down(conn, Down::Gone);
        self.broker_drops(conn);
    }

    pub(super) fn broker_drops(&mut self, conn: usize) {
        if !self.conns[conn].broker_open {
            return;
        }
        self.note(|| format!("broker: conn {conn} is gone"));
        self.conns[conn].broker_open = false;
        for topic in &mut self.topics {
            topic.producers.retain(|producer| producer.conn != conn);
        }
    }

    pub(super) fn check_liveness(&mut self, conn: usize) {
        self.conns[conn].is_checked = false;
        let Some(holder) = self.instances.get(self.conns[conn].instance) else { return };
        let answers = holder.alive && !holder.frozen && holder.incarnation == self.conns[conn].incarnation;
        if !answers || self.conns[conn].blackhole || !self.conns[conn].client_open {
            self.close_connection(conn);
        }
    }

    /// A frozen process goes on: what came for it in the meantime is read now, in order per connection.
    pub(super) fn wake(&mut self, instance: usize) {
        if !self.instances[instance].frozen {
            return;
        }
        self.note(|| format!("instance {instance} wakes"));
        self.instances[instance].frozen = false;
        let mut stash = std::mem::take(&mut self.instances[instance].stash);
        let ranks: Vec<u64> = (0..=self.plan.brokers).map(|_| self.random.bits()).collect();
        stash.sort_by_key(|inbound| match inbound {
            Inbound::FromBroker { conn, .. } => ranks[self.conns[*conn].broker],
            _ => ranks[self.plan.brokers],
        });
        let incarnation = self.instances[instance].incarnation;
        for inbound in stash {
            if self.instances[instance].incarnation == incarnation {
                self.inbound(instance, inbound);
            }
        }
    }
}
