//! What the pipeline calls once per record or batch, between the steps: admit, place, append, seal. No actions come of
//! it; everything else goes through `Partition::step`.

use super::checkpoint::LaneId;
use super::partition::{Partition, Phase};
use super::session::{Admit, Place};
use super::setup::Numbering;
use super::step::Tag;
use crate::record::Offset;

impl Partition {
    /// Whether records may be taken from the source now.
    pub fn can_take(&self) -> bool {
        matches!(&self.phase, Phase::Running(session) if session.can_take(&self.setup.limits))
    }

    /// The first look at a record, before it is translated. Offsets rise.
    pub fn admit(&mut self, offset: Offset) -> Admit {
        match &mut self.phase {
            Phase::Running(session) => session.admit(offset),
            _ => Admit::Hold,
        }
    }

    /// Chooses the way of an admitted record into its lane, where it takes `bytes` at most. A record that `is_apart` shares
    /// no batch and no repair with those before it.
    pub fn place(&mut self, lane: LaneId, offset: Offset, bytes: usize, is_apart: bool) -> Place {
        let Phase::Running(session) = &mut self.phase else { unreachable!("only a running partition places records") };
        let place = session.place(lane, offset, bytes, is_apart, &self.setup.limits);
        if let Place::Repair { .. } = place {
            assert!(self.setup.numbering == Numbering::Offsets, "a counter is above every id that was ever used");
        }
        place
    }

    /// The lane of a record that was admitted and translated, has this key and takes this route.
    pub fn lane(&self, route: Option<usize>, key: Option<&[u8]>) -> LaneId {
        let Phase::Running(session) = &self.phase else { unreachable!("only a running partition places records") };
        session.routing.lane(route, self.setup.source_partition, key)
    }

    /// Whether an admitted record goes by a repair, not into the lane's open batch.
    pub fn needs_repair(&self, lane: LaneId, offset: Offset) -> bool {
        matches!(&self.phase, Phase::Running(session) if !session.lanes[lane.0].is_above_border(offset))
    }

    /// The record is in its lane's open batch now, and takes `bytes` there: as many as it was placed with, or fewer.
    pub fn appended(&mut self, lane: LaneId, offset: Offset, bytes: usize) {
        let Phase::Running(session) = &mut self.phase else { unreachable!("only a running partition batches records") };
        session.appended(lane, offset, bytes);
    }

    /// Whether the lane's open batch should be sealed and sent now; `drained`: the source has nothing more at hand.
    pub fn should_seal(&self, lane: LaneId, drained: bool) -> bool {
        match &self.phase {
            Phase::Running(session) => session.should_seal(lane, drained, &self.setup.limits),
            _ => false,
        }
    }

    /// The lane's open batch is sealed, `bytes` long, and being sent by the producer of this tag.
    pub fn sealed(&mut self, lane: LaneId, bytes: usize, now_ms: u64) -> Tag {
        let session = match &mut self.phase {
            Phase::Running(session) => session.as_mut(),
            // A flush: what is batched when the partition starts to leave still goes out.
            Phase::Leaving(leaving) => &mut leaving.session,
            _ => unreachable!("only an open partition sends"),
        };
        session.sealed(lane, bytes, now_ms);
        session.lanes[lane.0].tag
    }

    /// How many of the offsets from `from` on and below `below` were not read back from the target.
    pub fn count_unseen(&self, from: Offset, below: Offset) -> u64 {
        let seen = match &self.phase {
            Phase::Running(session) => session.seen.count(from, below),
            _ => 0,
        };
        below.saturating_sub(from) - seen
    }

    /// The source has come to `next` without a record: control markers and compacted offsets at its end.
    pub fn skip_to(&mut self, next: Offset) {
        if let Phase::Running(session) = &mut self.phase {
            session.skip_to(next);
        }
    }
}
