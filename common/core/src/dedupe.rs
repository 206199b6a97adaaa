//! The same event by two sources is published once: which of the records that carry a key (`dedupe.key`) publishes it,
//! and which wait. Pure, and one for all source partitions of a bridge.
//!
//! A key is **pending** from the moment when a record with it was let through until that record's receipt, and then
//! **settled** for as long as the window lasts. A **twin** of a pending one waits for that receipt: until then nobody
//! knows whether the event is stored. When the session of the one that publishes ends with an unknown outcome, its
//! pending keys are **orphans**: what became of them is known only when *its* partition has been opened again. What was
//! read back then is settled; the rest is free, and the partitions that have twins waiting must be opened again, since a
//! twin's record is not kept here: reading it again lets it through.
//!
//! ```text
//! free ──admit──> pending ──receipt──> settled ──window──> free
//!                    │ ended               ▲
//!                    ▼                     │ read back
//!                 orphan ──────────────────┤
//!                    └──> free (reopened)
//! ```
//!
//! Keys are settled by what is *stored* (`Partition::stored_below`), never by the position: that waits for twins, and two
//! partitions whose records are each other's twins would wait for ever.
//!
//! Invariant: of all records with one key, one at most is let through while it is pending, an orphan, or in the window.
//! Invariant: a twin is told (`Wake`, or a partition to open again) when its key leaves pending, whichever way.

use std::collections::{HashMap, VecDeque};

use crate::record::Offset;

/// A record: of which partition (by an index that the pipeline gives), in which session of it, under which id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// The source partition.
    pub partition: u32,
    /// Its session: another number after each opening.
    pub session: u64,
    /// The record's id.
    pub id: Offset,
}

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Publish it; it has the key.
    Own,
    /// Another record with this key is under way: wait for a [`Wake`], or for the next opening.
    Twin,
    /// The event is stored: it is settled.
    Settled,
}

/// A twin that waits no more: its event is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    /// The partition whose record it is.
    pub partition: u32,
    /// The record.
    pub id: Offset,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A record of this partition's present session is under way.
    Pending(u32),
    /// A record of an earlier session of this partition may be stored.
    Orphan(u32),
    Settled,
}

/// A key in 8-byte halves: in 16-byte alignment each entry would take half as much again.
type Key = [u64; 2];

fn key_of(key: u128) -> Key {
    [(key >> 64) as u64, key as u64]
}

/// What one partition has under way.
#[derive(Debug, Clone, Default)]
struct Source {
    session: u64,
    /// Its pending keys; ids rise.
    pending: VecDeque<(Offset, Key)>,
    /// Its orphans.
    orphans: Vec<Key>,
}

/// The keys of a window.
///
/// Takes 25 to 59 bytes per key in the map and 16 to 32 in the order of eviction: 69 MB for a million, measured. What is pending
/// takes 24 to 48 more, bounded by what the partitions have in flight.
#[derive(Debug, Clone)]
pub struct KeyWindow {
    window_ms: u64,
    max_settled: usize,
    keys: HashMap<Key, State>,
    /// The settled keys, oldest first.
    settled: VecDeque<Key>,
    /// When they were settled: a time, and how many of them then.
    times: VecDeque<(u64, usize)>,
    sources: HashMap<u32, Source>,
    /// Who waits for a key that is pending or an orphan.
    waiting: HashMap<Key, Vec<Owner>>,
}

/// Times of settling are kept in steps of this part of the window.
const STEPS: u64 = 256;

impl KeyWindow {
    /// A settled key is kept for `window_ms`, and at most `max_settled` of them are.
    pub fn new(window_ms: u64, max_settled: usize) -> Self {
        Self {
            window_ms,
            max_settled,
            keys: HashMap::new(),
            settled: VecDeque::new(),
            times: VecDeque::new(),
            sources: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// A record with this key was admitted. Ids of a session rise.
    pub fn admit(&mut self, key: u128, owner: Owner, now_ms: u64) -> Verdict {
        self.evict(now_ms);
        let key = key_of(key);
        if self.sources.entry(owner.partition).or_default().session != owner.session {
            self.ended(owner.partition);
            self.sources.entry(owner.partition).or_default().session = owner.session;
        }
        match self.keys.get(&key) {
            Some(State::Settled) => Verdict::Settled,
            Some(State::Pending(_) | State::Orphan(_)) => {
                self.waiting.entry(key).or_default().push(owner);
                Verdict::Twin
            }
            None => {
                self.keys.insert(key, State::Pending(owner.partition));
                let source = self.sources.entry(owner.partition).or_default();
                assert!(source.pending.back().is_none_or(|(id, _)| *id < owner.id), "ids of a session rise");
                source.pending.push_back((owner.id, key));
                Verdict::Own
            }
        }
    }

    /// Everything that this partition has sent below `stored_below` in this session is stored: `Partition::stored_below`.
    /// Gives the twins that waited for it.
    pub fn settled_below(&mut self, partition: u32, session: u64, stored_below: Offset, now_ms: u64) -> Vec<Wake> {
        let mut wakes = Vec::new();
        let Some(source) = self.sources.get_mut(&partition).filter(|source| source.session == session) else {
            return wakes;
        };
        let count = source.pending.partition_point(|(id, _)| *id < stored_below);
        let stored: Vec<Key> = source.pending.drain(..count).map(|(_, key)| key).collect();
        for key in stored {
            // It may have been read back meanwhile, by another partition that had published it long ago.
            if self.keys.get(&key) == Some(&State::Pending(partition)) {
                self.settle(key, now_ms, &mut wakes);
            }
        }
        wakes
    }

    /// A key was read back in the target, by the opening of any partition: it is stored.
    pub fn read_back(&mut self, key: u128, now_ms: u64) -> Vec<Wake> {
        let (key, mut wakes) = (key_of(key), Vec::new());
        if self.keys.get(&key) != Some(&State::Settled) {
            self.settle(key, now_ms, &mut wakes);
        }
        wakes
    }

    fn settle(&mut self, key: Key, now_ms: u64, wakes: &mut Vec<Wake>) {
        self.keys.insert(key, State::Settled);
        self.settled.push_back(key);
        match self.times.back_mut() {
            Some((at_ms, count)) if now_ms < *at_ms + (self.window_ms / STEPS).max(1) => *count += 1,
            _ => self.times.push_back((now_ms, 1)),
        }
        let waiting = self.waiting.remove(&key).unwrap_or_default();
        wakes.extend(waiting.into_iter().map(|Owner { partition, id, .. }| Wake { partition, id }));
        self.evict(now_ms);
    }

    /// The session of a partition has ended, or another begins: what it has under way is of unknown outcome, and its own
    /// twins are forgotten. To be called before the scans of the next opening are told by `read_back`.
    pub fn ended(&mut self, partition: u32) {
        if let Some(source) = self.sources.get_mut(&partition) {
            for (_, key) in source.pending.drain(..) {
                if self.keys.get(&key) == Some(&State::Pending(partition)) {
                    self.keys.insert(key, State::Orphan(partition));
                    source.orphans.push(key);
                }
            }
        }
        self.waiting.retain(|_, waiting| {
            waiting.retain(|owner| owner.partition != partition);
            !waiting.is_empty()
        });
    }

    /// A partition has been opened again, and all that was read back for it was told: what it had under way and was not
    /// read back is not stored, and free. Gives the partitions that have twins waiting for it, and must be opened again
    /// themselves.
    pub fn reopened(&mut self, partition: u32) -> Vec<u32> {
        let Some(source) = self.sources.get_mut(&partition) else { return Vec::new() };
        let orphans = std::mem::take(&mut source.orphans);
        let mut must_reopen = Vec::new();
        for key in orphans {
            if self.keys.get(&key) == Some(&State::Orphan(partition)) {
                self.keys.remove(&key);
                let waiting = self.waiting.remove(&key).unwrap_or_default();
                must_reopen.extend(waiting.iter().map(|owner| owner.partition));
            }
        }
        must_reopen.sort_unstable();
        must_reopen.dedup();
        must_reopen
    }

    /// Forgets what was settled longer ago than the window, and the oldest of what is too much.
    pub fn evict(&mut self, now_ms: u64) {
        while self.settled.len() > self.max_settled {
            self.forget_oldest();
        }
        // The last of a step was settled at its end.
        let step_ms = (self.window_ms / STEPS).max(1);
        while self.times.front().is_some_and(|(at_ms, _)| at_ms + step_ms + self.window_ms <= now_ms) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.settled.pop_front() {
            self.keys.remove(&key);
        }
        if let Some((_, count)) = self.times.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.times.pop_front();
            }
        }
    }

    /// How many keys are known, settled or not.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many twins wait.
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// About how much memory it takes.
    pub fn memory_bytes(&self) -> usize {
        // A map has a power of two of slots, of which it fills seven eighths, and a byte of its own for each.
        let slots = (self.keys.capacity() * 8 / 7).next_power_of_two();
        let pending: usize =
            self.sources.values().map(|source| source.pending.capacity() * 24 + source.orphans.capacity() * 16).sum();
        slots * (size_of::<(Key, State)>() + 1)
            + self.settled.capacity() * size_of::<Key>()
            + pending
            + self.waiting.len() * 96
    }
}

#[cfg(test)]
#[path = "dedupe_tests.rs"]
mod tests;
