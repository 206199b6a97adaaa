//! The last part of an opening: everything that was stored before is known. Where to start is resolved, or a counter
//! raised; the checkpoint to open with is stored, and its receipt opens the session.

use super::checkpoint::{Checkpoint, LaneId, Mark};
use super::fault::Fault;
use super::leaving::Goal;
use super::offsets::OffsetSet;
use super::opening::{Opening, Outcome, Stage, vanished};
use super::reach::ReachBack;
use super::reasons::{Evidence, Why};
use super::seeker::Seeking;
use super::session::Session;
use super::setup::{Numbering, Reach};
use super::step::{Action, Role, Tag};
use crate::record::Offset;

/// The clock is taken into a counter in microseconds, so that a counter whose whole past was forgotten (names purged,
/// topics trimmed) still does not start among its old ids.
const COUNTER_PER_MS: u64 = 1000;

impl Opening {
    /// Everything stored before is known: the checkpoint to open with is stored; the first one needs a place to start.
    pub(super) fn all_known(&mut self, now_ms: u64, actions: &mut Vec<Action>) -> Outcome {
        let Some(mut checkpoint) = self.checkpoint.clone() else {
            self.stage = Stage::Starting;
            if self.terms.numbering == Numbering::Counter {
                // A queue starts with what it holds.
                return self.start_resolved(0, None, now_ms, actions);
            }
            actions.push(Action::ResolveStart);
            return Outcome::Pending;
        };
        checkpoint.position = self.raised(checkpoint.position, now_ms);
        checkpoint.routing = self.routing.clone();
        checkpoint.reach_records = self.reach().records;
        // What became of them is known now, and their names were taken: no earlier holder can send them any more.
        checkpoint.repairs = Vec::new();
        if !Fault::UnsentStays.active() {
            self.place_marks(&mut checkpoint);
        }
        if Fault::OpenWithoutConfirming.active() {
            return self.open(checkpoint, now_ms, actions);
        }
        self.confirm(checkpoint, now_ms, actions);
        Outcome::Pending
    }

    /// Lanes of a routing that was just announced get their marks: the ends of their topics.
    /// Invariant: nothing is sent on a lane before its mark is stored.
    fn place_marks(&self, checkpoint: &mut Checkpoint) {
        for seeker in &self.seekers {
            let Role::Lane(LaneId(lane)) = seeker.role else { continue };
            if let Some(mark @ Mark::Unsent) = checkpoint.marks.get_mut(lane) {
                *mark = seeker.end.filter(|_| seeker.own.is_empty()).map_or(Mark::Earliest, Mark::from);
            }
        }
    }

    /// The position to open with. A counter's is raised above every id that was ever used; what was in flight below it is
    /// delivered again, under new ids.
    /// Invariant: a counter's position is above every L, every id read back, and every position stored before, and that
    /// is stored before anything is numbered from there.
    fn raised(&self, position: Offset, now_ms: u64) -> Offset {
        if self.terms.numbering == Numbering::Offsets || Fault::ReuseCounter.active() {
            return position;
        }
        let known =
            self.seekers.iter().flat_map(|seeker| [seeker.last, seeker.own.highest(), seeker.repaired.highest()]);
        let above = known.flatten().max().map_or(0, |highest| highest + 1);
        let clock = now_ms.saturating_mul(COUNTER_PER_MS);
        let next = position.max(above).max(clock).max(self.terms.lowest_counter);
        assert!(next < 1 << 62, "sequence ids are signed on the wire");
        next
    }

    /// The reach to open with: the largest number of records that the partition was ever read with.
    fn reach(&self) -> Reach {
        let stored = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.reach_records);
        let stored = if Fault::ForgetPrefetch.active() { 0 } else { stored };
        Reach { records: self.terms.reach.records.max(stored), ..self.terms.reach }
    }

    /// Stores the checkpoint to open with: the proof that the partition is still owned.
    fn confirm(&mut self, checkpoint: Checkpoint, now_ms: u64, actions: &mut Vec<Action>) {
        let tag = self.owner.expect("the name on the checkpoint topic is held");
        self.entry_sequence_id = self.entry_sequence_id.max(now_ms) + 1;
        let sequence_id = self.entry_sequence_id;
        self.stage = Stage::Confirming { sequence_id, checkpoint: checkpoint.clone(), sent_ms: now_ms };
        actions.push(Action::WriteCheckpoint { tag, sequence_id, checkpoint });
    }

    /// Invariant: a partition that the source, the target or the broker knows from before is never started as a new one.
    pub(super) fn start_resolved(
        &mut self,
        offset: Offset,
        committed: Option<Offset>,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Outcome {
        // The first answer counts, even if an earlier opening asked: a second one may differ ("latest").
        if matches!(self.stage, Stage::Starting) {
            if let Some(committed) = committed.filter(|_| !self.is_forgotten) {
                return Outcome::LetGo(Goal::Stop(vanished(Evidence::Committed(committed))));
            }
            let checkpoint = Checkpoint {
                version: Checkpoint::VERSION,
                position: self.raised(offset, now_ms),
                routing: self.routing.clone(),
                marks: self.seekers.iter().map(|seeker| seeker.end.map_or(Mark::Earliest, Mark::from)).collect(),
                repairs: Vec::new(),
                reach_records: self.reach().records,
                former: Vec::new(),
            };
            self.confirm(checkpoint, now_ms, actions);
        }
        Outcome::Pending
    }

    pub(super) fn confirmed(
        &mut self,
        tag: Tag,
        lowest: u64,
        stored: bool,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Outcome {
        if self.owner != Some(tag) {
            return Outcome::Pending;
        }
        match &self.stage {
            Stage::Confirming { sequence_id, checkpoint, .. } if *sequence_id == lowest && stored => {
                let checkpoint = checkpoint.clone();
                self.open(checkpoint, now_ms, actions)
            }
            _ => Outcome::LetGo(Goal::Reopen(Why::Opening("the checkpoint is not known to be stored".into()))),
        }
    }

    /// Everything is known: from here on the partition is a session.
    fn open(&mut self, checkpoint: Checkpoint, now_ms: u64, actions: &mut Vec<Action>) -> Outcome {
        let reach = self.reach();
        // A mark that reaches back does not jump to the end of its topic.
        let settled_below = ReachBack::is_none(reach).then_some(checkpoint.position);
        let mut lanes = Vec::new();
        let mut seen = OffsetSet::new();
        for seeker in &self.seekers {
            let Seeking::Done(tag) = seeker.state else { unreachable!("every name was sought to its end") };
            seen.extend(&seeker.own);
            seen.extend(&seeker.repaired);
            let Role::Lane(LaneId(lane)) = seeker.role else {
                actions.push(Action::Close { tag });
                continue;
            };
            let stored = checkpoint.marks.get(lane).copied().unwrap_or(Mark::Earliest);
            lanes.push(seeker.lane(tag, stored, settled_below));
        }
        let owner = self.owner.expect("the name on the checkpoint topic is held");
        let reach = ReachBack::new(reach, checkpoint.position, now_ms);
        Outcome::Open(Box::new(Session::new(owner, lanes, seen, checkpoint, self.entry_sequence_id, reach, now_ms)))
    }
}
