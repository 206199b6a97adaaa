//! What the target holds, by what identifies the events: for sources that cannot be read a second time, and for events that
//! several sources bring.

use std::collections::HashMap;

use super::desk::Desk;
use super::facts::At;

/// Keys that are remembered: about 36 MB, and half as much again while the table grows for the last time.
pub(super) const KEYS_MAX: usize = 1_800_000;

/// Of a key's hash, enough that among all that are remembered no two are taken for one.
type Short = [u32; 3];

/// Messages of one source that cannot be read twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) dead_letters: u64,
    pub(crate) without_key: u64,
    /// Messages whose key and content had come before.
    pub(crate) doubled: u64,
}

/// A message of a key that had come before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Double {
    /// The place of its source among those that cannot be read twice; `None`: by `dedupe.key`, of any source.
    pub(crate) source: Option<usize>,
    pub(crate) sequence_id: u64,
    pub(crate) at: At,
}

/// One message with a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed {
    pub(crate) source: Option<usize>,
    /// Of the key, or of key and content where a publisher may use a key twice.
    pub(crate) hash: u128,
    pub(crate) published_ms: u64,
    pub(crate) sequence_id: u64,
    pub(crate) at: At,
}

/// What was counted by the keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) is_full: bool,
    pub(crate) tallies: Vec<Tally>,
    pub(crate) doubles: Vec<Double>,
    pub(crate) doubled: u64,
}

/// The keys, and what was counted by them.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// When a key was last seen, in seconds.
    seen: HashMap<Short, u32>,
    /// Twins that are further apart are two events.
    window_seconds: Option<u32>,
    pub(crate) found: Found,
}

/// Doubles that are named.
const NAMED_MAX: usize = 100;

impl Keys {
    pub(crate) fn new(desk: &Desk) -> Self {
        let window_seconds = desk.config.dedupe.key.as_ref().map(|_| desk.config.dedupe.window_seconds);
        let tallies = vec![Tally::default(); desk.unreadable.len()];
        Self { window_seconds, seen: HashMap::new(), found: Found { tallies, ..Found::default() } }
    }

    /// Whether a message with this key was seen.
    pub(crate) fn contains(&self, key: u128) -> bool {
        self.seen.contains_key(&short(key))
    }

    pub(crate) fn add(&mut self, keyed: &Keyed) {
        let second = u32::try_from(keyed.published_ms / 1000).unwrap_or(u32::MAX);
        let (key, found) = (short(keyed.hash), &mut self.found);
        if self.seen.len() >= KEYS_MAX && !self.seen.contains_key(&key) {
            found.is_full = true;
            return;
        }
        let before = self.seen.insert(key, second);
        let is_double = before.is_some_and(|before| self.window_seconds.is_none_or(|w| before.abs_diff(second) < w));
        if !is_double {
            return;
        }
        found.doubled += 1;
        if let Some(tally) = keyed.source.and_then(|source| found.tallies.get_mut(source)) {
            tally.doubled += 1;
        }
        if found.doubles.len() < NAMED_MAX {
            let Keyed { source, sequence_id, at, .. } = *keyed;
            found.doubles.push(Double { source, sequence_id, at });
        }
    }
}

fn short(hash: u128) -> Short {
    [hash as u32, (hash >> 32) as u32, (hash >> 64) as u32]
}
