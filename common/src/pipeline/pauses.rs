//! What operators have paused: the whole bridge, or single partitions of it. Pure. It holds until the next start, also for
//! partitions that another instance has now and that come here later.

use std::collections::BTreeMap;

use crate::http::Which;

/// How many partitions are remembered one by one; no source has more.
const SINGLE_MAX: usize = 20_000;

/// What is paused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pauses {
    all: bool,
    /// Partitions that were told something of their own since the whole bridge was: by number, then by topic, where that
    /// was said. What names the topic wins.
    single: BTreeMap<(u32, Option<String>), bool>,
}

impl Pauses {
    /// As the configuration says.
    pub(super) fn new(all: bool) -> Self {
        Self { all, single: BTreeMap::new() }
    }

    /// Whether the bridge as a whole is paused.
    pub(super) fn is_all(&self) -> bool {
        self.all
    }

    /// An operator's order. One for the whole bridge ends those for single partitions.
    pub(super) fn set(&mut self, which: &Which, paused: bool) {
        if which.is_all() {
            *self = Self::new(paused);
            return;
        }
        for partition in &which.partitions {
            if which.topic.is_none() {
                self.single.retain(|(number, _), _| number != partition);
            }
            if self.single.len() < SINGLE_MAX {
                self.single.insert((*partition, which.topic.clone()), paused);
            }
        }
    }

    /// Whether a partition is paused.
    pub(super) fn has(&self, topic: &str, partition: u32) -> bool {
        let of_topic = self.single.get(&(partition, Some(topic.to_owned())));
        of_topic.or_else(|| self.single.get(&(partition, None))).copied().unwrap_or(self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(topic: Option<&str>, partitions: &[u32]) -> Which {
        Which { topic: topic.map(str::to_owned), partitions: partitions.to_vec() }
    }

    #[test]
    fn single_partitions_are_paused_and_resumed_beside_the_whole() {
        let mut pauses = Pauses::new(false);
        pauses.set(&which(None, &[3]), true);
        assert!(pauses.has("a", 3) && !pauses.has("a", 4) && !pauses.is_all());
        pauses.set(&which(Some("a"), &[3]), false);
        assert!(!pauses.has("a", 3) && pauses.has("b", 3));
        pauses.set(&which(None, &[3]), true);
        assert!(pauses.has("a", 3), "the newest order counts");
        pauses.set(&which(None, &[]), true);
        pauses.set(&which(None, &[4]), false);
        assert!(pauses.is_all() && pauses.has("a", 3) && !pauses.has("a", 4));
        pauses.set(&which(None, &[]), false);
        assert_eq!(pauses, Pauses::new(false));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut pauses = Pauses::new(false);
        for partition in 0..30_000 {
            pauses.set(&which(None, &[partition]), true);
        }
        assert_eq!(pauses.single.len(), SINGLE_MAX);
    }
}
