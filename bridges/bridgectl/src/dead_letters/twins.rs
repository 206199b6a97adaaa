//! Of a stream with `dedupe.key`, whose events may come by several sources: which of them are in the target already. The keys
//! of dead letters do not count in a running bridge, so that the other source's record was published where it could be.

use std::collections::{HashMap, HashSet};

use bridge_common::pipeline::IDEMPOTENCY_KEY;
use bridge_common::pulsar::{Client, ReaderStart};
use bridge_common::recall::hash_key;

use crate::terminal::Progress;
use crate::topic::{Pass, messages, partition_names};

/// Where events are that were looked for, by the hashes of their keys.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// The producer's name and the topic, by their places in the list of them.
    there: HashMap<u128, (usize, usize)>,
    places: Vec<String>,
    /// What this run publishes itself.
    taken: HashSet<u128>,
}

/// Producers' names that are told apart; messages of further ones count as of none that redrives.
const PLACES_MAX: usize = 100_000;

impl Twins {
    /// Looks through topics (each with its number of partitions) for events whose keys have these hashes.
    pub(super) async fn look(
        client: &Client,
        topics: &[(String, u32)],
        wanted: &HashSet<u128>,
    ) -> Result<Self, String> {
        let mut twins = Self::default();
        let mut progress = Progress::new("looking for the same events in the target:");
        let mut count = 0;
        for topic in topics.iter().flat_map(|(topic, partitions)| partition_names(topic, *partitions)) {
            let place = twins.place(&topic);
            let mut pass = Pass::begin(client, &topic, ReaderStart::Earliest).await?;
            while let Some(entry) = pass.next().await? {
                messages(&entry, |message| {
                    count += 1;
                    let key = message.properties().find(|(name, _)| *name == IDEMPOTENCY_KEY).map(|(_, key)| key);
                    let hash = key.map(|key| hash_key(key.as_bytes())).filter(|hash| wanted.contains(hash));
                    if let Some(hash) = hash {
                        let name = twins.place(&entry.producer_name);
                        twins.there.insert(hash, (name, place));
                    }
                })?;
                progress.at(count, None);
            }
        }
        Ok(twins)
    }

    fn place(&mut self, name: &str) -> usize {
        match self.places.iter().rposition(|place| place == name) {
            Some(at) => at,
            None if self.places.len() < PLACES_MAX => {
                self.places.push(name.to_owned());
                self.places.len() - 1
            }
            None => usize::MAX,
        }
    }

    /// Where the event with this key is by another producer than this one, or will be; else it is this one's from now on.
    pub(super) fn of(&mut self, key: Option<&str>, own_name: &str) -> Option<String> {
        let hash = hash_key(key?.as_bytes());
        match self.there.get(&hash) {
            Some((name, topic)) if self.places.get(*name).is_none_or(|name| name != own_name) => {
                return self.places.get(*topic).cloned();
            }
            _ => {}
        }
        (!self.taken.insert(hash)).then(|| "another dead letter of the same event".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_event_one_is_published() {
        let mut twins = Twins::default();
        let mut there = |key: &str, name: &str| {
            let place = (twins.place(name), twins.place("t"));
            twins.there.insert(hash_key(key.as_bytes()), place);
        };
        there("k1", "bridge/s/c/queue/0");
        there("k2", "own");
        assert_eq!(twins.of(Some("k1"), "own"), Some("t".to_owned()));
        assert_eq!(twins.of(Some("k2"), "own"), None, "its own earlier attempt is no twin");
        assert_eq!(twins.of(Some("k3"), "own"), None);
        assert!(twins.of(Some("k3"), "other").is_some());
        assert_eq!((twins.of(None, "a"), twins.of(None, "b")), (None, None), "without a key nothing is the same");
    }
}
