//! Which partitions came and went, for the log: a rebalance moves many at once, and is one line.

use std::collections::BTreeMap;

use super::Bridge;
use crate::logging::events;
use crate::record::SourcePartition;

/// By source and topic.
type Partitions = BTreeMap<(String, String), Vec<u32>>;

/// What moved and was not told yet.
#[derive(Debug, Default)]
pub(super) struct Moves {
    came: Partitions,
    went: Partitions,
}

impl Moves {
    pub(super) fn assigned(&mut self, source: &str, of: &SourcePartition) {
        self.came.entry((source.to_owned(), of.topic.clone())).or_default().push(of.partition);
    }

    pub(super) fn revoked(&mut self, source: &str, of: &SourcePartition) {
        self.went.entry((source.to_owned(), of.topic.clone())).or_default().push(of.partition);
    }
}

impl Bridge {
    /// Tells what has moved since the last time.
    pub(super) fn tell_moves(&mut self) {
        let Moves { came, went } = std::mem::take(&mut self.moves);
        for ((source, topic), partitions) in went {
            let (event, count, partitions) = (events::PARTITIONS_REVOKED, partitions.len(), ranges(partitions));
            tracing::info!(event, source, topic, partitions, count, "others have them now");
        }
        for ((source, topic), partitions) in came {
            let (event, count, partitions) = (events::PARTITIONS_ASSIGNED, partitions.len(), ranges(partitions));
            tracing::info!(event, source, topic, partitions, count, "they are opened");
        }
    }
}

/// `0-3,7`
fn ranges(mut numbers: Vec<u32>) -> String {
    numbers.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last == number || *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let texts = ranges.into_iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn neighbours_are_told_together() {
        assert_eq!(ranges(vec![3, 0, 1, 7, 2]), "0-3,7");
        assert_eq!(ranges(vec![5]), "5");
        assert_eq!(ranges(Vec::new()), "");
    }
}
