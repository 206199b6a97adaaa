//! Of a stream with `dedupe.key`, whose events may come by several sources: which of them are in the target already. The keys
//! of dead letters do not count in a running bridge, so that the other source's record was published where it could be.
//!
//! The rule is the bridge's own: a key counts for `dedupe.window_seconds` from when its record was stored, and what comes later
//! is another record. A dead letter had its turn when it was written, whenever it is redriven.

use std::collections::{HashMap, HashSet};

use bridge_common::pipeline::IDEMPOTENCY_KEY;
use bridge_common::pulsar::{Client, ReaderStart};
use bridge_common::recall::hash_key;
use bridge_common::record::Offset;

use super::letter::Letter;
use crate::terminal::Progress;
use crate::topic::{Pass, messages, partition_names};

/// Where events are that were looked for, by the hashes of their keys.
#[derive(Debug, Default)]
pub(super) struct Twins {
    window_ms: u64,
    there: HashMap<u128, Vec<Seen>>,
    /// Producers' names, and topics: what was seen has their places here.
    names: Vec<String>,
    topics: Vec<String>,
    /// What this run publishes itself: when each became a dead letter.
    taken: HashMap<u128, Vec<u64>>,
}

/// A message of the target.
#[derive(Debug, Clone, Copy)]
struct Seen {
    name: usize,
    topic: usize,
    offset: Offset,
    when: When,
}

/// When its record had its turn.
#[derive(Debug, Clone, Copy)]
enum When {
    Published(u64),
    /// It was redriven or repaired, long after: only the record's own stamp, where it has one, is near to its turn.
    Stamped(Option<u64>),
}

/// Producers' names that are told apart; messages of further ones count as of none that redrives.
const NAMES_MAX: usize = 100_000;

impl Twins {
    /// Nothing was looked for yet.
    pub(super) fn new(window_seconds: u32) -> Self {
        Self { window_ms: u64::from(window_seconds) * 1000, ..Self::default() }
    }

    /// Looks through topics (each with its number of partitions) for events whose keys have these hashes.
    pub(super) async fn look(
        mut self,
        client: &Client,
        topics: &[(String, u32)],
        wanted: &HashSet<u128>,
    ) -> Result<Self, String> {
        let mut progress = Progress::new("looking for the same events in the target:");
        let mut count = 0;
        for topic in topics.iter().flat_map(|(topic, partitions)| partition_names(topic, *partitions)) {
            let mut pass = Pass::begin(client, &topic, ReaderStart::Earliest).await?;
            self.topics.push(topic);
            while let Some(entry) = pass.next().await? {
                messages(&entry, |message| {
                    count += 1;
                    let key = message.properties().find(|(name, _)| *name == IDEMPOTENCY_KEY).map(|(_, key)| key);
                    let hash = key.map(|key| hash_key(key.as_bytes())).filter(|hash| wanted.contains(hash));
                    if let Some(hash) = hash {
                        let when = When::of(&entry.producer_name, entry.publish_time_ms, message.event_time_ms);
                        self.see(hash, &entry.producer_name, message.sequence_id, when);
                    }
                })?;
                progress.at(count, None);
            }
        }
        Ok(self)
    }

    /// A message in the topic that was named last.
    fn see(&mut self, hash: u128, name: &str, offset: Offset, when: When) {
        let name = match self.names.iter().rposition(|known| known == name) {
            Some(at) => at,
            None if self.names.len() < NAMES_MAX => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
            None => usize::MAX,
        };
        let topic = self.topics.len().saturating_sub(1);
        self.there.entry(hash).or_default().push(Seen { name, topic, offset, when });
    }

    /// Where the event with this key is by another record than this one, or will be; else it is this one's from now on.
    pub(super) fn of(&mut self, key: Option<&str>, letter: &Letter) -> Option<String> {
        let hash = hash_key(key?.as_bytes());
        let own_name = letter.redrive_name();
        let there = self.there.get(&hash).and_then(|seen| seen.iter().find(|one| self.is_twin(one, letter, &own_name)));
        if let Some(twin) = there {
            return Some(self.topics.get(twin.topic).cloned().unwrap_or_default());
        }
        let taken = self.taken.entry(hash).or_default();
        if taken.iter().any(|written_ms| written_ms.abs_diff(letter.written_ms) <= self.window_ms) {
            return Some("another dead letter of the same event".to_owned());
        }
        taken.push(letter.written_ms);
        None
    }

    fn is_twin(&self, seen: &Seen, letter: &Letter, own_name: &str) -> bool {
        let name = self.names.get(seen.name).map(String::as_str).unwrap_or_default();
        if name == own_name {
            // An earlier attempt to redrive it.
            return false;
        }
        // The record itself, read once more after the contract was corrected.
        let is_itself = seen.offset == letter.offset && lane_of(name) == letter.name;
        let is_near = |a: u64, b: u64| a.abs_diff(b) <= self.window_ms;
        is_itself
            || match (seen.when, letter.timestamp_ms) {
                (When::Published(at_ms), _) => is_near(at_ms, letter.written_ms),
                (When::Stamped(Some(stamp_ms)), Some(own_ms)) => is_near(stamp_ms, own_ms),
                // Nothing tells them apart: once is never too often.
                (When::Stamped(_), _) => true,
            }
    }
}

impl When {
    fn of(producer_name: &str, published_ms: u64, stamp_ms: Option<u64>) -> Self {
        match lane_of(producer_name) == producer_name {
            true => Self::Published(published_ms),
            false => Self::Stamped(stamp_ms),
        }
    }
}

/// The partition's name in that of a lane, a repair or a redrive.
fn lane_of(producer_name: &str) -> &str {
    let cut = producer_name.find("/repair/").or_else(|| producer_name.find("/redrive/"));
    &producer_name[..cut.unwrap_or(producer_name.len())]
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;

    const OTHER: &str = "bridge/demo/c1/queue/0";

    /// With messages of one key in the topic `t`: whose, its offset, when it was published, and its stamp.
    fn twins(there: &[(&str, Offset, u64, Option<u64>)]) -> Twins {
        let mut twins = Twins::new(600);
        twins.topics.push("t".to_owned());
        for (name, offset, published_ms, stamp_ms) in there {
            twins.see(hash_key(b"k"), name, *offset, When::of(name, *published_ms, *stamp_ms));
        }
        twins
    }

    #[test]
    fn of_one_event_one_is_published() {
        let (one, mut later) = (letter(3, 41), letter(4, 41));
        let own = one.redrive_name();
        let published = |name: &str| twins(&[(name, 7, one.written_ms + 1, None)]).of(Some("k"), &one);
        assert_eq!(published(OTHER), Some("t".to_owned()));
        assert_eq!(published(&own), None, "its own earlier attempt is no twin");
        let mut none = twins(&[]);
        assert_eq!(none.of(Some("k"), &one), None);
        assert!(none.of(Some("k"), &later).is_some(), "another dead letter of this run");
        later.written_ms += 600_001;
        assert_eq!(none.of(Some("k"), &later), None);
        assert_eq!((none.of(None, &one), none.of(None, &one)), (None, None), "without a key nothing is the same");
    }

    #[test]
    fn twins_that_are_further_apart_than_the_window_are_two_records() {
        let one = letter(3, 41);
        let is_twin = |name: &str, published_ms| twins(&[(name, 7, published_ms, None)]).of(Some("k"), &one).is_some();
        for name in [OTHER, one.name.as_str()] {
            assert!(is_twin(name, one.written_ms + 600_000) && is_twin(name, one.written_ms - 600_000), "{name}");
            assert!(!is_twin(name, one.written_ms + 600_001) && !is_twin(name, one.written_ms - 600_001), "{name}");
        }
        let both = [(OTHER, 7, 0, None), (OTHER, 8, one.written_ms, None)];
        assert!(twins(&both).of(Some("k"), &one).is_some(), "a far one hides no near one");
    }

    #[test]
    fn the_record_itself_is_a_twin_whenever_it_was_published() {
        let one = letter(3, 41);
        let long_after = one.written_ms + 86_400_000;
        assert!(twins(&[(&one.name, 41, long_after, None)]).of(Some("k"), &one).is_some());
        assert!(twins(&[(&one.name, 42, long_after, None)]).of(Some("k"), &one).is_none());
    }

    #[test]
    fn what_was_redriven_or_repaired_is_known_by_its_stamp() {
        let one = letter(3, 41);
        let stamp = one.timestamp_ms.unwrap();
        for name in [format!("{OTHER}/redrive/7"), format!("{OTHER}/repair/1")] {
            let is_twin = |stamp_ms| twins(&[(&name, 7, 0, stamp_ms)]).of(Some("k"), &one).is_some();
            assert!(is_twin(Some(stamp + 600_000)) && !is_twin(Some(stamp + 600_001)), "{name}");
            assert!(is_twin(None), "{name}");
        }
    }
}
