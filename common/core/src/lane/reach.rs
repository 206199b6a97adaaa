//! How far the marks of an open partition may move. Without a reach they follow the position. With one they stay behind:
//! what a queue may deliver again, or what another source may bring once more, must be found by the next reading back.

use std::collections::VecDeque;

use super::fault::Fault;
use super::setup::Reach;
use crate::record::Offset;

/// In how many steps the time that the marks lag behind is measured.
const STEPS: u64 = 64;

/// The reach of an open partition, and what has to be remembered for it.
#[derive(Debug, Clone)]
pub(super) struct ReachBack {
    reach: Reach,
    /// Where the session began.
    start: Offset,
    /// The position as it was at some times, oldest first.
    past: VecDeque<(u64, Offset)>,
}

impl ReachBack {
    /// For a session that begins here and now.
    pub(super) fn new(reach: Reach, start: Offset, now_ms: u64) -> Self {
        Self { reach, start, past: VecDeque::from([(now_ms, start)]) }
    }

    /// The reach itself.
    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// Notes the position.
    pub(super) fn observe(&mut self, position: Offset, now_ms: u64) {
        if self.reach.ms == 0 {
            return;
        }
        if self.past.back().is_none_or(|(at_ms, _)| now_ms >= at_ms + (self.reach.ms / STEPS).max(1)) {
            self.past.push_back((now_ms, position));
        }
        while self.past.get(1).is_some_and(|(at_ms, _)| at_ms + self.reach.ms <= now_ms) {
            self.past.pop_front();
        }
    }

    /// What lies below this offset altogether the marks may pass; `None`: they stay where they are.
    ///
    /// In records: of a session's deliveries all but the last `records` are acknowledged for certain, since the source
    /// gives no more without. What the session before left unacknowledged comes first, and is at most as many: it may be
    /// delivered and recognised in this session, and lie far back in the target. So in its first twice as many
    /// deliveries no mark moves at all.
    /// Invariant: never above the position.
    pub(super) fn limit(&self, position: Offset, next: Offset, now_ms: u64) -> Option<Offset> {
        if Fault::MarkDoesNotReachBack.active() {
            return Some(position);
        }
        let Reach { ms, records } = self.reach;
        if next < self.start.saturating_add(records.saturating_mul(2)) {
            return None;
        }
        let (at_ms, then) = self.past.front().filter(|_| ms > 0).copied().unwrap_or((now_ms, position));
        let is_old = at_ms.saturating_add(ms) <= now_ms || ms == 0;
        is_old.then_some(position.min(then).min(next - records))
    }

    /// Whether the marks follow the position.
    pub(super) fn is_none(reach: Reach) -> bool {
        reach == Reach::default() || Fault::MarkDoesNotReachBack.active()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_reach_marks_follow_the_position() {
        let reach = ReachBack::new(Reach::default(), 10, 0);
        assert_eq!(reach.limit(12, 15, 0), Some(12));
    }

    #[test]
    fn in_records_marks_wait_for_twice_as_many_and_stay_behind_by_as_many() {
        let reach = ReachBack::new(Reach { ms: 0, records: 5 }, 100, 0);
        assert_eq!(reach.limit(109, 109, 9), None);
        assert_eq!(reach.limit(110, 110, 9), Some(105));
        assert_eq!(reach.limit(102, 111, 9), Some(102), "never above the position");
    }

    #[test]
    fn in_time_marks_follow_the_position_as_it_was() {
        let mut reach = ReachBack::new(Reach { ms: 640, records: 0 }, 100, 1000);
        for now_ms in 1000..3000 {
            let position = 100 + (now_ms - 1000);
            reach.observe(position, now_ms);
            match reach.limit(position, position, now_ms) {
                None => assert!(now_ms < 1640),
                Some(limit) => {
                    assert!(limit + 640 <= position, "at {now_ms}: {limit}");
                    assert!(limit + 640 + 20 > position, "at {now_ms}: {limit} is older than it needs to be");
                }
            }
        }
        assert!(reach.past.len() <= STEPS as usize + 2);
    }
}
