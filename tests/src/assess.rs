//! Compares what was read of the sources with what was read of the target. Pure.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::checker::{Placement, Settings, Source};
use crate::expect::Record;
use crate::groups::{self, Form, Group, Lane, Seen};
use crate::oracle::Digest;
use crate::parity::{Expected, Fault, Finding, Observed, compare};
use crate::report::{Counts, Lanes, Parity};
use crate::source_reader::SourceRecords;
use crate::target_reader::{Message, TargetMessages};

/// Compares: `sources` in the order of the settings, `topics` in the order of `Settings::topics`.
pub(crate) fn assess(settings: &Settings, sources: &[SourceRecords], topics: &[TargetMessages]) -> Parity {
    let all = || sources.iter().flat_map(|source| source.partitions.values().flatten());
    let mut assessment = Assessment {
        settings,
        sources,
        too_large: sources.iter().flat_map(|source| &source.too_large_heads).copied().collect(),
        parity: Parity {
            tombstones: all().filter(|record| record.is_tombstone).count() as u64,
            allow_other_writers: settings.allow_other_writers,
            ..Parity::default()
        },
    };
    for (at, (name, _)) in settings.topics().into_iter().enumerate() {
        let messages = topics.get(at).cloned().unwrap_or_default();
        assessment.topic(at, &name, &messages);
    }
    assessment.parity
}

struct Assessment<'a> {
    settings: &'a Settings,
    sources: &'a [SourceRecords],
    /// The digests by which dead letters of records that are too large are known.
    too_large: HashSet<Digest>,
    parity: Parity,
}

/// Messages of the lanes of one topic, with the target partition that each stands in.
type Seens = BTreeMap<Lane, Vec<(u32, Seen)>>;

impl Assessment<'_> {
    fn topic(&mut self, topic: usize, name: &str, messages: &TargetMessages) {
        let is_dead_letters = topic == self.settings.routes.len() + 1;
        for (stranger, count) in &messages.strangers {
            let is_ours = stranger.starts_with("bridge/") && self.settings.allow_other_sources;
            let kept = if is_ours { &mut self.parity.unchecked } else { &mut self.parity.strangers };
            *kept.entry(stranger.clone()).or_default() += count;
        }
        let mut seens = self.by_lane(messages, is_dead_letters);
        if !is_dead_letters && self.settings.placement == Placement::BySource {
            self.take_misplaced(&mut seens, messages.partitions.max(1), name);
        }
        let mut lanes = Lanes::new();
        let (mut grouped, mut grouped_seen) = (Vec::new(), Vec::new());
        for (at, source) in self.settings.sources.iter().enumerate() {
            let is_alone = self.settings.dedupe.is_none();
            match source {
                Source::Kafka { .. } if is_alone => self.kafka(topic, name, at, &mut seens, &mut lanes),
                _ => grouped.push(at),
            }
        }
        for (_, seen) in seens {
            grouped_seen.extend(seen.into_iter().map(|(_, seen)| seen));
        }
        if !grouped.is_empty() {
            let counts = self.grouped(topic, name, &grouped, &grouped_seen);
            lanes.extend(counts);
        } else if !grouped_seen.is_empty() {
            let what = format!("{name}: lanes of partitions that the source does not have");
            *self.parity.strangers.entry(what).or_default() += grouped_seen.len() as u64;
        }
        self.parity.topics.push((name.to_owned(), lanes));
    }

    fn by_lane(&self, messages: &TargetMessages, is_dead_letters: bool) -> Seens {
        let digest = |message: &Message| match is_dead_letters {
            true if self.too_large.contains(&message.head_digest) => message.head_digest,
            true => message.body_digest,
            false => message.digest,
        };
        let mut seens = Seens::new();
        for (partition, messages) in &messages.messages {
            for (place, message) in messages.iter().enumerate() {
                let Some(lane) = message.lane else { continue };
                let ordered = match self.settings.sources.get(lane.0) {
                    Some(Source::Queue { ordered, .. }) => *ordered,
                    // Places in several partitions cannot be compared.
                    _ => self.settings.dedupe.is_none() || self.settings.placement == Placement::BySource,
                };
                let is_ordered = ordered && !message.repaired;
                let seen = Seen { lane, place: place as u64, digest: digest(message), is_ordered };
                seens.entry(lane).or_default().push((*partition, seen));
            }
        }
        seens
    }

    /// Takes out what stands in a partition of the target that is not its own. Only Kafka's partitions have one.
    fn take_misplaced(&mut self, seens: &mut Seens, width: u32, name: &str) {
        for (lane, seen) in seens.iter_mut() {
            if matches!(self.settings.sources.get(lane.0), Some(Source::Kafka { .. })) {
                let own = lane.1 as u32 % width;
                let before = seen.len();
                seen.retain(|(partition, _)| *partition == own);
                let misplaced = (before - seen.len()) as u64;
                if misplaced > 0 {
                    let what = format!("{name}: source partition {} outside of target partition {own}", lane.1);
                    *self.parity.strangers.entry(what).or_default() += misplaced;
                }
            }
        }
    }

    /// A Kafka topic alone: its partitions one by one, strictly in order.
    fn kafka(&mut self, topic: usize, name: &str, at: usize, seens: &mut Seens, lanes: &mut Lanes) {
        let source = self.settings.sources[at].name();
        for (partition, records) in &self.sources[at].partitions {
            let expected: Vec<Expected> = records
                .iter()
                .filter(|record| record.topic == topic)
                .map(|record| Expected { offset: record.place, digest: record.digest })
                .collect();
            let seen = seens.remove(&(at, *partition)).unwrap_or_default();
            let mut findings = match self.settings.placement {
                Placement::BySource => compare(&expected, &observed(seen.iter())),
                Placement::Anywhere => compare_anywhere(&expected, &seen),
            };
            if self.settings.forgets {
                findings.retain(|finding| finding.fault != Fault::Extra);
            }
            self.name(&findings, &format!("{name}, {source}/{partition}"));
            let repaired = seen.iter().filter(|(_, seen)| !seen.is_ordered).count();
            let mut counts = counts(expected.len(), seen.len(), &findings);
            counts.repaired = repaired as u64;
            lanes.insert((source.clone(), *partition), counts);
        }
    }

    /// Queues, and sources whose events are the same: every event as often as it must.
    fn grouped(&mut self, topic: usize, name: &str, sources: &[usize], seen: &[Seen]) -> Lanes {
        let groups = self.groups(topic, sources);
        let findings = groups::compare(&groups, seen, self.settings.copies_in_doubt);
        let names: Vec<String> = sources.iter().map(|at| self.settings.sources[*at].name()).collect();
        for (lane, finding) in &findings {
            let source = self.settings.sources.get(lane.0).map(Source::name).unwrap_or_default();
            self.name(&[*finding], &format!("{name}, {source}/{}", lane.1));
        }
        let findings: Vec<Finding> = findings.into_iter().map(|(_, finding)| finding).collect();
        let expected: u64 = groups.iter().map(|group| group.least).sum();
        let counts = counts(expected as usize, seen.len(), &findings);
        Lanes::from([((names.join(" and "), 0), counts)])
    }

    fn groups(&self, topic: usize, sources: &[usize]) -> Vec<Group> {
        // What has no identity over all sources is the same only where it looks the same on the same lane.
        #[derive(PartialEq, Eq, Hash)]
        enum Same {
            Event(u64),
            Bytes(Lane, Digest),
        }
        let mut places: HashMap<Same, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for at in sources {
            for (partition, records) in &self.sources[*at].partitions {
                for record in records.iter().filter(|record| record.topic == topic) {
                    let lane = (*at, *partition);
                    let same = record.identity.map_or(Same::Bytes(lane, record.digest), Same::Event);
                    let is_event = matches!(same, Same::Event(_));
                    let index = *places.entry(same).or_insert_with(|| {
                        groups.push(Group::default());
                        groups.len() - 1
                    });
                    add(&mut groups[index], lane, record, is_event);
                }
            }
        }
        groups
    }

    fn name(&mut self, findings: &[Finding], what: &str) {
        let left = self.settings.named.saturating_sub(self.parity.named.len());
        self.parity.named.extend(findings.iter().take(left).map(|finding| format!("{what}: {finding}")));
    }
}

fn observed<'s>(seen: impl Iterator<Item = &'s (u32, Seen)>) -> Vec<Observed> {
    seen.map(|(_, seen)| Observed { place: seen.place, digest: seen.digest, repaired: !seen.is_ordered }).collect()
}

/// Each record is expected in the partition where it is seen, and each partition by itself in the source's order. Of what
/// is seen in two the second is too much; what is seen in none is missing in the first.
fn compare_anywhere(expected: &[Expected], seen: &[(u32, Seen)]) -> Vec<Finding> {
    let mut places: HashMap<Digest, VecDeque<u32>> = HashMap::new();
    for (partition, seen) in seen {
        places.entry(seen.digest).or_default().push_back(*partition);
    }
    let mut lanes: BTreeMap<u32, Vec<Expected>> = seen.iter().map(|(partition, _)| (*partition, Vec::new())).collect();
    for record in expected {
        let partition = places.get_mut(&record.digest).and_then(VecDeque::pop_front).unwrap_or_default();
        lanes.entry(partition).or_default().push(*record);
    }
    let compare_one = |(partition, expected): (u32, Vec<Expected>)| {
        compare(&expected, &observed(seen.iter().filter(|(other, _)| *other == partition)))
    };
    lanes.into_iter().flat_map(compare_one).collect()
}

/// One more record of a group. An event arrives once however often it is in the sources; bytes as often as they are.
fn add(group: &mut Group, lane: Lane, record: &Record, is_event: bool) {
    let certain = u64::from(record.is_certain);
    if is_event {
        (group.least, group.most) = (group.least.max(certain), 1);
    } else {
        (group.least, group.most) = (group.least + certain, group.most + 1);
    }
    group.forms.push(Form { lane, digest: record.digest, place: record.place });
}

fn counts(expected: usize, observed: usize, findings: &[Finding]) -> Counts {
    let mut counts = Counts { expected: expected as u64, observed: observed as u64, ..Counts::default() };
    findings.iter().for_each(|finding| counts.count(finding.fault));
    counts
}

#[cfg(test)]
mod tests;
