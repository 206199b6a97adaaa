//! The comparing core: what one source partition holds against what its lanes in the target hold, as both come in, in any
//! order between them. Pure: planted faults show that it names them.
//!
//! Both sides are streams, and neither is kept. What the source has shown and the target has not yet waits with its digest;
//! what the target has shown and the source has not yet, too; who reads sees to it that both stay few ([`Comparison::may_read`]).
//! Beside them there is a bit for each offset that the source has shown, and one for each that the target has.

mod settling;

use std::ops::Range;

use super::ahead::Ahead;
use super::beyond::Beyond;
use super::bits::Bits;
use super::facts::{At, Counts, Digest, Expected, Fault, Finding, Mark, Observed, Place};
use super::lanes::Lanes;
use super::order::Step;
use super::report::PartSummary;

/// How many stretches the range is told apart in, for the picture.
pub(crate) const STRETCHES: usize = 120;

const BEHIND_THE_END: &str = "behind the end of the source";

/// How much is kept at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// One side stops being read when so many records wait for the other.
    pub(crate) ahead: usize,
    /// Digests of missing records that are kept.
    pub(crate) kept: usize,
    /// Findings of each fault that are named.
    pub(crate) named: usize,
}

/// A record that the target has not shown yet.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    digest: Digest,
    key: u128,
    place: Place,
    /// It lies among the dead letters, though it could be translated now.
    is_dead: bool,
    /// It was counted as missing already, as it waited for too long.
    is_late: bool,
    shown_ms: u64,
}

/// One source partition, compared.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// The offsets that are compared; what the target holds of others is passed over.
    pub(crate) range: Range<u64>,
    /// Below this the source has shown everything.
    source_at: u64,
    bounds: Bounds,
    /// What the target will not show on its own: it was read to its end.
    target_is_done: bool,
    waiting: Ahead<Waiting>,
    early: Ahead<Observed>,
    redriven: Ahead<Observed>,
    shown: Bits,
    found: Bits,
    lanes: Lanes,
    pub(crate) counts: Counts,
    pub(crate) findings: Vec<Finding>,
    /// The faults, by the stretch of the range.
    pub(crate) heat: Vec<[u32; 5]>,
    /// The lowest and highest id of this partition that the target showed, whether or not it is in the range.
    pub(crate) seen: Option<(u64, u64)>,
    beyond: Beyond,
}

impl Comparison {
    /// Of these offsets of a partition that ends at `source_end` as this begins.
    pub(crate) fn new(range: Range<u64>, source_end: u64, bounds: Bounds) -> Self {
        Self {
            beyond: Beyond::new(source_end.max(range.end)),
            source_at: range.start,
            shown: Bits::from(range.start),
            found: Bits::from(range.start),
            range,
            bounds,
            target_is_done: false,
            waiting: Ahead::new(2 * bounds.ahead, bounds.kept),
            early: Ahead::new(2 * bounds.ahead, usize::MAX),
            redriven: Ahead::new(0, bounds.kept),
            lanes: Lanes::default(),
            counts: Counts::default(),
            findings: Vec::new(),
            heat: vec![[0; 5]; STRETCHES],
            seen: None,
        }
    }

    /// Whether more may be read: of the source, of the target. Never neither, but where both have shown everything. That the target
    /// is ahead somewhere, such as among the dead letters, is no reason for the source to run away from it.
    pub(crate) fn may_read(&self) -> (bool, bool) {
        let target = self.early.len() < self.bounds.ahead || self.source_is_done();
        let source = self.waiting.in_window() < self.bounds.ahead || !target || self.target_is_done;
        (source, target)
    }

    /// The target holds nothing more, but what comes from now on: the source is not held up for its sake.
    pub(crate) fn target_is_done(&mut self) {
        self.target_is_done = true;
    }

    pub(crate) fn source_is_done(&self) -> bool {
        self.source_at >= self.range.end
    }

    /// Below this the source has shown everything.
    pub(crate) fn source_at(&self) -> u64 {
        self.source_at
    }

    /// Records that the target has not shown, dead letters left out.
    pub(crate) fn unfound(&self) -> u64 {
        let Counts { source, found, dead_letters, not_compared, twins, .. } = self.counts;
        source - found - dead_letters - not_compared - twins - self.counts.of(Fault::Different)
    }

    /// The source has shown a record; they come by rising offsets.
    pub(crate) fn expect(&mut self, expected: &Expected, now_ms: u64) {
        let Expected { offset, place, digest, key } = *expected;
        if !self.range.contains(&offset) || offset < self.source_at {
            return;
        }
        self.pass(offset);
        self.source_at = offset + 1;
        self.counts.source += 1;
        self.shown.insert(offset);
        let waiting = Waiting { digest, key, place, is_dead: false, is_late: false, shown_ms: now_ms };
        match self.early.remove(offset) {
            Some(observed) => self.settle(waiting, &observed),
            // The target is behind, or the record is missing.
            None => self.waiting.insert(offset, waiting),
        }
    }

    /// The source has no records below this offset but those that it has shown.
    pub(crate) fn pass(&mut self, offset: u64) {
        let offset = offset.min(self.range.end);
        if offset <= self.source_at {
            return;
        }
        let hole = self.source_at..offset;
        self.source_at = offset;
        if self.early.is_empty() {
            return;
        }
        let mut extra: Vec<Observed> = match usize::try_from(hole.end - hole.start) {
            Ok(length) if length <= self.early.len() => hole.filter_map(|id| self.early.remove(id)).collect(),
            _ => {
                let within: Vec<u64> = self.early.iter().map(|(id, _)| id).filter(|id| hole.contains(id)).collect();
                within.into_iter().filter_map(|id| self.early.remove(id)).collect()
            }
        };
        extra.sort_by_key(|observed| observed.id);
        extra.iter().for_each(|observed| self.extra(observed));
    }

    /// The target has shown a message of this partition.
    pub(crate) fn observe(&mut self, observed: &Observed) {
        let id = observed.id;
        if observed.mark == Mark::Copied {
            if self.range.contains(&id) {
                self.fault(Fault::Doubled, id, Some(observed.at), "by replay --to, which belongs into another topic");
            }
            return;
        }
        let (low, high) = self.seen.unwrap_or((id, id));
        self.seen = Some((low.min(id), high.max(id)));
        self.beyond.note(id, observed.at);
        if observed.mark == Mark::Lane {
            self.lanes.begin(observed);
        }
        if !self.range.contains(&id) {
            return;
        }
        if observed.mark == Mark::Redriven {
            if self.redriven.get(id).is_some() {
                self.fault(Fault::Doubled, id, Some(observed.at), "redriven twice");
            } else {
                self.redriven.insert(id, *observed);
            }
            return;
        }
        if id >= self.source_at {
            match self.early.get(id).is_some() {
                true => self.fault(Fault::Doubled, id, Some(observed.at), "stored again"),
                false => {
                    self.note_order(observed);
                    self.early.insert(id, *observed);
                }
            }
            return;
        }
        match self.waiting.remove(id) {
            Some(waiting) if !waiting.is_dead => {
                self.note_order(observed);
                self.settle(waiting, observed);
            }
            Some(waiting) => {
                self.waiting.insert(id, waiting);
                self.fault(Fault::Doubled, id, Some(observed.at), "also among the dead letters");
            }
            None if self.found.contains(id) => self.fault(Fault::Doubled, id, Some(observed.at), "stored again"),
            None if self.shown.contains(id) => {
                self.note_order(observed);
                self.found.insert(id);
                self.counts.not_compared += 1;
            }
            None => self.extra(observed),
        }
    }

    fn extra(&mut self, observed: &Observed) {
        // What does not belong there has no place in the order either.
        let before = self.findings.len();
        let is_it = |found: &Finding| found.fault == Fault::Reordered && found.at == Some(observed.at);
        self.findings.retain(|finding| !is_it(finding));
        self.counts.faults[Fault::Reordered as usize] -= (before - self.findings.len()) as u64;
        self.fault(Fault::Extra, observed.id, Some(observed.at), "the source has no such record");
    }

    fn note_order(&mut self, observed: &Observed) {
        if observed.mark == Mark::Lane {
            let step = self.lanes.note(observed);
            self.disorder(step);
        }
    }

    fn disorder(&mut self, step: Option<Step>) {
        if let Some(Step { id, at, is_early }) = step {
            let detail = if is_early { "before records that come earlier" } else { "behind records that come later" };
            self.fault(Fault::Reordered, id, Some(at), detail);
        }
    }

    fn fault(&mut self, fault: Fault, offset: u64, at: Option<At>, detail: &'static str) {
        self.counts.faults[fault as usize] += 1;
        self.name(Finding { fault, offset, at, detail });
    }

    fn name(&mut self, finding: Finding) {
        let span = self.range.end.saturating_sub(self.range.start).max(1);
        let stretch = u128::from(finding.offset - self.range.start) * STRETCHES as u128 / u128::from(span);
        self.heat[(stretch as usize).min(STRETCHES - 1)][finding.fault as usize] += 1;
        let named = self.findings.iter().filter(|other| other.fault == finding.fault).count();
        if named < self.bounds.named {
            self.findings.push(finding);
        }
    }

    /// Forgets what lies below an offset: what the target shows of it from here on is passed over.
    pub(crate) fn forget_below(&mut self, offset: u64) {
        if offset > self.range.start {
            self.range.start = offset;
            self.shown.forget_below(offset);
            self.found.forget_below(offset);
            self.waiting.forget_below(offset);
            self.redriven.forget_below(offset);
        }
    }

    /// Whether every lane was read from before this range on: the first id that it showed lies below.
    pub(crate) fn is_covered(&self) -> bool {
        self.lanes.cover(self.range.start)
    }

    /// Whether there are messages that only the source's end as it is now tells about: [`Comparison::ends_at`].
    pub(crate) fn asks_for_end(&self) -> bool {
        !self.beyond.is_empty()
    }

    /// The source ends here, now that the target was read: what the target has behind it is of no record.
    pub(crate) fn ends_at(&mut self, source_end: u64) {
        for (id, at) in self.beyond.take(source_end) {
            self.fault(Fault::Extra, id, Some(at), BEHIND_THE_END);
        }
    }

    /// The lowest offset that the target has shown and the source has not.
    pub(crate) fn lowest_early(&self) -> Option<u64> {
        self.early.iter().map(|(id, _)| id).min()
    }

    /// The source ends here by now: what the target has shown of it and behind it is of no record.
    pub(crate) fn early_ends_at(&mut self, source_end: u64) {
        let mut behind: Vec<u64> = self.early.iter().map(|(id, _)| id).filter(|id| *id >= source_end).collect();
        behind.sort_unstable();
        for observed in behind.into_iter().filter_map(|id| self.early.remove(id)).collect::<Vec<_>>() {
            self.fault(Fault::Extra, observed.id, Some(observed.at), BEHIND_THE_END);
        }
    }

    /// For a report; `to` is where what was compared ends.
    pub(crate) fn summary(&self, to: u64) -> PartSummary {
        let (counts, findings, heat) = (self.counts, self.findings.clone(), self.heat.clone());
        PartSummary { to, counts, findings, heat }
    }

    /// Whether the source has shown a record that the target has not.
    pub(crate) fn is_unfound(&self, offset: u64) -> bool {
        self.shown.contains(offset) && !self.found.contains(offset)
    }

    /// The missing records, as ranges of offsets with their ends included. Only after [`Comparison::finish`].
    pub(crate) fn missing(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.shown.without(&self.found)
    }

    /// Whether a missing record lies below everything that its lane still holds: retention may have removed it.
    pub(crate) fn is_trimmed(&self, offset: u64) -> bool {
        self.lanes.begin_behind(offset, self.waiting.get(offset).map(|waiting| waiting.place))
    }
}

#[cfg(test)]
mod tests;
