use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { ahead: 64, kept: 10_000, named: 1_000 };

fn digest(content: u64) -> Digest {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&content.to_be_bytes());
    digest
}

/// Offsets have gaps, as after compaction and transaction markers.
fn offset(n: u64) -> u64 {
    n * 3 / 2
}

fn expected(n: u64) -> Expected {
    let place = if n.is_multiple_of(17) { Place::DeadLetters } else { Place::Topic(0) };
    Expected { offset: offset(n), place, digest: digest(n), key: 0 }
}

/// The message of a record; dead letters have a topic of their own. `entry` is where it stands.
fn observed(expected: &Expected, entry: u64) -> Observed {
    let topic = if expected.place == Place::DeadLetters { 1 } else { 0 };
    let at = At { topic, ledger: 1, entry, index: 0 };
    Observed { id: expected.offset, place: expected.place, digest: expected.digest, at, mark: Mark::Lane }
}

fn copy(count: u64) -> (Vec<Expected>, Vec<Observed>) {
    let source: Vec<Expected> = (0..count).map(expected).collect();
    let target = source.iter().zip(0..).map(|(expected, entry)| observed(expected, entry)).collect();
    (source, target)
}

/// Runs a comparison in which the sides come in by turns, as the bits of `turns` say, as far as the bounds let them.
fn compared(source: &[Expected], target: &[Observed], turns: u64) -> Comparison {
    let end = source.last().map_or(0, |last| last.offset + 1).max(1);
    let mut comparison = Comparison::new(0..end, end, BOUNDS);
    let (mut source, mut target, mut turn) = (source.iter(), target.iter(), 0u32);
    loop {
        let (may_source, may_target) = comparison.may_read();
        let wants_source = turns >> (turn % 64) & 1 == 0;
        turn += 1;
        let (left_source, left_target) = (source.len() > 0, target.len() > 0);
        if !left_source && !left_target {
            break;
        }
        // A reader that has nothing left does not hold the other up.
        let source_goes = left_source && (may_source || !left_target);
        assert!(source_goes || left_target && may_target, "neither side may go on");
        if source_goes && (wants_source || !left_target || !may_target) {
            comparison.expect(source.next().unwrap(), 0);
            if source.len() == 0 {
                comparison.pass(end);
            }
        } else {
            comparison.observe(target.next().unwrap());
        }
    }
    comparison.finish(false, |_| false);
    let counts = &comparison.counts;
    let told = counts.found + counts.dead_letters + counts.of(Fault::Different) + counts.of(Fault::Missing);
    assert_eq!(counts.source, told + counts.twins + counts.before_start + counts.not_compared);
    comparison
}

fn named(comparison: &Comparison) -> BTreeSet<(Fault, u64)> {
    comparison.findings.iter().map(|finding| (finding.fault, finding.offset)).collect()
}

#[test]
fn a_copy_is_a_copy_and_dead_letters_are_matched() {
    let (source, target) = copy(1000);
    let comparison = compared(&source, &target, 0x5555_5555_5555_5555);
    assert!(comparison.counts.is_parity(), "{:?}", comparison.findings);
    assert_eq!((comparison.counts.found, comparison.counts.dead_letters), (941, 59));
    assert_eq!(comparison.missing().count(), 0);
    let counted: u32 = comparison.heat.iter().flatten().sum();
    assert_eq!(counted, 0);
}

#[test]
fn what_lies_among_the_dead_letters_and_could_be_translated_now_is_no_fault_and_may_be_redriven() {
    let (source, mut target) = copy(40);
    target[20].place = Place::DeadLetters;
    target[21].place = Place::DeadLetters;
    let redriven = Observed { place: Place::Topic(0), mark: Mark::Redriven, ..target[20] };
    target.push(redriven);
    for turns in [0, u64::MAX, 0x0f0f_0f0f] {
        let counts = compared(&source, &target, turns).counts;
        assert!(counts.is_parity(), "{counts:?}");
        assert_eq!((counts.translatable, counts.redriven), (2, 1));
    }
    target.push(Observed { id: offset(5), ..redriven });
    assert_eq!(named(&compared(&source, &target, 0)), [(Fault::Doubled, offset(5))].into());
}

/// As after a roll-back of the contract: what was redriven under the newer one is once in the target, and once, settled, among
/// the dead letters.
#[test]
fn what_was_redriven_and_is_refused_by_the_present_contract_is_no_double() {
    let (source, mut target) = copy(100);
    let dead = *target.iter().find(|observed| observed.place == Place::DeadLetters).unwrap();
    let redriven = Observed { place: Place::Topic(0), mark: Mark::Redriven, digest: [7; 16], ..dead };
    target.push(redriven);
    for turns in [0, u64::MAX, 0x0f0f_0f0f] {
        let counts = compared(&source, &target, turns).counts;
        assert!(counts.is_parity(), "{counts:?}");
        assert_eq!((counts.translatable, counts.redriven, counts.redriven_refused), (0, 1, 1));
    }
    target.push(redriven);
    assert_eq!(named(&compared(&source, &target, 0)), [(Fault::Doubled, dead.id)].into(), "but twice it is");
}

#[test]
fn repaired_and_replayed_records_are_found_in_any_order() {
    let (source, mut target) = copy(100);
    let mut late = target.split_off(40);
    let rest = late.split_off(20);
    late.reverse();
    late.iter_mut().for_each(|observed| observed.mark = Mark::Repaired);
    late[3].mark = Mark::Replayed;
    target.extend(rest.into_iter().chain(late));
    let comparison = compared(&source, &target, 0x1234_5678_9abc_def0);
    assert!(comparison.counts.is_parity(), "{:?}", comparison.findings);
    assert_eq!(comparison.counts.repaired + comparison.counts.replayed, 19, "one of twenty is a dead letter");
}

#[test]
fn a_twin_of_another_source_and_a_late_start_are_no_faults() {
    let (mut source, target) = copy(30);
    source[10].key = 7;
    let without = |skipped: &[usize]| -> Vec<Observed> {
        target.iter().enumerate().filter(|(n, _)| !skipped.contains(n)).map(|(_, observed)| *observed).collect()
    };
    let run = |target: &[Observed], starts_late: bool| {
        let mut comparison = Comparison::new(0..offset(30), offset(30), BOUNDS);
        source.iter().for_each(|expected| comparison.expect(expected, 0));
        target.iter().for_each(|observed| comparison.observe(observed));
        comparison.finish(starts_late, |key| key == 7);
        comparison
    };
    let twin = run(&without(&[10]), false);
    assert!(twin.counts.is_parity() && twin.counts.twins == 1);
    assert_eq!(twin.missing().count(), 0, "nobody publishes it again");
    let late = run(&without(&[0, 1, 2, 20]), true);
    assert_eq!((late.counts.before_start, named(&late)), (3, [(Fault::Missing, offset(20))].into()));
    let nothing = run(&[], true).counts;
    assert_eq!((nothing.before_start, nothing.of(Fault::Missing)), (0, 29), "all but the twin");
}

#[test]
fn what_comes_too_late_is_missing_until_it_comes() {
    let (source, target) = copy(10);
    let mut comparison = Comparison::new(0..u64::MAX, u64::MAX, BOUNDS);
    source.iter().for_each(|expected| comparison.expect(expected, 1_000));
    target[..8].iter().for_each(|observed| comparison.observe(observed));
    comparison.overdue(999, |_| false);
    assert!(comparison.counts.is_parity() && comparison.unfound() == 2);
    comparison.overdue(1_000, |_| false);
    assert_eq!(named(&comparison), [(Fault::Missing, offset(8)), (Fault::Missing, offset(9))].into());
    comparison.overdue(2_000, |_| false);
    assert_eq!(comparison.counts.of(Fault::Missing), 2, "each is counted once");
    target[8..].iter().for_each(|observed| comparison.observe(observed));
    assert!(comparison.counts.is_parity());
    comparison.forget_below(offset(9));
    comparison.observe(&target[3]);
    assert!(comparison.counts.is_parity(), "what is forgotten is passed over");
}

#[test]
fn what_lies_behind_the_end_of_the_source_is_extra_and_what_came_since_is_not() {
    let (source, target) = copy(10);
    let end = offset(10);
    let mut comparison = Comparison::new(0..end, end, BOUNDS);
    source.iter().for_each(|expected| comparison.expect(expected, 0));
    target.iter().for_each(|observed| comparison.observe(observed));
    assert!(!comparison.asks_for_end());
    for id in [end, end + 1, end + 50] {
        comparison.observe(&Observed { id, ..target[9] });
    }
    assert!(comparison.asks_for_end());
    comparison.ends_at(end + 2);
    comparison.finish(false, |_| false);
    assert_eq!(named(&comparison), [(Fault::Extra, end + 50)].into());
}

#[test]
fn who_follows_tells_what_the_source_never_had_by_its_end() {
    let (source, target) = copy(10);
    let mut comparison = Comparison::new(0..u64::MAX, u64::MAX, BOUNDS);
    source.iter().for_each(|expected| comparison.expect(expected, 0));
    target.iter().for_each(|observed| comparison.observe(observed));
    let end = offset(10);
    [end, end + 7].into_iter().for_each(|id| comparison.observe(&Observed { id, ..target[9] }));
    assert_eq!(comparison.lowest_early(), Some(end));
    comparison.early_ends_at(end + 1);
    assert_eq!(named(&comparison), [(Fault::Extra, end + 7)].into());
    comparison.expect(&Expected { offset: end, ..source[9] }, 0);
    assert_eq!((comparison.counts.of(Fault::Extra), comparison.lowest_early()), (1, None));
}

#[test]
fn a_target_that_was_read_to_its_end_holds_the_source_up_no_more() {
    let (source, _) = copy(BOUNDS.ahead as u64 + 10);
    let mut comparison = Comparison::new(0..10_000, 10_000, BOUNDS);
    source[..BOUNDS.ahead].iter().for_each(|expected| comparison.expect(expected, 0));
    assert!(!comparison.may_read().0, "what the target has not shown yet is not to be too much");
    comparison.target_is_done();
    assert!(comparison.may_read().0);
}

/// Dead letters are few, and so read to the last before the lane is.
#[test]
fn a_target_that_is_ahead_somewhere_does_not_let_the_source_run_away() {
    let (source, target) = copy(10 * BOUNDS.ahead as u64);
    let mut comparison = Comparison::new(0..10_000_000, 10_000_000, BOUNDS);
    comparison.observe(&Observed { place: Place::DeadLetters, ..*target.last().unwrap() });
    source[..BOUNDS.ahead].iter().for_each(|expected| comparison.expect(expected, 0));
    assert_eq!(comparison.may_read(), (false, true));
    // Where the target is ahead by all that it may be, it is the source's turn, however much is missing.
    target[BOUNDS.ahead..2 * BOUNDS.ahead].iter().for_each(|observed| comparison.observe(observed));
    assert_eq!(comparison.may_read(), (true, false));
}

#[test]
fn a_copy_by_a_replay_to_another_topic_is_a_fault_and_stands_for_nothing() {
    let (source, mut target) = copy(10);
    let removed = target.remove(4);
    target.push(Observed { mark: Mark::Copied, ..removed });
    let faults = [(Fault::Missing, removed.id), (Fault::Doubled, removed.id)].into();
    assert_eq!(named(&compared(&source, &target, 0)), faults);
}

#[test]
fn faults_lie_in_the_picture_where_they_lie_in_the_range() {
    let (source, mut target) = copy(1000);
    target.remove(990);
    target[10].digest = digest(0);
    let comparison = compared(&source, &target, 0);
    assert_eq!(comparison.heat[1][Fault::Different as usize], 1);
    assert_eq!(comparison.heat[STRETCHES - 2][Fault::Missing as usize], 1);
}

proptest! {
    /// Deletions, doubles, swaps, alterations and messages of nothing: each is named, and nothing else.
    #[test]
    fn every_planted_fault_is_named_and_no_other(
        // Ten records apart, so that no two faults touch.
        plants in proptest::collection::vec((0..30u64, 0..5u8), 0..12),
        turns in any::<u64>(),
    ) {
        let (source, target) = copy(320);
        let mut planted: BTreeSet<(Fault, u64)> = BTreeSet::new();
        let mut taken = BTreeSet::new();
        let mut copy: Vec<Option<Observed>> = target.iter().map(|observed| Some(*observed)).collect();
        let mut extra = Vec::new();
        for (place, kind) in plants {
            // 4 and 5 behind a multiple of ten: never dead letters both, and a gap of offsets between some.
            let n = (place * 10 + 4) as usize;
            if !taken.insert(n) {
                continue;
            }
            let is_dead = |n: usize| source[n].place == Place::DeadLetters;
            match kind {
                0 => {
                    copy[n] = None;
                    planted.insert((Fault::Missing, source[n].offset));
                }
                1 => {
                    extra.push((n + 3, target[n]));
                    planted.insert((Fault::Doubled, source[n].offset));
                }
                2 if !is_dead(n) && !is_dead(n + 1) => {
                    copy.swap(n, n + 1);
                    planted.insert((Fault::Reordered, source[n].offset));
                }
                3 => {
                    copy[n].as_mut().unwrap().digest = digest(1_000_000);
                    planted.insert((Fault::Different, source[n].offset));
                }
                _ => {
                    // An offset that the source does not have.
                    let hole = (source[n].offset..).find(|id| source.iter().all(|other| other.offset != *id)).unwrap();
                    extra.push((n + 1, Observed { id: hole, mark: Mark::Repaired, ..target[n] }));
                    planted.insert((Fault::Extra, hole));
                }
            }
        }
        let mut all: Vec<Observed> = Vec::new();
        for (n, observed) in copy.iter().enumerate() {
            all.extend(extra.iter().filter(|(at, _)| *at == n).map(|(_, observed)| *observed));
            all.extend(observed);
        }
        // Each message has a place of its own.
        all.iter_mut().zip(0..).for_each(|(observed, entry)| observed.at.entry = entry);
        let comparison = compared(&source, &all, turns);
        prop_assert_eq!(named(&comparison), planted.clone());
        let counted: u64 = comparison.counts.faults.iter().sum();
        prop_assert_eq!(counted, planted.len() as u64);
        let missing: Vec<u64> = comparison.missing().flat_map(|(low, high)| low..=high).collect();
        let lost: Vec<u64> = planted.iter().filter(|(fault, _)| *fault == Fault::Missing).map(|(_, id)| *id).collect();
        prop_assert_eq!(missing, lost);
    }
}
