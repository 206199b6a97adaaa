//! Repairs: records that lie at or below their lane's border and were not read back in the target. Each repair is one
//! batch under a name of its own, so nothing about the lane's own sequence has to be believed.
//!
//! Invariant: a repair is sent only by a producer that was open before a checkpoint that names the repair was written,
//! and after that checkpoint is stored. Whoever opens the partition next finds the intent and takes that name first:
//! this ends the producer of an earlier holder for good, which (frozen, and woken much later) would otherwise find the
//! name free again. So it is known whether the repair was stored before anything else is decided.

use std::collections::VecDeque;

use super::checkpoint::{LaneId, RepairIntent};
use super::fault::Fault;
use super::step::Tag;
use crate::record::Offset;

/// One repair that is being collected or carried out.
#[derive(Debug, Clone)]
struct Repair {
    intent: RepairIntent,
    records: u32,
    bytes: usize,
}

/// How far the repair in front has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Progress {
    /// Its name is not asked for yet.
    #[default]
    Waiting,
    /// Its producer is being opened.
    Opening(Tag),
    /// Its producer is open (with this last sequence id), and the checkpoint that names it is being stored.
    Held(Tag, Option<Offset>),
    /// It was sent at this time, and its receipt is awaited.
    Sent(Tag, u64),
    /// It is stored; its producer is being closed.
    Closing(Tag),
}

/// The repairs of an open partition, first come first served.
#[derive(Debug, Clone, Default)]
pub(super) struct Repairs {
    line: VecDeque<Repair>,
    pub(super) progress: Progress,
}

impl Repairs {
    /// Adds a record to the newest repair, or starts a further one (true).
    pub(super) fn collect(
        &mut self,
        lane: LaneId,
        offset: Offset,
        bytes: usize,
        max_records: u32,
        max_bytes: usize,
    ) -> bool {
        // The one in front may be under way already; only what waits may still grow.
        let growing =
            if self.line.len() > 1 || self.progress == Progress::Waiting { self.line.back_mut() } else { None };
        if let Some(repair) = growing {
            let is_same = repair.intent.lane == lane || Fault::RepairAcrossLanes.active();
            let fits = is_same && repair.records < max_records && repair.bytes + bytes <= max_bytes;
            if fits {
                assert!(offset > repair.intent.highest, "ids rise in a repair");
                repair.intent.highest = offset;
                repair.records += 1;
                repair.bytes += bytes;
                return false;
            }
        }
        let intent = RepairIntent { lane, lowest: offset, highest: offset };
        self.line.push_back(Repair { intent, records: 1, bytes });
        true
    }

    /// What a checkpoint names: the repair in front, if its name is held; those behind it cannot have been sent.
    pub(super) fn intents(&self) -> Vec<RepairIntent> {
        let is_held = match self.progress {
            Progress::Held(..) | Progress::Sent(..) => !Fault::RepairWithoutIntent.active(),
            Progress::Waiting | Progress::Opening(_) => Fault::RepairNamedBeforeHeld.active(),
            Progress::Closing(_) => false,
        };
        self.front().filter(|_| is_held).into_iter().collect()
    }

    /// The repair in front.
    pub(super) fn front(&self) -> Option<RepairIntent> {
        self.line.front().map(|repair| repair.intent)
    }

    /// How many records the repair in front has.
    pub(super) fn front_records(&self) -> u32 {
        self.line.front().map_or(0, |repair| repair.records)
    }

    /// The lowest id in line: none of them is settled.
    pub(super) fn lowest(&self) -> Option<Offset> {
        self.line.iter().map(|repair| repair.intent.lowest).min()
    }

    /// The repair in front is stored.
    pub(super) fn settled(&mut self) -> Option<RepairIntent> {
        self.line.pop_front().map(|repair| repair.intent)
    }

    /// Whether none stands in line and none is being closed.
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty() && self.progress == Progress::Waiting
    }

    /// The producer of the repair under way.
    pub(super) fn tag(&self) -> Option<Tag> {
        match self.progress {
            Progress::Waiting => None,
            Progress::Opening(tag) | Progress::Held(tag, _) | Progress::Sent(tag, _) | Progress::Closing(tag) => {
                Some(tag)
            }
        }
    }

    /// The repair under way, if its receipt is late.
    pub(super) fn overdue(&self, now_ms: u64, timeout_ms: u64) -> Option<Offset> {
        match self.progress {
            Progress::Sent(_, sent_ms) if now_ms >= sent_ms + timeout_ms => self.lowest(),
            _ => None,
        }
    }
}
