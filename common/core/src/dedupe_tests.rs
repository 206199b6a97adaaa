use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::recall::hash_key;

const FOR_EVER_MS: u64 = u64::MAX / 4;

fn owner(partition: u32, id: Offset) -> Owner {
    Owner { partition, session: 1, id }
}

#[test]
fn a_twin_waits_for_the_receipt_and_for_nothing_else() {
    let mut window = KeyWindow::new(1000, 10);
    assert_eq!(window.admit(7, owner(0, 5), 0), Verdict::Own);
    assert_eq!(window.admit(7, owner(1, 50), 0), Verdict::Twin);
    assert_eq!(window.admit(7, owner(0, 6), 0), Verdict::Twin, "also of the same partition");
    assert!(window.settled_below(0, 1, 5, 0).is_empty());
    assert!(window.settled_below(0, 2, 9, 0).is_empty(), "another session");
    assert_eq!(window.settled_below(0, 1, 6, 0), [Wake { partition: 1, id: 50 }, Wake { partition: 0, id: 6 }]);
    assert_eq!(window.admit(7, owner(2, 1), 0), Verdict::Settled);
    assert_eq!(window.waiting(), 0);
}

#[test]
fn an_orphan_is_decided_by_its_own_reopening() {
    let mut window = KeyWindow::new(1000, 10);
    for key in [1, 2] {
        assert_eq!(window.admit(key, owner(0, key as u64), 0), Verdict::Own);
        assert_eq!(window.admit(key, owner(1, key as u64), 0), Verdict::Twin);
    }
    window.ended(0);
    assert_eq!(window.admit(1, owner(2, 1), 0), Verdict::Twin, "it may be stored");
    assert_eq!(window.read_back(1, 0), [Wake { partition: 1, id: 1 }, Wake { partition: 2, id: 1 }]);
    assert_eq!(window.reopened(0), [1], "the other is not stored, and partition 1 waits for it");
    assert_eq!(window.admit(2, Owner { partition: 0, session: 2, id: 2 }, 0), Verdict::Own);
}

#[test]
fn settled_keys_go_by_age_and_by_number() {
    let mut window = KeyWindow::new(1000, 3);
    for (key, now_ms) in [(1, 0), (2, 500), (3, 500), (4, 600)] {
        assert_eq!(window.admit(key, owner(0, key as u64), now_ms), Verdict::Own);
        window.settled_below(0, 1, key as u64 + 1, now_ms);
    }
    assert_eq!(window.len(), 3, "the oldest is too much");
    assert_eq!(window.admit(2, owner(0, 10), 1500), Verdict::Settled, "until the window is over");
    assert_eq!(window.admit(2, owner(0, 11), 1520), Verdict::Own);
    assert_eq!(window.admit(4, owner(0, 12), 1600), Verdict::Settled);
}

/// The figure that the documentation of `KeyWindow` states.
#[test]
fn the_memory_of_a_million_keys() {
    let mut window = KeyWindow::new(FOR_EVER_MS, 1_000_000);
    for id in 0..1_100_000_u64 {
        window.admit(hash_key(&id.to_le_bytes()), owner(0, id), id / 100);
        window.settled_below(0, 1, id + 1, id / 100);
    }
    let bytes_per_key = window.memory_bytes() as f64 / 1e6;
    assert_eq!(window.len(), 1_000_000);
    println!("{bytes_per_key:.1} bytes per key");
    assert!(bytes_per_key < 75.0, "{bytes_per_key}");
}

/// What the world does with one partition.
#[derive(Debug, Clone, Copy)]
enum Do {
    Take,
    /// The oldest in flight is stored, and its receipt comes.
    Receipt,
    /// The session ends: so many of those in flight are stored.
    End(usize),
    Reopen,
}

/// A source partition with records that carry these keys, by the rules of the core.
struct Source {
    keys: Vec<u128>,
    session: u64,
    is_open: bool,
    next: usize,
    in_flight: VecDeque<usize>,
    twins: BTreeSet<usize>,
    /// What the target has of it.
    stored: BTreeSet<usize>,
}

struct Model {
    window: KeyWindow,
    sources: Vec<Source>,
}

impl Model {
    fn new(keys: Vec<Vec<u128>>) -> Self {
        let source = |keys| Source {
            keys,
            session: 1,
            is_open: true,
            next: 0,
            in_flight: VecDeque::new(),
            twins: BTreeSet::new(),
            stored: BTreeSet::new(),
        };
        Self { window: KeyWindow::new(FOR_EVER_MS, usize::MAX), sources: keys.into_iter().map(source).collect() }
    }

    fn wake(&mut self, wakes: Vec<Wake>) {
        for Wake { partition, id } in wakes {
            self.sources[partition as usize].twins.remove(&(id as usize));
        }
    }

    /// True where it has changed anything.
    fn act(&mut self, p: usize, what: Do) -> bool {
        let source = &mut self.sources[p];
        match what {
            Do::Take if source.is_open && source.next < source.keys.len() => {
                let id = source.next;
                source.next += 1;
                if !source.stored.contains(&id) {
                    let owner = Owner { partition: p as u32, session: source.session, id: id as u64 };
                    match self.window.admit(source.keys[id], owner, 0) {
                        Verdict::Own => source.in_flight.push_back(id),
                        Verdict::Twin => drop(source.twins.insert(id)),
                        Verdict::Settled => {}
                    }
                }
            }
            Do::Receipt if source.is_open && !source.in_flight.is_empty() => {
                source.stored.extend(source.in_flight.pop_front());
                let below = source.in_flight.front().map_or(source.next, |id| *id) as u64;
                let wakes = self.window.settled_below(p as u32, source.session, below, 0);
                self.wake(wakes);
            }
            Do::End(stored) if source.is_open => {
                let position = source.in_flight.front().into_iter().chain(source.twins.first()).min().copied();
                source.next = position.unwrap_or(source.next);
                let stored = stored.min(source.in_flight.len());
                source.stored.extend(source.in_flight.drain(..stored));
                source.in_flight.clear();
                source.twins.clear();
                source.is_open = false;
                self.window.ended(p as u32);
            }
            Do::Reopen if !source.is_open => {
                source.is_open = true;
                source.session += 1;
                let read: Vec<u128> = source.stored.iter().map(|id| source.keys[*id]).collect();
                for key in read {
                    let wakes = self.window.read_back(key, 0);
                    self.wake(wakes);
                }
                for other in self.window.reopened(p as u32) {
                    self.act(other as usize, Do::End(usize::MAX));
                }
            }
            _ => return false,
        }
        true
    }

    /// No key is stored twice, and none is under way twice or under way and stored.
    fn check(&self) {
        let mut count = BTreeMap::<u128, u32>::new();
        for source in &self.sources {
            source
                .stored
                .iter()
                .chain(&source.in_flight)
                .for_each(|id| *count.entry(source.keys[*id]).or_default() += 1);
        }
        assert!(count.values().all(|count| *count == 1), "{count:?}");
    }

    fn come_to_rest(&mut self) {
        for _ in 0..10_000 {
            let mut has_changed = false;
            for p in 0..self.sources.len() {
                for what in [Do::Reopen, Do::Take, Do::Receipt] {
                    has_changed |= self.act(p, what);
                    self.check();
                }
            }
            if !has_changed {
                break;
            }
        }
        for source in &self.sources {
            assert_eq!(source.next, source.keys.len());
            assert!(source.twins.is_empty() && source.in_flight.is_empty(), "somebody waits for ever");
        }
        assert_eq!(self.window.waiting(), 0);
        let stored: BTreeSet<u128> =
            self.sources.iter().flat_map(|source| source.stored.iter().map(|id| source.keys[*id])).collect();
        let keys: BTreeSet<u128> = self.sources.iter().flat_map(|source| source.keys.iter().copied()).collect();
        assert_eq!(stored, keys, "each event is stored once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn each_event_is_stored_once_and_nobody_waits_for_ever(
        keys in prop::collection::vec(prop::collection::vec(0u128..12, 0..12), 1..4),
        steps in prop::collection::vec((0usize..3, 0u8..10, 0usize..4), 0..80),
    ) {
        let mut model = Model::new(keys);
        for (p, what, stored) in steps {
            let what = match what {
                0..=4 => Do::Take,
                5..=7 => Do::Receipt,
                8 => Do::End(stored),
                _ => Do::Reopen,
            };
            model.act(p % model.sources.len(), what);
            model.check();
        }
        model.come_to_rest();
    }
}
