//! The comparing core for records that have no place of their own in the target: what was published to queues, and events
//! that come by several sources but must arrive once. Pure, so that planted faults show that it finds them.

use std::collections::{BTreeMap, HashMap};

use crate::oracle::Digest;
use crate::parity::{Fault, Finding, longest_rising};

/// The lane of a message: the source by its place in the settings, and the Kafka partition (0 for queues).
pub(crate) type Lane = (usize, i32);

/// One of the ways in which an event may arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// The lane that it would come by.
    pub(crate) lane: Lane,
    /// The digest of what would arrive.
    pub(crate) digest: Digest,
    /// Its place in the source: a Kafka offset, or a count of what was published.
    pub(crate) place: u64,
}

/// An event, or several that nobody can tell apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// How often it must arrive at least.
    pub(crate) least: u64,
    /// How often it may arrive.
    pub(crate) most: u64,
    /// The ways in which it may.
    pub(crate) forms: Vec<Form>,
}

/// A message that the target holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// The lane that wrote it.
    pub(crate) lane: Lane,
    /// Where it stands in the target.
    pub(crate) place: u64,
    /// The digest of what arrived.
    pub(crate) digest: Digest,
    /// Whether its order is claimed: not of repairs, nor of queues.
    pub(crate) is_ordered: bool,
}

/// What is wrong, and on which lane.
pub(crate) type Findings = Vec<(Lane, Finding)>;

/// Compares: every event as often as it must and may, by one of its forms, and nothing else; lanes in order. So many
/// copies of events of which others have arrived may be missing.
pub(crate) fn compare(groups: &[Group], seen: &[Seen], copies_in_doubt: usize) -> Findings {
    let mut findings = Findings::new();
    let mut copies_in_doubt = copies_in_doubt;
    let mut by_form: HashMap<(Lane, Digest), usize> = HashMap::new();
    for (index, group) in groups.iter().enumerate() {
        for form in &group.forms {
            by_form.insert((form.lane, form.digest), index);
        }
    }
    let mut found = vec![0; groups.len()];
    for message in seen {
        let finding = |fault, offset| (message.lane, Finding { fault, offset, place: Some(message.place) });
        let Some(index) = by_form.get(&(message.lane, message.digest)) else {
            findings.push(finding(Fault::Extra, None));
            continue;
        };
        found[*index] += 1;
        let group = &groups[*index];
        if found[*index] > group.most {
            findings.push(finding(Fault::Doubled, group.forms.first().map(|form| form.place)));
        }
    }
    for (group, found) in groups.iter().zip(found) {
        for nth in found..group.least {
            if nth > 0 && copies_in_doubt > 0 {
                copies_in_doubt -= 1;
                continue;
            }
            let lane = group.forms.first().map_or((0, 0), |form| form.lane);
            let offset = group.forms.first().map(|form| form.place);
            findings.push((lane, Finding { fault: Fault::Missing, offset, place: None }));
        }
    }
    findings.extend(reordered(groups, seen));
    findings
}

/// Names the fewest messages of each lane without which the rest would be in the source's order.
fn reordered(groups: &[Group], seen: &[Seen]) -> Findings {
    // Forms that are alike have no order among each other.
    let mut places: HashMap<(Lane, Digest), Option<u64>> = HashMap::new();
    for form in groups.iter().flat_map(|group| &group.forms) {
        places.entry((form.lane, form.digest)).and_modify(|place| *place = None).or_insert(Some(form.place));
    }
    let mut lanes: BTreeMap<Lane, Vec<(usize, usize)>> = BTreeMap::new();
    for (at, message) in seen.iter().enumerate().filter(|(_, message)| message.is_ordered) {
        // Taken out, so that what comes again is doubled and not reordered too.
        if let Some(Some(place)) = places.remove(&(message.lane, message.digest)) {
            lanes.entry(message.lane).or_default().push((at, place as usize));
        }
    }
    let mut findings = Findings::new();
    for (lane, sequence) in lanes {
        let kept = longest_rising(&sequence);
        for (at, place) in sequence.into_iter().filter(|(at, _)| !kept.contains(at)) {
            let (fault, offset) = (Fault::Reordered, Some(place as u64));
            findings.push((lane, Finding { fault, offset, place: Some(seen[at].place) }));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: Lane = (1, 0);

    /// Sixty events: twenty by Kafka, twenty by a queue, twenty by both.
    fn groups() -> Vec<Group> {
        let kafka = |n: u64| Form { lane: (0, (n % 2) as i32), digest: 1000 + Digest::from(n), place: n };
        let queue = |n: u64| Form { lane: QUEUE, digest: 2000 + Digest::from(n), place: n };
        (0..60)
            .map(|n| {
                let forms = match n % 3 {
                    0 => vec![kafka(n)],
                    1 => vec![queue(n)],
                    _ => vec![kafka(n), queue(n)],
                };
                Group { least: 1, most: 1, forms }
            })
            .collect()
    }

    /// Each event by one of its forms.
    fn seen(groups: &[Group]) -> Vec<Seen> {
        let one = |(at, group): (usize, &Group)| {
            let form = group.forms[at % group.forms.len()];
            Seen { lane: form.lane, place: at as u64, digest: form.digest, is_ordered: form.lane != QUEUE }
        };
        groups.iter().enumerate().map(one).collect()
    }

    #[test]
    fn copies_in_doubt_are_not_missed_but_the_last_of_an_event_is() {
        let mut groups = groups();
        (groups[1].least, groups[1].most) = (3, 3);
        let mut seen = seen(&groups);
        let missing = |seen: &[Seen], in_doubt| compare(&groups, seen, in_doubt).len();
        assert_eq!([0, 1, 2, 9].map(|in_doubt| missing(&seen, in_doubt)), [2, 1, 0, 0]);
        seen.remove(1);
        assert_eq!([0, 1, 2, 9].map(|in_doubt| missing(&seen, in_doubt)), [3, 2, 1, 1]);
    }

    fn faults(groups: &[Group], seen: &[Seen]) -> Vec<Fault> {
        compare(groups, seen, 0).iter().map(|(_, finding)| finding.fault).collect()
    }

    #[test]
    fn each_event_once_by_either_way_is_parity() {
        let groups = groups();
        assert_eq!(faults(&groups, &seen(&groups)), []);
        assert_eq!(faults(&[], &[]), []);
    }

    #[test]
    fn planted_faults_are_named() {
        type Plant = fn(&mut Vec<Seen>);
        let plants: [(Fault, Plant); 8] = [
            (Fault::Missing, |seen| {
                seen.remove(30);
            }),
            (Fault::Missing, |seen| {
                seen.remove(31);
            }),
            (Fault::Doubled, |seen| seen.push(seen[17])),
            // The twin by the other way, which alone would be right.
            (Fault::Doubled, |seen| {
                let other = Form { lane: QUEUE, digest: 2000 + 2, place: 2 };
                assert_ne!(seen[2].lane, other.lane);
                seen.push(Seen { lane: other.lane, digest: other.digest, ..seen[2] });
            }),
            (Fault::Extra, |seen| seen.push(Seen { digest: 7, ..seen[0] })),
            // The right content by a lane that never had it.
            (Fault::Extra, |seen| seen.push(Seen { lane: (0, 1), ..seen[0] })),
            (Fault::Reordered, |seen| seen.swap(0, 6)),
            (Fault::Extra, |seen| seen[4].digest = 5),
        ];
        for (fault, plant) in plants {
            let groups = groups();
            let mut messages = seen(&groups);
            plant(&mut messages);
            let faults = faults(&groups, &messages);
            assert!(faults.contains(&fault), "{fault:?} is not among {faults:?}");
        }
    }

    #[test]
    fn a_queue_claims_no_order_and_an_unanswered_publish_no_arrival() {
        let mut groups = groups();
        let mut messages = seen(&groups);
        messages.swap(1, 4);
        assert_eq!(faults(&groups, &messages), []);
        let lost = messages.remove(1);
        assert_eq!(faults(&groups, &messages), [Fault::Missing]);
        let at = groups.iter().position(|group| group.forms[0].digest == lost.digest).unwrap();
        groups[at].least = 0;
        assert_eq!(faults(&groups, &messages), []);
        messages.push(lost);
        assert_eq!(faults(&groups, &messages), []);
        messages.push(lost);
        assert_eq!(faults(&groups, &messages), [Fault::Doubled]);
    }

    #[test]
    fn what_was_published_twice_must_arrive_twice() {
        let twice = Form { lane: QUEUE, digest: 9, place: 1 };
        let groups = [Group { least: 2, most: 2, forms: vec![twice, Form { place: 2, ..twice }] }];
        let message = Seen { lane: QUEUE, place: 0, digest: 9, is_ordered: true };
        assert_eq!(faults(&groups, &[message]), [Fault::Missing]);
        assert_eq!(faults(&groups, &[message; 2]), []);
        assert_eq!(faults(&groups, &[message; 3]), [Fault::Doubled]);
    }
}
