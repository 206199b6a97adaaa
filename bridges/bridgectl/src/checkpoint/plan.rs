//! What a change of checkpoints does, before anything is changed. Pure.

use std::collections::BTreeMap;

use bridge_common::checkpoint::{Listed, Stored};
use bridge_common::lane::{Checkpoint, Mark, Routing};

/// A partition's name, taken apart: `bridge/<stream>/<cluster>/<topic>/<partition>[/g<generation>]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// The topic or queue.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: u32,
    /// The generation, 0 where the name has none.
    pub(crate) generation: u32,
}

impl Name {
    /// Takes a name apart; `None` where it is none of a source partition.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts: Vec<&str> = name.strip_prefix("bridge/")?.split('/').collect();
        let generation = parts.last()?.strip_prefix('g').and_then(|text| text.parse().ok());
        if generation.is_some() {
            parts.pop();
        }
        let partition = parts.pop()?.parse().ok()?;
        // Stream and cluster stand before the topic.
        let topic = (*parts.get(2..)?.last()?).to_owned();
        Some(Self { topic, partition, generation: generation.unwrap_or(0) })
    }
}

/// The names that are meant, of those that have a checkpoint; a partition without one is named after its siblings.
pub(super) fn chosen(
    listed: &BTreeMap<String, Listed>,
    which: &super::Which,
    prefix: &str,
) -> Result<Vec<String>, String> {
    if let Some(name) = &which.name {
        let is_one = name.starts_with(prefix) && Name::parse(name).is_some();
        return match is_one {
            true => Ok(vec![name.clone()]),
            false => Err(format!("{name} is no source partition of this stream: its names begin with {prefix}")),
        };
    }
    let of_topic: Vec<(&String, Name)> = listed
        .keys()
        .filter_map(|name| Some((name, Name::parse(name)?)))
        .filter(|(_, parsed)| which.topic.as_ref().is_none_or(|topic| *topic == parsed.topic))
        .collect();
    let Some(partition) = which.partition else {
        let all: Vec<String> = of_topic.into_iter().map(|(name, _)| name.clone()).collect();
        return if all.is_empty() { Err("no partition has a checkpoint".to_owned()) } else { Ok(all) };
    };
    let found: Vec<&String> =
        of_topic.iter().filter(|(_, parsed)| parsed.partition == partition).map(|(name, _)| *name).collect();
    match (found.as_slice(), of_topic.first()) {
        ([name], _) => Ok(vec![(*name).clone()]),
        ([], Some((sibling, parsed))) if of_topic.iter().all(|(_, other)| other.topic == parsed.topic) => {
            Ok(vec![renumbered(sibling, parsed, partition)])
        }
        ([], _) => Err(format!("no partition {partition} has a checkpoint: give its --name, as /status shows it")),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            Err(format!("several are meant: {}; choose by --topic or --name", names.join(", ")))
        }
    }
}

fn renumbered(sibling: &str, parsed: &Name, partition: u32) -> String {
    let generation = if parsed.generation == 0 { String::new() } else { format!("/g{}", parsed.generation) };
    let tail = format!("/{}{generation}", parsed.partition);
    format!("{}/{partition}{generation}", sibling.strip_suffix(&tail).unwrap_or(sibling))
}

/// What becomes of one partition, in words and in numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The partition.
    pub(super) name: String,
    /// What is written; `None`: it is forgotten.
    pub(super) to: Option<Stored>,
    /// How many records are skipped.
    pub(super) skipped: u64,
    /// How many are taken as mirrored, though no checkpoint says so.
    pub(super) assumed: u64,
    /// What that means.
    pub(super) says: String,
}

/// What the source has of a partition: the first offset, and the one that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watermarks {
    pub(super) low: u64,
    pub(super) high: u64,
}

/// Sets a position. `source` is what the source has, where it can be asked. `routing` is the configuration's, for a partition without a checkpoint.
///
/// Invariant: everything of a lane at or above the position lies behind its mark. Going forward the marks stay; otherwise
/// reading back begins at the beginning, since nobody knows where the records lie.
pub(super) fn set(
    name: &str,
    before: Option<&Stored>,
    position: u64,
    source: Option<Watermarks>,
    routing: &Routing,
    siblings: u32,
) -> Result<Change, String> {
    let parsed = Name::parse(name).ok_or_else(|| format!("{name} is no source partition"))?;
    if let Some(Watermarks { high, .. }) = source.filter(|source| position > source.high) {
        return Err(format!("{name}: the source ends at {high}; behind that lies what nobody has seen yet"));
    }
    let Some(before) = before else {
        let marks = vec![Mark::Earliest; routing.lanes(parsed.partition).len()];
        let checkpoint = Checkpoint {
            version: Checkpoint::VERSION,
            position,
            routing: routing.clone(),
            marks,
            repairs: Vec::new(),
            reach_records: 0,
            former: Vec::new(),
        };
        let to = Stored { checkpoint, source_partitions: siblings.max(parsed.partition + 1), stamp: None };
        let assumed = position - source.map_or(0, |source| source.low.min(position));
        let says = format!(
            "has no checkpoint, and gets one at {position}: up to {assumed} records below {position} are taken as mirrored; those from \
             there on are looked up in the target from its beginning, and published where they are not there. Nothing is \
             doubled as long as the target still holds what was mirrored of them, under the present routing"
        );
        return Ok(Change { name: name.to_owned(), to: Some(to), skipped: 0, assumed, says });
    };
    if before.checkpoint.reach_records > 0 {
        return Err(format!(
            "{name} is a queue, which has no offsets: what it has not been told to forget it delivers again, and the bridge \
             recognises that by itself"
        ));
    }
    if before.checkpoint.version > Checkpoint::VERSION {
        return Err(format!("{name} has a checkpoint of version {}: use a newer bridgectl", before.checkpoint.version));
    }
    let mut to = before.clone();
    to.checkpoint.position = position;
    let from = before.checkpoint.position;
    let skipped = position.saturating_sub(from);
    let says = if skipped > 0 {
        // What it was recognised by may be gone from the source, with what is skipped.
        to.stamp = None;
        // Nothing was sent under a routing that was just announced, but nobody has looked yet.
        for mark in to.checkpoint.marks.iter_mut().filter(|mark| **mark == Mark::Unsent) {
            *mark = Mark::Earliest;
        }
        format!("{from} -> {position}: {} are SKIPPED: never published, unless they were before", range(from, position))
    } else {
        to.checkpoint.marks.iter_mut().for_each(|mark| *mark = Mark::Earliest);
        back(from, position)
    };
    Ok(Change { name: name.to_owned(), to: Some(to), skipped, assumed: 0, says })
}

/// Offsets from the first to below the last; not each of them needs to be a record's.
fn range(first: u64, end: u64) -> String {
    match end - first {
        1 => format!("1 record (offset {first})"),
        records => format!("up to {records} records ({first} to {})", end - 1),
    }
}

fn back(from: u64, position: u64) -> String {
    let again = match from - position {
        0 => format!("stays at {position}: what the target holds from there on"),
        _ => format!("{from} -> {position}: {}", range(position, from)),
    };
    format!(
        "{again} will be looked up in the target again, from its beginning: what is there is skipped, what is not is published \
         (as a repair where later ones were). Nothing is doubled as long as the target still holds what was mirrored of them, \
         under the present routing"
    )
}

/// Forgets a partition.
pub(super) fn forget(name: &str, before: Option<&Stored>) -> Change {
    let was = before
        .map_or_else(|| "has no checkpoint".to_owned(), |before| format!("was at {}", before.checkpoint.position));
    let says = format!(
        "{was}, and is forgotten: a bridge that opens it starts it as a new one, as `start` says, and stops where the target \
         still knows its name or holds its messages"
    );
    Change { name: name.to_owned(), to: None, skipped: 0, assumed: 0, says }
}
