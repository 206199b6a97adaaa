//! Of a stream with `dedupe.key`, whose events may come by several sources: which of them are in the target already. The keys
//! of dead letters do not count in a running bridge, so that the other source's record was published where it could be.

use std::collections::{HashMap, HashSet};

use bridge_common::pipeline::again::IDEMPOTENCY_KEY;
use bridge_common::pulsar::{Client, ReaderStart};

use super::read::{Pass, messages};
use crate::terminal::Progress;

/// Where events are that were looked for.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// By key: the producer's name and the topic.
    there: HashMap<String, (String, String)>,
    /// What this run publishes itself.
    taken: HashSet<String>,
}

impl Twins {
    /// Looks through topics (each with its number of partitions) for events with these keys.
    pub(super) async fn look(
        client: &Client,
        topics: &[(String, u32)],
        wanted: &HashSet<String>,
    ) -> Result<Self, String> {
        let mut twins = Self::default();
        let mut progress = Progress::new("looking for the same events in the target:");
        let mut count = 0;
        for topic in topics.iter().flat_map(|(topic, partitions)| partition_names(topic, *partitions)) {
            let mut pass = Pass::begin(client, &topic, ReaderStart::Earliest).await?;
            while let Some(entry) = pass.next().await? {
                messages(&entry, |message| {
                    count += 1;
                    let key = message.properties().find(|(name, _)| *name == IDEMPOTENCY_KEY).map(|(_, key)| key);
                    if let Some(key) = key.filter(|key| wanted.contains(*key)) {
                        twins.there.insert(key.to_owned(), (entry.producer_name.clone(), topic.clone()));
                    }
                })?;
                progress.at(count, None);
            }
        }
        Ok(twins)
    }

    /// Where the event with this key is by another producer than this one, or will be; else it is this one's from now on.
    pub(super) fn of(&mut self, key: Option<&str>, own_name: &str) -> Option<String> {
        let key = key?;
        match self.there.get(key) {
            Some((name, topic)) if name != own_name => return Some(topic.clone()),
            _ => {}
        }
        (!self.taken.insert(key.to_owned())).then(|| "another dead letter of the same event".to_owned())
    }
}

fn partition_names(topic: &str, partitions: u32) -> Vec<String> {
    match partitions {
        0 => vec![topic.to_owned()],
        _ => (0..partitions).map(|partition| format!("{topic}-partition-{partition}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_event_one_is_published() {
        let mut twins = Twins::default();
        twins.there.insert("k1".into(), ("bridge/s/c/queue/0".into(), "t".into()));
        twins.there.insert("k2".into(), ("own".into(), "t".into()));
        assert_eq!(twins.of(Some("k1"), "own"), Some("t".to_owned()));
        assert_eq!(twins.of(Some("k2"), "own"), None, "its own earlier attempt is no twin");
        assert_eq!(twins.of(Some("k3"), "own"), None);
        assert!(twins.of(Some("k3"), "other").is_some());
        assert_eq!((twins.of(None, "a"), twins.of(None, "b")), (None, None), "without a key nothing is the same");
    }
}
