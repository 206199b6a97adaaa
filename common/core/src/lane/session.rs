//! What an open partition knows: its lanes, its repairs, and how far the source was read. Every name is held, and
//! everything stored before is known. Here records are admitted and placed, and here the position is computed.

use std::collections::BTreeSet;

use super::checkpoint::{Checkpoint, FormerLane, LaneId, RepairIntent};
use super::fault::Fault;
use super::offsets::OffsetSet;
use super::open_lane::{Lane, OpenBatch};
use super::reach::ReachBack;
use super::refusals::Refusals;
use super::repair::{Progress, Repairs};
use super::routing::{PartitionBy, Routing};
use super::setup::Limits;
use super::step::Tag;
use super::window::{Settled, Window};
use crate::record::{MessageId, Offset};

/// What to do with a record, before it is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// It was seen in the target (or the dead letters): it is settled, whatever the contract says today.
    Suppress,
    /// Translate it and place it.
    Take,
    /// The broker refused its content: it becomes a dead letter.
    Refused,
    /// Nothing is taken now; this record and those behind it are read again later.
    Hold,
}

/// Where a translated record (or a dead letter) goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// To the lane's open batch; with `seal_first`, the open batch is full and is sealed before.
    Append {
        /// Whether the open batch is full.
        seal_first: bool,
    },
    /// To a repair: the newest one in line, or with `new` a further one.
    Repair {
        /// Whether it is the first record of a further repair.
        new: bool,
    },
}

/// An open partition.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) owner: Tag,
    pub(super) owner_alive: bool,
    pub(super) lanes: Vec<Lane>,
    pub(super) routing: Routing,
    /// What was read back and is not below `next`.
    pub(super) seen: OffsetSet,
    /// The next offset that the source gives.
    pub(super) next: Offset,
    pub(super) repairs: Repairs,
    /// With another routing wanted: the first offset that no longer goes under the present one.
    pub(super) barrier: Option<Offset>,
    /// The source was told to hold: it has gone on past `next`, and must be led back before anything is taken again.
    held: bool,
    /// The last checkpoint that is known to be stored.
    pub(super) written: Checkpoint,
    /// The checkpoint under way: its sequence id, what it says, and when it was sent. One at a time.
    pub(super) writing: Option<(u64, Checkpoint, u64)>,
    pub(super) written_ms: u64,
    pub(super) sequence_id: u64,
    /// Ids whose batch was refused for its content: sent one by one, to find the one.
    pub(super) suspects: Option<(Offset, Offset)>,
    /// The records that were found to be refused.
    pub(super) refused: OffsetSet,
    /// Records that wait for their twins, which another source has brought: see `Partition::wait_for_twin`.
    pub(super) twins: BTreeSet<Offset>,
    pub(super) reach: ReachBack,
    /// For a queue: what is refused, by what it is.
    pub(super) refusals: Refusals,
    /// Topics of an earlier routing that still hold what is within reach.
    former: Vec<FormerLane>,
    /// The highest offset that was ever settled (used by a deliberate fault only).
    highest_settled: Option<Offset>,
}

impl Session {
    /// A session with nothing in flight: the producer that owns the partition, the lanes, what was read back, and the
    /// checkpoint that was stored to open it, under this sequence id.
    pub(super) fn new(
        owner: Tag,
        mut lanes: Vec<Lane>,
        seen: OffsetSet,
        checkpoint: Checkpoint,
        sequence_id: u64,
        reach: ReachBack,
        now_ms: u64,
    ) -> Self {
        if Fault::DeadLettersSettleAtOnce.active() {
            let last = lanes.len() - 1;
            lanes[last].settles_at_once = true;
        }
        Self {
            owner,
            owner_alive: true,
            lanes,
            routing: checkpoint.routing.clone(),
            seen,
            next: checkpoint.position,
            repairs: Repairs::default(),
            barrier: None,
            held: false,
            twins: BTreeSet::new(),
            reach,
            refusals: Refusals::default(),
            former: checkpoint.former.clone(),
            written: checkpoint,
            writing: None,
            written_ms: now_ms,
            sequence_id,
            suspects: None,
            refused: OffsetSet::new(),
            highest_settled: None,
        }
    }

    /// The offset below which everything is settled: the lowest unsettled record over all lanes and repairs and of those
    /// that wait for their twins, or with nothing outstanding what the source gives next.
    /// Invariant: it never passes a record that is not settled.
    pub(super) fn position(&self) -> Offset {
        let stored = self.stored_below();
        self.twins.first().map_or(stored, |twin| stored.min(*twin))
    }

    /// The offset below which everything that was sent is stored.
    pub(super) fn stored_below(&self) -> Offset {
        if Fault::PositionIsHighestSettled.active() {
            return self.highest_settled.map_or(self.next, |highest| self.next.min(highest + 1));
        }
        let lanes = if Fault::PositionOfOneLane.active() { &self.lanes[..1] } else { &self.lanes };
        let lowest = lanes.iter().filter_map(Lane::lowest_unsettled).chain(self.repairs.lowest()).min();
        lowest.unwrap_or(self.next)
    }

    /// Whether nothing is batched, in flight, being repaired, or waiting for a twin.
    pub(super) fn is_settled(&self) -> bool {
        self.twins.is_empty() && self.repairs.is_empty() && self.lanes.iter().all(Lane::is_idle)
    }

    /// Whether records may be taken from the source now.
    pub(super) fn can_take(&self, limits: &Limits) -> bool {
        !self.held
            && self.repairs.is_empty()
            && self.barrier.is_none_or(|barrier| self.next < barrier)
            && self.next - self.position() < limits.max_span
            && self.lanes.iter().all(|lane| lane.window.len() < limits.in_flight)
    }

    /// The first look at a record. Offsets rise strictly; gaps are fine.
    pub(super) fn admit(&mut self, offset: Offset) -> Admit {
        assert!(offset >= self.next, "the source gives rising offsets: {offset} after {}", self.next);
        if let Some(barrier) = self.barrier.filter(|barrier| offset >= *barrier) {
            // Everything below the barrier was given: the offsets between are gaps.
            self.next = self.next.max(barrier);
            self.held = true;
            return Admit::Hold;
        }
        if self.held {
            return Admit::Hold;
        }
        self.next = offset + 1;
        if self.seen.contains(offset) && !Fault::IgnoreSeen.active() {
            return Admit::Suppress;
        }
        if Fault::SkipUnseenBelowLast.active() && self.lanes.iter().any(|lane| lane.border >= Some(offset)) {
            return Admit::Suppress;
        }
        if self.refused.contains(offset) { Admit::Refused } else { Admit::Take }
    }

    /// The source has come to `next` without a record. What it has come past while it was held was not taken.
    pub(super) fn skip_to(&mut self, next: Offset) {
        let end = self.barrier.map_or(next, |barrier| next.min(barrier));
        if !self.held && end >= self.next {
            // What lies at or above the barrier is not this routing's: it is read again.
            self.held = end < next;
            self.next = end;
        }
    }

    /// Where the source has to be led back to, when what it was held for is over.
    pub(super) fn resume(&mut self) -> Option<Offset> {
        let ready = self.held && self.barrier.is_none_or(|barrier| self.next < barrier);
        self.held &= !ready;
        ready.then_some(self.next)
    }

    /// This routing is wanted, perhaps the present one. Everything that may lie in the present lanes is
    /// finished under it: what is known to be used, or was read back, can be far above what was given yet.
    pub(super) fn set_barrier(&mut self, wanted: &Routing) {
        let highest = if Fault::BarrierIgnoresSeen.active() { None } else { self.highest_known() };
        let above = highest.map_or(self.next, |highest| self.next.max(highest + 1));
        self.barrier = (*wanted != self.routing).then(|| self.barrier.unwrap_or(above));
    }

    /// The bytes that a batch of one lane may have. Where a partition has many lanes (by key), their open batches share what
    /// one would hold, down to an eighth each: what is batched and not sent is bounded by nothing else.
    fn batch_bytes(&self, limits: &Limits) -> usize {
        match self.routing.partition_by {
            PartitionBy::Source => limits.batch_bytes,
            PartitionBy::Key { .. } => limits.batch_bytes / self.lanes.len().clamp(1, 8),
        }
    }

    /// Chooses the way of an admitted record into its lane, where it takes `bytes` at most; a record that `is_apart`
    /// shares nothing with those before it.
    pub(super) fn place(
        &mut self,
        lane: LaneId,
        offset: Offset,
        bytes: usize,
        is_apart: bool,
        limits: &Limits,
    ) -> Place {
        let suspect = self.suspects.is_some_and(|(lowest, highest)| (lowest..=highest).contains(&offset));
        let max_records = if suspect || is_apart { 1 } else { limits.batch_records };
        let slot = &self.lanes[lane.0];
        if !slot.is_above_border(offset) {
            let new = self.repairs.collect(lane, offset, bytes, max_records, self.batch_bytes(limits));
            return Place::Repair { new };
        }
        Place::Append { seal_first: slot.is_full(bytes, max_records, self.suspects, self.batch_bytes(limits)) }
    }

    /// The record is in the builder of its lane now, and takes `bytes` there.
    pub(super) fn appended(&mut self, lane: LaneId, offset: Offset, bytes: usize) {
        self.lanes[lane.0].append(offset, bytes);
    }

    /// Whether a lane's open batch should go now: full, or nothing else is in flight and waiting for more would not pay:
    /// the source is drained, nothing can be taken before something is settled, or the lane gets so few records (dead
    /// letters in a busy stream) that its batch would hold the position back. This makes a quiet stream quick and a busy
    /// one batch by itself.
    pub(super) fn should_seal(&self, lane: LaneId, drained: bool, limits: &Limits) -> bool {
        let slot = &self.lanes[lane.0];
        let is_thin = |batch: &OpenBatch| self.next - batch.lowest > 2 * u64::from(limits.batch_records);
        slot.batch.is_some_and(|batch| {
            let suspect = self.suspects.is_some_and(|(_, highest)| batch.lowest <= highest);
            batch.bytes >= self.batch_bytes(limits)
                || batch.records >= limits.batch_records
                || (slot.window.len() == 0 && (drained || is_thin(&batch) || !self.can_take(limits)))
                || suspect
        })
    }

    /// The lane's open batch is sealed and sent.
    pub(super) fn sealed(&mut self, lane: LaneId, bytes: usize, now_ms: u64) {
        self.lanes[lane.0].seal(bytes, now_ms);
    }

    /// Whether a batch or a repair that was sent is not settled yet. Repairs that still wait are left for the next opening.
    pub(super) fn awaits_receipts(&self) -> bool {
        matches!(self.repairs.progress, Progress::Sent(..)) || !self.lanes.iter().all(Lane::is_idle)
    }

    /// A receipt of a lane settles its batch; `None` where no such batch is in flight.
    pub(super) fn settle(&mut self, lane: usize, lowest: Offset, id: Option<MessageId>) -> Option<Settled> {
        let settled = self.lanes[lane].settle(lowest, id)?;
        self.highest_settled = self.highest_settled.max(Some(settled.highest));
        Some(settled)
    }

    /// The lane that a producer belongs to.
    pub(super) fn lane_of(&self, tag: Tag) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.tag == tag)
    }

    /// A batch or a checkpoint in flight for longer than `timeout_ms`.
    pub(super) fn overdue(&self, now_ms: u64, timeout_ms: u64) -> Option<Offset> {
        let late = |(lowest, sent_ms): (Offset, u64)| (now_ms >= sent_ms + timeout_ms).then_some(lowest);
        let lane = self.lanes.iter().find_map(|lane| lane.window.oldest().and_then(late));
        let checkpoint = self.writing.as_ref().and_then(|(sequence_id, _, sent_ms)| late((*sequence_id, *sent_ms)));
        lane.or(self.repairs.overdue(now_ms, timeout_ms)).or(checkpoint)
    }

    /// The lane that should be peeked at; the next one is due so much later.
    pub(super) fn lane_to_peek(&mut self, now_ms: u64, every_ms: u64) -> Option<LaneId> {
        let limit = self.reach.limit(self.position(), self.next, now_ms)?;
        let index = self.lanes.iter().position(|lane| lane.should_peek(limit, now_ms, every_ms))?;
        self.lanes[index].peeked_ms = now_ms;
        Some(LaneId(index))
    }

    /// The lane is being peeked at.
    pub(super) fn peeking(&mut self, tag: Tag, lane: LaneId) {
        self.lanes[lane.0].peeking(tag);
    }

    /// The answer to a peek.
    pub(super) fn peeked(&mut self, tag: Tag, lane: LaneId, end: Option<MessageId>) {
        if let Some(lane) = self.lanes.get_mut(lane.0) {
            lane.peeked(tag, end);
        }
    }

    /// What a checkpoint would say now.
    /// Invariant: marks, and the topics of an earlier routing, go no further than the reach allows.
    pub(super) fn checkpoint(&mut self, now_ms: u64) -> Checkpoint {
        let position = self.position();
        self.reach.observe(position, now_ms);
        if let Some(limit) = self.reach.limit(position, self.next, now_ms) {
            self.lanes.iter_mut().for_each(|lane| lane.advance_mark(limit));
            self.former.retain(|former| limit < former.until);
        }
        if self.seen.highest().is_some_and(|highest| highest < self.next) {
            self.seen = OffsetSet::new();
        }
        Checkpoint {
            version: Checkpoint::VERSION,
            position,
            routing: self.routing.clone(),
            marks: self.lanes.iter().map(|lane| lane.mark).collect(),
            repairs: self.repairs.intents(),
            reach_records: self.reach.reach().records,
            former: self.former.clone(),
        }
    }

    /// Starts the writing of a checkpoint: its sequence id.
    pub(super) fn write(&mut self, checkpoint: &Checkpoint, now_ms: u64) -> u64 {
        self.sequence_id += 1;
        self.writing = Some((self.sequence_id, checkpoint.clone(), now_ms));
        self.sequence_id
    }

    /// The receipt of a checkpoint: what is stored now, `None` if it is not the one under way.
    pub(super) fn wrote(&mut self, sequence_id: u64, now_ms: u64) -> Option<&Checkpoint> {
        let (_, checkpoint, _) = self.writing.take_if(|(under_way, ..)| *under_way == sequence_id)?;
        self.written = checkpoint;
        self.written_ms = now_ms;
        Some(&self.written)
    }

    /// Remembers that a batch was refused for its content: the record itself, if it was alone, or suspects.
    pub(super) fn refused(&mut self, lowest: Offset, highest: Offset, records: u32) {
        if records == 1 {
            self.refused.insert(lowest);
            self.refusals.refused(lowest);
        } else {
            self.suspects = Some((lowest, highest));
        }
    }

    /// The repair in front, whose name is to be acquired.
    pub(super) fn repair_to_open(&self) -> Option<RepairIntent> {
        if self.repairs.progress != Progress::Waiting {
            return None;
        }
        let front = self.repairs.front()?;
        let named = !Fault::RepairNamedBeforeHeld.active() || self.written.repairs.contains(&front);
        named.then_some(front)
    }

    /// The repair in front, once its name is held and the stored checkpoint, and any that is under way, names it.
    pub(super) fn repair_to_send(&self) -> Option<(Tag, Option<Offset>, RepairIntent)> {
        let Progress::Held(tag, last) = self.repairs.progress else { return None };
        let front = self.repairs.front()?;
        let named = self.written.repairs.contains(&front)
            && self.writing.as_ref().is_none_or(|(_, checkpoint, _)| checkpoint.repairs.contains(&front));
        (named || Fault::RepairWithoutIntent.active()).then_some((tag, last, front))
    }

    /// Whether a repair waits for a checkpoint that names it.
    pub(super) fn intent_waits(&self) -> bool {
        self.repairs.intents().iter().any(|intent| !self.written.repairs.contains(intent))
    }

    /// The highest id that any lane is known to have used, or that was read back.
    pub(super) fn highest_known(&self) -> Option<Offset> {
        self.lanes.iter().filter_map(|lane| lane.highest_known).max().max(self.seen.highest())
    }

    /// Takes everything in flight for settled: only under the deliberate fault that steps over unknown outcomes.
    pub(super) fn step_over(&mut self) {
        for lane in &mut self.lanes {
            lane.window = Window::default();
        }
    }
}
