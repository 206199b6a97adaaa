//! The comparing core of the checker: what a source partition holds against what its lane in the target holds. Pure, so
//! that planted faults show that it finds them.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::oracle::Digest;

/// One record that the target must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its offset in the source partition.
    pub offset: u64,
    /// The digest of what must arrive.
    pub digest: Digest,
}

/// One message that the target holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// Where it stands in the target partition, counted from its beginning.
    pub place: u64,
    /// The digest of what arrived.
    pub digest: Digest,
    /// Whether a repair lane wrote it: its order is not claimed.
    pub repaired: bool,
}

/// What is wrong with one record or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// In the source, not in the target.
    Missing,
    /// In the target more often than in the source.
    Doubled,
    /// In the target, before a record that comes earlier in the source.
    Reordered,
    /// In its right place, with other content.
    Different,
    /// In the target, and like nothing in the source.
    Extra,
}

/// One thing that is wrong, with its place in source and target as far as there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub fault: Fault,
    /// The offset in the source partition.
    pub offset: Option<u64>,
    /// The place in the target partition.
    pub place: Option<u64>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.fault)?;
        if let Some(offset) = self.offset {
            write!(f, ", source offset {offset}")?;
        }
        if let Some(place) = self.place {
            write!(f, ", message number {place} of the target partition")?;
        }
        Ok(())
    }
}

/// Compares one lane: every expected record exactly once and in order (but for repaired ones), and nothing else.
pub fn compare(expected: &[Expected], observed: &[Observed]) -> Vec<Finding> {
    let alike = expected.len() == observed.len()
        && expected.iter().zip(observed).all(|(record, message)| record.digest == message.digest);
    if alike { Vec::new() } else { Comparison::new(expected, observed).findings() }
}

/// The slow way, for a lane in which something is wrong or repaired.
struct Comparison<'a> {
    expected: &'a [Expected],
    observed: &'a [Observed],
    /// For each message the record that it is, by index.
    matched: Vec<Option<usize>>,
    /// For each record whether a message is it.
    found: Vec<bool>,
    findings: Vec<Finding>,
}

impl<'a> Comparison<'a> {
    fn new(expected: &'a [Expected], observed: &'a [Observed]) -> Self {
        Self {
            expected,
            observed,
            matched: vec![None; observed.len()],
            found: vec![false; expected.len()],
            findings: Vec::new(),
        }
    }

    fn findings(mut self) -> Vec<Finding> {
        let doubled = self.match_by_content();
        self.name_different_and_extra(&doubled);
        self.name_reordered();
        for (index, record) in self.expected.iter().enumerate() {
            if !self.found[index] {
                self.findings.push(Finding { fault: Fault::Missing, offset: Some(record.offset), place: None });
            }
        }
        self.findings.sort_by_key(|finding| (finding.offset, finding.place));
        self.findings
    }

    /// Gives each message the first free record of the same content; the indices of messages that came too often.
    fn match_by_content(&mut self) -> HashSet<usize> {
        let mut free: HashMap<Digest, Vec<usize>> = HashMap::new();
        for (index, record) in self.expected.iter().enumerate().rev() {
            free.entry(record.digest).or_default().push(index);
        }
        let mut last: HashMap<Digest, usize> = HashMap::new();
        let mut doubled = HashSet::new();
        for (at, message) in self.observed.iter().enumerate() {
            if let Some(index) = free.get_mut(&message.digest).and_then(Vec::pop) {
                self.matched[at] = Some(index);
                self.found[index] = true;
                last.insert(message.digest, index);
            } else if let Some(index) = last.get(&message.digest) {
                doubled.insert(at);
                let offset = Some(self.expected[*index].offset);
                self.findings.push(Finding { fault: Fault::Doubled, offset, place: Some(message.place) });
            }
        }
        doubled
    }

    /// A message like nothing in the source stands for the missing record that follows its predecessor, if there is one.
    fn name_different_and_extra(&mut self, doubled: &HashSet<usize>) {
        let mut next = 0;
        for (at, message) in self.observed.iter().enumerate() {
            if let Some(index) = self.matched[at] {
                next = index + 1;
            } else if !doubled.contains(&at) {
                let place = Some(message.place);
                if self.found.get(next) == Some(&false) {
                    self.found[next] = true;
                    let offset = Some(self.expected[next].offset);
                    self.findings.push(Finding { fault: Fault::Different, offset, place });
                    next += 1;
                } else {
                    self.findings.push(Finding { fault: Fault::Extra, offset: None, place });
                }
            }
        }
    }

    /// Names the fewest messages without which the rest would be in order.
    fn name_reordered(&mut self) {
        let sequence: Vec<(usize, usize)> = (0..self.observed.len())
            .filter(|at| !self.observed[*at].repaired)
            .filter_map(|at| Some((at, self.matched[at]?)))
            .collect();
        let kept = longest_rising(&sequence);
        for (at, index) in sequence {
            if !kept.contains(&at) {
                self.findings.push(Finding {
                    fault: Fault::Reordered,
                    offset: Some(self.expected[index].offset),
                    place: Some(self.observed[at].place),
                });
            }
        }
    }
}

/// The messages (first of each pair) of a longest rising subsequence of the indices (second of each pair).
pub(crate) fn longest_rising(sequence: &[(usize, usize)]) -> HashSet<usize> {
    // `tails[n]` is where the rising subsequence of length n + 1 with the smallest end ends; `before` links back.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; sequence.len()];
    for (here, (_, index)) in sequence.iter().enumerate() {
        let length = tails.partition_point(|tail| sequence[*tail].1 < *index);
        before[here] = length.checked_sub(1).map(|shorter| tails[shorter]);
        if length == tails.len() {
            tails.push(here);
        } else {
            tails[length] = here;
        }
    }
    let mut kept = HashSet::with_capacity(tails.len());
    let mut at = tails.last().copied();
    while let Some(here) = at {
        kept.insert(sequence[here].0);
        at = before[here];
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(count: u64) -> Vec<Expected> {
        // Offsets have gaps, as after compaction and transaction markers.
        (0..count).map(|n| Expected { offset: n * 2, digest: Digest::from(n) + 1000 }).collect()
    }

    fn observed(records: &[Expected]) -> Vec<Observed> {
        let message = |(place, record): (usize, &Expected)| Observed {
            place: place as u64,
            digest: record.digest,
            repaired: false,
        };
        records.iter().enumerate().map(message).collect()
    }

    fn faults(findings: &[Finding]) -> Vec<(Fault, Option<u64>)> {
        findings.iter().map(|finding| (finding.fault, finding.offset)).collect()
    }

    #[test]
    fn what_is_equal_has_no_findings() {
        let records = expected(100);
        assert!(compare(&records, &observed(&records)).is_empty());
        assert!(compare(&[], &[]).is_empty());
    }

    #[test]
    fn a_planted_loss_is_named() {
        let records = expected(100);
        for lost in [0, 50, 99] {
            let mut messages = observed(&records);
            messages.remove(lost);
            assert_eq!(faults(&compare(&records, &messages)), [(Fault::Missing, Some(lost as u64 * 2))]);
        }
        assert_eq!(compare(&records, &[]).len(), 100);
    }

    #[test]
    fn a_planted_double_is_named_wherever_it_stands() {
        let records = expected(100);
        for place in [0, 41, 42, 100] {
            let mut messages = observed(&records);
            let twin = messages[41];
            messages.insert(place, twin);
            let findings = faults(&compare(&records, &messages));
            assert!(findings.contains(&(Fault::Doubled, Some(82))), "{place}: {findings:?}");
            assert!(findings.iter().all(|finding| finding.1 == Some(82)), "{place}: {findings:?}");
        }
    }

    #[test]
    fn a_planted_swap_is_one_record_out_of_order() {
        let records = expected(100);
        let mut messages = observed(&records);
        messages.swap(10, 11);
        let findings = faults(&compare(&records, &messages));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].0, Fault::Reordered);
    }

    #[test]
    fn one_late_record_is_one_finding_and_not_all_that_overtook_it() {
        let records = expected(100);
        let mut messages = observed(&records);
        let late = messages.remove(5);
        messages.push(late);
        assert_eq!(faults(&compare(&records, &messages)), [(Fault::Reordered, Some(10))]);
        messages.last_mut().unwrap().repaired = true;
        assert!(compare(&records, &messages).is_empty(), "the order of a repaired record is not claimed");
    }

    #[test]
    fn a_planted_change_is_named_with_its_offset() {
        let records = expected(100);
        for changed in [0, 7, 99] {
            let mut messages = observed(&records);
            messages[changed].digest = 1;
            assert_eq!(faults(&compare(&records, &messages)), [(Fault::Different, Some(changed as u64 * 2))]);
        }
    }

    #[test]
    fn what_nobody_sent_is_named() {
        let records = expected(10);
        let mut messages = observed(&records);
        messages.insert(4, Observed { place: 77, digest: 1, repaired: false });
        assert_eq!(compare(&records, &messages), [Finding { fault: Fault::Extra, offset: None, place: Some(77) }]);
    }

    #[test]
    fn an_event_that_is_twice_in_the_source_must_be_twice_in_the_target() {
        let mut records = expected(10);
        records[6].digest = records[5].digest;
        let mut messages = observed(&records);
        assert!(compare(&records, &messages).is_empty());
        messages.remove(6);
        assert_eq!(faults(&compare(&records, &messages)), [(Fault::Missing, Some(12))]);
        let twin = messages[5];
        messages.insert(5, twin);
        messages.insert(5, twin);
        assert_eq!(compare(&records, &messages).len(), 1);
    }

    proptest! {
        /// Whatever is done to the messages: no finding means that they are the records, and in order.
        #[test]
        fn no_findings_means_equal(indices in prop::collection::vec(0u64..12, 0..14)) {
            let records = expected(10);
            let messages: Vec<_> = indices.iter().enumerate().map(|(place, index)| Observed {
                place: place as u64, digest: Digest::from(*index) + 1000, repaired: false,
            }).collect();
            let equal = indices == (0..10).collect::<Vec<_>>();
            prop_assert_eq!(compare(&records, &messages).is_empty(), equal);
        }

        /// Every record is accounted for: what is missing or different plus what was found is all of them.
        #[test]
        fn counts_add_up(indices in prop::collection::vec(0u64..12, 0..14)) {
            let records = expected(10);
            let messages: Vec<_> = indices.iter().enumerate().map(|(place, index)| Observed {
                place: place as u64, digest: Digest::from(*index) + 1000, repaired: false,
            }).collect();
            let findings = compare(&records, &messages);
            let count = |fault| findings.iter().filter(|finding| finding.fault == fault).count();
            let distinct: HashSet<_> = indices.iter().filter(|index| **index < 10).collect();
            prop_assert_eq!(10 - distinct.len(), count(Fault::Missing) + count(Fault::Different));
            prop_assert_eq!(
                messages.len(),
                distinct.len() + count(Fault::Doubled) + count(Fault::Different) + count(Fault::Extra)
            );
        }
    }
}
