//! Topics that were lanes under an earlier routing, while a partition is opened. Everything in them is settled, and
//! nothing can be under way to them; they are read because what they hold may come again.

use super::checkpoint::{FormerLane, LaneId};
use super::step::{Action, Role, ScanFrom, Tag, Tags, Topic};
use crate::record::Offset;

/// One former lane that is being read.
#[derive(Debug, Clone)]
pub(super) struct FormerScan {
    lane: FormerLane,
    /// The scan that is under way; `None` when it is complete.
    scan: Option<Tag>,
    attempt: u32,
}

impl FormerScan {
    /// Starts to read.
    pub(super) fn start(lane: FormerLane, floor: Offset, tags: &mut Tags, actions: &mut Vec<Action>) -> Self {
        let mut former = Self { lane, scan: None, attempt: 0 };
        former.scan(floor, tags, actions);
        former
    }

    fn scan(&mut self, floor: Offset, tags: &mut Tags, actions: &mut Vec<Action>) {
        let tag = tags.fresh();
        self.scan = Some(tag);
        actions.push(Action::Scan {
            tag,
            // Under the partition's own name, as it was then.
            role: Role::Lane(LaneId(usize::MAX)),
            topic: Topic::Named(self.lane.topic.clone()),
            from: ScanFrom::Mark(self.lane.mark),
            floor,
            attempt: self.attempt,
        });
    }

    /// Whether this scan is its own; then it failed, and is tried again.
    pub(super) fn failed(&mut self, tag: Tag, floor: Offset, tags: &mut Tags, actions: &mut Vec<Action>) -> bool {
        if self.scan != Some(tag) {
            return false;
        }
        self.attempt += 1;
        self.scan(floor, tags, actions);
        true
    }

    /// Whether this scan is its own; then it is complete.
    pub(super) fn found(&mut self, tag: Tag) -> bool {
        let is_own = self.scan == Some(tag);
        self.scan = self.scan.filter(|_| !is_own);
        is_own
    }

    /// Whether it was read to its end.
    pub(super) fn is_done(&self) -> bool {
        self.scan.is_none()
    }
}
