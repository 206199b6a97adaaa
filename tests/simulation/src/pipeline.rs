//! The driver's pipeline: records from the source into the core's lanes and repairs, and sealed batches out.

use bridge_core::lane::{Admit, Event, LaneId, Place};

use super::plan::{RECORD_BYTES, Slot, route_of};
use super::world::{Inbound, World};

impl World {
    /// One look at the source.
    pub(super) fn poll(&mut self, i: usize) {
        if self.instances[i].source.is_none() {
            return;
        }
        let can_take = self.instances[i].partition.as_ref().is_some_and(|partition| partition.can_take());
        if can_take {
            if self.queue.is_some() {
                self.take_deliveries(i);
            } else {
                self.take_chunk(i);
            }
            self.seal_due(i);
            if self.random.chance(300) {
                self.step(i, Event::Tick);
            }
        }
        let drained = self.is_drained(i);
        let pause = if drained {
            250
        } else if can_take {
            self.random.between(1, 20)
        } else {
            30
        };
        self.later(i, pause, Inbound::Poll);
    }

    /// Takes some records, and tells the core of each what becomes of it.
    fn take_chunk(&mut self, i: usize) {
        let Some(next) = self.instances[i].source else { return };
        let end = self.available.max(next).min(next + self.random.between(1, self.plan.chunk));
        self.instances[i].source = Some(end);
        for offset in next..end {
            if self.plan.source[offset as usize] == Slot::Gap {
                continue;
            }
            let Some(partition) = &mut self.instances[i].partition else { return };
            match partition.admit(offset) {
                Admit::Suppress => continue,
                Admit::Hold => return,
                admit => self.load(i, offset, offset, admit),
            }
        }
        if end >= self.available
            && let Some(partition) = &mut self.instances[i].partition
        {
            partition.skip_to(end);
        }
    }

    /// A record (or message) that was admitted goes to its lane, under this id.
    pub(super) fn load(&mut self, i: usize, id: u64, record: u64, admit: Admit) {
        let slot = self.plan.source[record as usize];
        let Slot::Record { broken, kind, .. } = slot else { return };
        let instance = &mut self.instances[i];
        let Some(partition) = &mut instance.partition else { return };
        let routing = partition.routing().expect("a partition that takes records has a routing");
        let is_dead = admit == Admit::Refused || broken >> instance.contract & 1 == 1;
        let lane =
            if is_dead { routing.dead_letter_lane() } else { partition.lane(route_of(routing, kind), slot.key()) };
        let place = partition.place(lane, id, RECORD_BYTES, false);
        self.put(i, lane, id, place);
    }

    /// Whether the source has nothing more at hand.
    fn is_drained(&self, i: usize) -> bool {
        match &self.queue {
            Some(_) => self.instances[i].consumer.deliveries.is_empty(),
            None => self.instances[i].source.is_none_or(|next| next >= self.available),
        }
    }

    /// Puts a record where the core has placed it.
    fn put(&mut self, i: usize, lane: LaneId, offset: u64, place: Place) {
        if place == (Place::Append { seal_first: true }) {
            self.seal(i, lane);
        }
        let instance = &mut self.instances[i];
        match place {
            Place::Append { .. } => {
                instance.builders[lane.0].push(offset);
                if let Some(partition) = &mut instance.partition {
                    partition.appended(lane, offset, RECORD_BYTES);
                }
            }
            Place::Repair { new: true } => instance.repairs.push_back((lane.0, vec![offset])),
            Place::Repair { new: false } => {
                instance.repairs.back_mut().expect("the newest repair grows").1.push(offset);
            }
        }
    }

    /// Seals a lane's open batch and sends it.
    pub(super) fn seal(&mut self, i: usize, lane: LaneId) {
        let now = self.now + self.instances[i].skew_ms;
        let ids = std::mem::take(&mut self.instances[i].builders[lane.0]);
        let Some(partition) = &mut self.instances[i].partition else { return };
        let tag = partition.sealed(lane, ids.len() * RECORD_BYTES, now);
        self.note(|| format!("instance {i} sends {ids:?} on lane {} ({tag:?})", lane.0));
        self.send(i, tag, ids, None);
    }

    /// Seals what the core wants sealed.
    pub(super) fn seal_due(&mut self, i: usize) {
        let drained = self.is_drained(i);
        for lane in 0..self.instances[i].builders.len() {
            while self.instances[i]
                .partition
                .as_ref()
                .is_some_and(|partition| partition.should_seal(LaneId(lane), drained))
            {
                self.seal(i, LaneId(lane));
            }
        }
    }
}
