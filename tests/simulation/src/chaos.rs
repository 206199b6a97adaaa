//! What happens to the world: processes die and freeze, connections break, topics move, people change things.

use bridge_core::lane::{Event, Numbering, Partition, Reach, Setup};

use super::consumer::Consumption;
use super::plan::{Chaos, SOURCE_PARTITION, Shape, TOPICS, prefetch, topic_index};
use super::topic::{Name, Write};
use super::world::{Due, Inbound, World};

impl World {
    pub(super) fn chaos(&mut self, chaos: Chaos) {
        self.note(|| format!("*** {chaos:?}"));
        let i = self.random.below(self.instances.len() as u64) as usize;
        let topic = self.any_topic();
        match chaos {
            Chaos::Kill => self.kill(i, true),
            Chaos::KillOf(i) => self.kill(i, true),
            Chaos::StartOf(i) => self.start(i),
            Chaos::FreezeOf(i) => self.freeze(i),
            Chaos::FreezeAtEntry(i) => self.traps[i] = (true, false),
            Chaos::FreezeAtReceipt(i) => self.traps[i] = (false, true),
            Chaos::WakeOf(i) => self.wake(i),
            Chaos::ReleaseOf(i) => {
                let deadline_ms = self.now + self.instances[i].skew_ms + 5000;
                self.later(i, 0, Inbound::Event(Event::Release { deadline_ms }));
            }
            Chaos::UnloadCheckpoints => self.unload(0, true),
            Chaos::ReloadAndTrim => {
                self.unload(topic, false);
                self.topics[topic].recover(&mut self.random, true);
                if topic > 0 {
                    self.topics[topic].trimmed = self.topics[topic].log.len();
                }
            }
            Chaos::Start => self.start(i),
            Chaos::Freeze => self.freeze(i),
            Chaos::Wake => self.wake(i),
            Chaos::Release => {
                let deadline_ms = self.now + self.instances[i].skew_ms + self.random.pick(&[0, 50, 5000]);
                self.later(i, 0, Inbound::Event(Event::Release { deadline_ms }));
            }
            Chaos::Cut => self.cut(false),
            Chaos::Blackhole => self.cut(true),
            Chaos::Unload => self.unload(topic, false),
            Chaos::UnloadSilently => self.unload(topic, true),
            Chaos::RestartBroker => {
                let broker = self.random.below(self.plan.brokers as u64) as usize;
                self.restart_broker(broker);
            }
            Chaos::FailWrites => self.fail_writes(topic),
            Chaos::Purge => self.topics[topic].purge(),
            Chaos::Trim => self.trim(),
            Chaos::ToggleDeduplication => self.toggle_deduplication(topic),
            Chaos::Repartition => {
                let shape = Shape::any(&mut self.random);
                self.reshape(shape, 1000);
            }
            Chaos::GrowTarget => {
                let shape = self.shape.grown(&mut self.random);
                self.reshape(shape, 800);
            }
            Chaos::SwitchMode => {
                let shape = self.shape.switched(&mut self.random);
                self.reshape(shape, 500);
            }
            Chaos::Grow => {
                let more = self.random.between(1, 20);
                self.available = (self.available + more).min(self.plan.source.len() as u64);
                self.deliver();
            }
            Chaos::CloseChannel => self.break_channel(false),
            Chaos::BlackholeChannel => self.break_channel(true),
            Chaos::ChangePrefetch => self.prefetch = prefetch(&mut self.random),
            Chaos::SourceFails => {
                self.later(i, 0, Inbound::Event(Event::SourceFailed { reason: "read again".into(), stop: false }));
            }
            Chaos::ForeignWrite => {
                self.topics[topic].push(Write {
                    name: Name::Foreign,
                    from: None,
                    ids: vec![3],
                    messages: Vec::new(),
                    checkpoint: None,
                });
                self.schedule_persist(topic);
            }
            Chaos::ChangeContract => self.contract = self.random.below(3) as u8,
            // Everything that is written from now on is stored late.
            Chaos::Stall => self.topics[topic].last_due = self.now + self.random.between(200, 8000),
        }
    }

    /// Starts an instance with what the configuration says today.
    pub(super) fn start(&mut self, i: usize) {
        if self.instances[i].alive {
            return;
        }
        self.note(|| format!("instance {i} starts"));
        let mut actions = Vec::new();
        let setup = Setup {
            source_partition: SOURCE_PARTITION,
            routing: self.shape.routing(),
            limits: self.plan.limits.clone(),
            numbering: if self.queue.is_some() { Numbering::Counter } else { Numbering::Offsets },
            reach: Reach { ms: 0, records: if self.queue.is_some() { self.prefetch } else { 0 } },
        };
        let skew_ms = self.random.pick(&[0, 0, 3000, 1_000_000]);
        let instance = &mut self.instances[i];
        instance.alive = true;
        instance.frozen = false;
        instance.releasing = false;
        instance.contract = self.contract;
        instance.consumer = Consumption::with(self.prefetch);
        instance.skew_ms = skew_ms;
        instance.partition = Some(Partition::open(setup, &mut actions));
        self.carry_out(i, actions);
        self.later(i, 100, Inbound::Tick);
    }

    /// An instance ends: by kill -9, or by itself when it has let go of everything.
    pub(super) fn kill(&mut self, i: usize, by_force: bool) {
        if !self.instances[i].alive {
            return;
        }
        self.note(|| format!("instance {i} ends (by force: {by_force})"));
        // The machine may be gone, too: then the broker learns it late.
        let silent = by_force && self.random.chance(200);
        let conns = std::mem::replace(&mut self.instances[i].conns, vec![None; self.plan.brokers]);
        for conn in conns.into_iter().flatten() {
            self.conns[conn].client_open = false;
            let delay = if silent { self.random.between(1000, 40_000) } else { self.random.between(0, 50) };
            // What was sent before is still read, unless it is lost on the way.
            let at = (self.now + delay).max(if silent { 0 } else { self.conns[conn].up_at });
            self.conns[conn].blackhole |= silent;
            self.at(at, Due::BrokerDrops { conn });
        }
        self.consumer_dies(i, silent);
        let instance = &mut self.instances[i];
        instance.alive = false;
        instance.frozen = false;
        instance.incarnation += 1;
        instance.partition = None;
        instance.held.clear();
        instance.builders.clear();
        instance.repairs.clear();
        instance.source = None;
        instance.stash.clear();
        instance.last_position = None;
    }

    fn freeze(&mut self, i: usize) {
        if self.instances[i].alive {
            self.instances[i].frozen = true;
            self.consumer_freezes(i);
        }
    }

    /// A connection breaks: at once for both, or (`silently`) so that both have to find out.
    fn cut(&mut self, silently: bool) {
        let open: Vec<usize> = (0..self.conns.len()).filter(|conn| self.conns[*conn].client_open).collect();
        if open.is_empty() {
            return;
        }
        let conn = self.random.pick(&open);
        if silently {
            self.conns[conn].blackhole = true;
            let (client, broker) = (self.random.between(1000, 40_000), self.random.between(1000, 40_000));
            self.at(self.now + client, Due::ClientDrops { conn });
            self.at(self.now + broker, Due::BrokerDrops { conn });
        } else {
            self.close_connection(conn);
        }
    }

    fn trim(&mut self) {
        let topic = self.random.between(1, TOPICS.len() as u64 - 1) as usize;
        let (trimmed, length) = (self.topics[topic].trimmed as u64, self.topics[topic].log.len() as u64);
        self.topics[topic].trimmed = self.random.between(trimmed, length) as usize;
    }

    fn toggle_deduplication(&mut self, topic: usize) {
        // On the checkpoint topic nothing of it may be touched: ownership and order of checkpoints stand on it.
        if topic > 0 {
            self.rules.at_least_once = true;
            self.topics[topic].toggle_deduplication();
        }
    }

    /// Another routing is wanted from the next start on, and (so likely, per mille, each) by those who run already.
    fn reshape(&mut self, shape: Shape, told_per_mille: u64) {
        self.shape = shape;
        for i in 0..self.instances.len() {
            if self.random.chance(told_per_mille) {
                let delay = self.random.between(0, 200);
                self.later(i, delay, Inbound::Event(Event::RoutingWanted { routing: shape.routing() }));
            }
        }
    }

    /// A topic: mostly one that records go to now.
    fn any_topic(&mut self) -> usize {
        if self.random.chance(300) {
            return self.random.below(TOPICS.len() as u64) as usize;
        }
        let lanes = self.shape.routing().lanes(SOURCE_PARTITION);
        let index = self.random.below(lanes.len() as u64 + 1) as usize;
        lanes.get(index).map_or(0, |topic| topic_index(topic))
    }

    /// No more faults: whoever is frozen wakes, the source is complete, and somebody runs.
    pub(super) fn calm(&mut self) {
        self.note(|| "*** calm".into());
        self.is_calm = true;
        self.available = self.plan.source.len() as u64;
        self.deliver();
        for i in 0..self.instances.len() {
            self.wake(i);
        }
        let is_any_alive = self.instances.iter().any(|instance| instance.alive && !instance.releasing);
        if !is_any_alive || self.random.chance(300) {
            self.start(0);
        }
    }
}
