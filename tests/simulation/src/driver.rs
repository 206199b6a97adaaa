//! The driver of one instance: carries out the core's actions as the real one does, with simulated time for wire.

use bridge_core::lane::{Action, Event, LaneId, PhaseName, RepairIntent, Role, Scan, ScanFrom, Tag, Topic};
use bridge_core::recall::ReadBack;
use bridge_core::record::MessageId;

use super::plan::{TOPICS, topic_index};
use super::topic::Name;
use super::world::{Handle, Held, Inbound, World};

const TICK_MS: u64 = 500;

fn index_of(topic: &Topic) -> usize {
    match topic {
        Topic::Checkpoints => 0,
        Topic::Named(name) => topic_index(name),
    }
}

fn name_of(role: &Role) -> Name {
    match role {
        Role::Checkpoint | Role::Lane(_) => Name::Own,
        Role::Repair(intent) => Name::Repair(intent.lowest, intent.highest),
    }
}

impl World {
    /// What comes to an instance that is awake.
    pub(super) fn inbound(&mut self, i: usize, inbound: Inbound) {
        match inbound {
            Inbound::FromBroker { conn, down } => self.hear(i, conn, down),
            Inbound::Event(event) => self.step(i, event),
            Inbound::OpenNow(tag) => self.open_now(i, tag),
            Inbound::GiveUp(tag) => self.give_up(i, tag),
            Inbound::Scan(action) => self.read(i, action),
            Inbound::FromQueue(what) => self.hear_queue(i, what),
            Inbound::Poll => self.poll(i),
            Inbound::Tick => {
                self.later(i, TICK_MS, Inbound::Tick);
                self.step(i, Event::Tick);
            }
        }
    }

    /// One step of the core, and everything that it wants done.
    pub(super) fn step(&mut self, i: usize, event: Event) {
        let now = self.now + self.instances[i].skew_ms;
        if event != Event::Tick {
            self.note(|| format!("instance {i} <- {event:?}"));
        }
        let mut actions = Vec::new();
        if let Some(partition) = &mut self.instances[i].partition {
            partition.step(event, now, &mut actions);
        }
        self.carry_out(i, actions);
        self.seal_due(i);
        self.acknowledge(i);
        self.watch(i);
    }

    /// Carries out what the core wants done, in this order.
    pub(super) fn carry_out(&mut self, i: usize, actions: Vec<Action>) {
        for action in actions {
            self.note(|| format!("instance {i} -> {action:?}"));
            match action {
                Action::Open { tag, role, topic, attempt } => {
                    let (topic, name) = (index_of(&topic), name_of(&role));
                    self.instances[i].held.push(Held { tag, topic, name, conn: 0, state: Handle::Waiting });
                    let delay = self.backoff(attempt);
                    self.later(i, delay, Inbound::OpenNow(tag));
                }
                Action::Close { tag } => self.close(i, tag),
                Action::ReadEntry { attempt, tag } => {
                    // An opening begins, with nothing read back.
                    self.instances[i].consumer.opening = tag;
                    self.instances[i].consumer.read_back = ReadBack::new();
                    let delay = self.backoff(attempt) + self.latency();
                    self.later(i, delay, Inbound::Scan(action));
                }
                Action::Scan { attempt, .. } => {
                    let delay = self.backoff(attempt) + self.latency();
                    self.later(i, delay, Inbound::Scan(action));
                }
                Action::Peek { .. } => {
                    let delay = self.latency();
                    self.later(i, delay, Inbound::Scan(action));
                }
                Action::ResolveStart => {
                    let offset = if self.plan.start_at_end { self.available } else { 0 };
                    let delay = self.latency();
                    self.later(i, delay, Inbound::Event(Event::StartResolved { offset, committed: None }));
                }
                Action::WriteCheckpoint { tag, sequence_id, checkpoint } => {
                    self.send(i, tag, vec![sequence_id], Some(Box::new(checkpoint)));
                }
                Action::StartSource { offset } => self.start_source(i, offset),
                Action::StopSource { flush } => self.stop_source(i, flush),
                Action::SendRepair { tag, intent } => self.send_repair(i, tag, intent),
                Action::Released => self.let_go(i),
                Action::Stopped { stop } => self.rules.broken("nothing here needs a person", stop.to_string()),
                Action::Commit { .. } | Action::Note { .. } => {}
            }
        }
    }

    fn start_source(&mut self, i: usize, offset: u64) {
        let lanes = self.instances[i].partition.as_ref().map_or(0, |partition| partition.lanes().len());
        self.instances[i].builders.resize(lanes, Vec::new());
        if self.queue.is_some() {
            self.consume(i);
        }
        if self.instances[i].source.replace(offset).is_none() {
            let delay = self.latency();
            self.later(i, delay, Inbound::Poll);
        }
    }

    fn stop_source(&mut self, i: usize, flush: bool) {
        for lane in 0..self.instances[i].builders.len() {
            if flush && !self.instances[i].builders[lane].is_empty() {
                self.seal(i, LaneId(lane));
            }
            self.instances[i].builders[lane].clear();
        }
        self.instances[i].repairs.clear();
        self.instances[i].source = None;
        self.stop_consuming(i, flush);
    }

    fn send_repair(&mut self, i: usize, tag: Tag, intent: RepairIntent) {
        let front = self.instances[i].repairs.pop_front();
        let Some((lane, ids)) = front else {
            return self.rules.broken("the repair that is sent stands in line", format!("{intent:?}"));
        };
        if (lane, ids.first(), ids.last()) != (intent.lane.0, Some(&intent.lowest), Some(&intent.highest)) {
            self.rules.broken("the repair that is sent stands in line", format!("{intent:?}: {ids:?}"));
        }
        self.send(i, tag, ids, None);
    }

    /// How long to wait before the next attempt.
    fn backoff(&mut self, attempt: u32) -> u64 {
        match attempt {
            0 => 0,
            _ => (50 << attempt.min(7)) + self.random.below(50),
        }
    }

    /// The partition is released: nothing is held, and the process ends.
    fn let_go(&mut self, i: usize) {
        if !self.instances[i].held.is_empty() {
            let held = format!("{:?}", self.instances[i].held);
            self.rules.broken("released means that nothing is held", held);
        }
        self.kill(i, false);
        if self.is_calm {
            self.start(i);
        }
    }

    /// Reading back: what the topic holds now, up to its end.
    fn read(&mut self, i: usize, action: Action) {
        let fails = !self.is_calm && self.random.chance(10);
        let delay = self.latency();
        let event = match action {
            Action::ReadEntry { tag, .. } | Action::Scan { tag, .. } if fails => {
                Event::ScanFailed { tag, reason: "cut".into() }
            }
            Action::ReadEntry { tag, .. } => {
                let newest = self.topics[0].log.iter().rev().find(|entry| entry.name == Name::Own);
                let entry = newest.and_then(|entry| Some((entry.ids[0], Some(entry.checkpoint.as_deref()?.clone()))));
                Event::EntryRead { tag, entry }
            }
            Action::Scan { tag, role, topic, from, floor, .. } => {
                let scan = self.scan(index_of(&topic), name_of(&role), from, floor);
                self.read_back(i, tag, index_of(&topic), from);
                Event::Scanned { tag, scan }
            }
            Action::Peek { lane, topic, tag } => {
                let end = self.topics[index_of(&topic)].readable().last().map(|entry| entry.id);
                Event::Peeked { lane, end, tag }
            }
            _ => return,
        };
        self.later(i, delay, Inbound::Event(event));
    }

    /// What reading back this topic under this name finds now.
    fn scan(&self, topic: usize, name: Name, from: ScanFrom, floor: u64) -> Scan {
        let log = self.topics[topic].readable();
        let mut scan = Scan { end: log.last().map(|entry| entry.id), ..Scan::default() };
        let ScanFrom::Mark(mark) = from else { return scan };
        let start = mark.id().unwrap_or(MessageId { ledger: 0, entry: 0 });
        for entry in log.iter().filter(|entry| entry.id >= start) {
            scan.first.get_or_insert(entry.id);
            for id in entry.ids.iter().filter(|id| **id >= floor) {
                if entry.name == name {
                    scan.own.insert(*id);
                } else if matches!(entry.name, Name::Repair(..)) {
                    scan.repaired.insert(*id);
                }
            }
        }
        scan
    }

    /// What must hold of an instance after each of its steps.
    fn watch(&mut self, i: usize) {
        let Some(partition) = &self.instances[i].partition else { return };
        let running = partition.phase_name() == PhaseName::Running;
        let position = partition.position().filter(|_| running);
        let before = std::mem::replace(&mut self.instances[i].last_position, position);
        if let (Some(before), Some(position)) = (before, position)
            && position < before
        {
            let text = format!("{before} to {position}");
            self.rules.broken("the position of a running partition never goes back", text);
        }
        let too_many = self.instances[i].partition.as_ref().and_then(|partition| {
            partition
                .lanes()
                .into_iter()
                .find(|(_, _, in_flight, _)| *in_flight > self.plan.limits.in_flight + self.plan.chunk as usize)
        });
        if let Some(lane) = too_many {
            self.rules.broken("bounded", format!("{lane:?} has too much in flight"));
        }
        if self.instances[i].held.len() > 64 {
            let topics: Vec<&str> = self.instances[i].held.iter().map(|held| TOPICS[held.topic]).collect();
            self.rules.broken("bounded", format!("too many producers: {topics:?}"));
        }
    }
}
