//! What the target holds, by what identifies the events: for sources that cannot be read a second time, and for events that
//! several sources bring.

use std::collections::HashMap;

use super::desk::Desk;
use super::facts::At;

/// Keys that are remembered: about 150 MB.
const KEYS_MAX: usize = 2_000_000;

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

/// The keys, and what was counted by them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    /// When a key was last seen, in seconds.
    seen: HashMap<u128, u32>,
    /// Twins that are further apart are two events.
    window_seconds: Option<u32>,
    pub(crate) is_full: bool,
    pub(crate) tallies: Vec<Tally>,
    pub(crate) doubles: Vec<Double>,
    pub(crate) doubled: u64,
}

/// Doubles that are named.
const NAMED_MAX: usize = 100;

impl Keys {
    pub(crate) fn new(desk: &Desk) -> Self {
        let window_seconds = desk.config.dedupe.key.as_ref().map(|_| desk.config.dedupe.window_seconds);
        Self { window_seconds, tallies: vec![Tally::default(); desk.unreadable.len()], ..Self::default() }
    }

    /// Whether a message with this key was seen.
    pub(crate) fn contains(&self, key: u128) -> bool {
        self.seen.contains_key(&key)
    }

    pub(crate) fn add(&mut self, keyed: &Keyed) {
        let second = u32::try_from(keyed.published_ms / 1000).unwrap_or(u32::MAX);
        if self.seen.len() >= KEYS_MAX && !self.seen.contains_key(&keyed.hash) {
            self.is_full = true;
            return;
        }
        let before = self.seen.insert(keyed.hash, second);
        let is_double = before.is_some_and(|before| self.window_seconds.is_none_or(|w| before.abs_diff(second) < w));
        if !is_double {
            return;
        }
        self.doubled += 1;
        if let Some(tally) = keyed.source.and_then(|source| self.tallies.get_mut(source)) {
            tally.doubled += 1;
        }
        if self.doubles.len() < NAMED_MAX {
            let Keyed { source, sequence_id, at, .. } = *keyed;
            self.doubles.push(Double { source, sequence_id, at });
        }
    }
}
