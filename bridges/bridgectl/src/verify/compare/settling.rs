//! What becomes of a record and a message under its offset, and of those that wait for one another in the end.

use super::{Comparison, Waiting};
use crate::verify::facts::{Fault, Mark, Observed, Place};

impl Comparison {
    /// A record and a message under its offset.
    pub(super) fn settle(&mut self, waiting: Waiting, observed: &Observed) {
        let id = observed.id;
        self.found.insert(id);
        if waiting.is_late {
            self.counts.faults[Fault::Missing as usize] -= 1;
        }
        let same_content = waiting.digest == observed.digest;
        match (waiting.place, observed.place) {
            _ if !same_content => self.fault(Fault::Different, id, Some(observed.at), "another content"),
            (expected, Place::DeadLetters) => {
                self.counts.dead_letters += 1;
                self.counts.translatable += u64::from(expected != Place::DeadLetters);
                // Whoever redrives it publishes what the digest says; one that the contract refuses may have been redriven
                // under another one.
                self.waiting.insert(id, Waiting { is_dead: true, is_late: false, ..waiting });
            }
            (expected, found) if expected == found => {
                self.counts.found += 1;
                self.counts.repaired += u64::from(observed.mark == Mark::Repaired);
                self.counts.replayed += u64::from(observed.mark == Mark::Replayed);
            }
            _ => self.fault(Fault::Different, id, Some(observed.at), "in another topic than the routes say"),
        }
    }

    /// Counts what has waited since before this time as missing, until it comes after all; `has_twin` as in [`Comparison::finish`].
    pub(crate) fn overdue(&mut self, shown_before_ms: u64, has_twin: impl Fn(u128) -> bool) {
        let is_overdue =
            |waiting: &Waiting| !waiting.is_dead && !waiting.is_late && waiting.shown_ms <= shown_before_ms;
        let mut late: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| is_overdue(waiting)).map(|(id, _)| id).collect();
        late.sort_unstable();
        for id in late {
            let Some(waiting) = self.waiting.get_mut(id) else { continue };
            if waiting.key != 0 && has_twin(waiting.key) {
                self.waiting.remove(id);
                self.found.insert(id);
                self.counts.twins += 1;
            } else {
                waiting.is_late = true;
                self.fault(Fault::Missing, id, None, "not in time");
            }
        }
    }

    /// Both sides have shown everything: what still waits is missing. `starts_late` says that the configuration does not
    /// begin with the source's first record; `has_twin` whether another source has brought the event of a key.
    pub(crate) fn finish(&mut self, starts_late: bool, has_twin: impl Fn(u128) -> bool) {
        self.pass(self.range.end);
        self.lanes.finish().into_iter().for_each(|step| self.disorder(Some(step)));
        self.settle_redriven();
        // Where nothing at all is in the target, nothing says that it was ever begun: all is missing.
        let first = self.seen.map_or(0, |(first, _)| first);
        let unfound: Vec<(u64, u64)> = self.shown.without(&self.found).collect();
        for id in unfound.into_iter().flat_map(|(low, high)| low..=high) {
            let waiting = self.waiting.get(id);
            if waiting.is_some_and(|waiting| waiting.key != 0 && has_twin(waiting.key)) {
                self.counts.twins += 1;
                self.found.insert(id);
            } else if starts_late && id < first {
                self.counts.before_start += 1;
                self.found.insert(id);
            } else if !waiting.is_some_and(|waiting| waiting.is_late) {
                let is_behind = self.seen.is_none_or(|(_, last)| id > last);
                let detail = if is_behind { "behind everything that is there" } else { "not there" };
                self.fault(Fault::Missing, id, None, detail);
            }
        }
        self.findings.sort_by_key(|finding| (finding.fault, finding.offset, finding.at));
    }

    /// What was published after a fix of contract or code: of a dead letter it is no double.
    fn settle_redriven(&mut self) {
        let mut redriven: Vec<Observed> = self.redriven.iter().map(|(_, observed)| *observed).collect();
        redriven.sort_by_key(|observed| observed.id);
        for observed in redriven {
            let id = observed.id;
            match self.waiting.remove(id) {
                Some(waiting) if waiting.is_dead && waiting.place == Place::DeadLetters => {
                    self.counts.redriven += 1;
                    self.counts.redriven_refused += 1;
                }
                Some(waiting) if waiting.is_dead && waiting.digest == observed.digest => self.counts.redriven += 1,
                Some(waiting) if waiting.is_dead => {
                    self.fault(Fault::Different, id, Some(observed.at), "redriven with another content");
                    self.counts.dead_letters -= 1;
                }
                // Its dead letter is gone.
                Some(waiting) => {
                    self.settle(waiting, &observed);
                    self.counts.redriven += 1;
                }
                None if self.found.contains(id) => {
                    self.fault(Fault::Doubled, id, Some(observed.at), "redriven, and stored before");
                }
                None if self.shown.contains(id) => {
                    self.found.insert(id);
                    self.counts.not_compared += 1;
                }
                None => self.extra(&observed),
            }
        }
    }
}
