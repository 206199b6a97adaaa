//! The newest of what comes in, as many as are wanted, while it is not known yet which of them will count in the end. Pure.

use std::collections::VecDeque;

use super::known::Known;
use super::letter::Key;

/// What is kept of them all, in bytes: bodies may be large.
const BYTES_MAX: usize = 64 << 20;

/// The newest.
#[derive(Debug)]
pub(super) struct Newest<T> {
    limit: usize,
    /// Also those that are settled.
    all: bool,
    rows: VecDeque<(Key, usize, T)>,
    bytes: usize,
}

impl<T> Newest<T> {
    pub(super) fn new(limit: usize, all: bool) -> Self {
        Self { limit, all, rows: VecDeque::new(), bytes: 0 }
    }

    /// Takes one of so many bytes. Twice as many as are wanted are kept: some of them may be settled by what comes later.
    pub(super) fn push(&mut self, known: &Known, key: Key, bytes: usize, one: T) {
        self.rows.push_back((key, bytes, one));
        self.bytes += bytes;
        if self.rows.len() > self.limit.saturating_mul(2).max(16) || self.bytes > BYTES_MAX {
            self.cut(known);
        }
    }

    /// Drops those that are settled by now, and the oldest that are too many.
    fn cut(&mut self, known: &Known) {
        if !self.all {
            self.rows.retain(|(key, ..)| known.is_open(key));
        }
        self.bytes = self.rows.iter().map(|(_, bytes, _)| bytes).sum();
        while self.rows.len() > self.limit || self.bytes > BYTES_MAX {
            let Some((_, bytes, _)) = self.rows.pop_front() else { break };
            self.bytes -= bytes;
        }
    }

    /// Those that count, the oldest first.
    pub(super) fn done(mut self, known: &Known) -> Vec<(Key, T)> {
        self.cut(known);
        self.rows.into_iter().map(|(key, _, one)| (key, one)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::super::letter::{Filter, Settled, State};
    use super::*;

    fn run(limit: usize, all: bool, bytes: usize, settled: &[u64]) -> Vec<u64> {
        let (filter, mut known, mut newest) = (Filter::default(), Known::default(), Newest::new(limit, all));
        for offset in 0..50 {
            known.letter(&filter, &letter(0, offset)).unwrap();
            newest.push(&known, letter(0, offset).key(), bytes, offset);
        }
        for offset in settled {
            let note = Settled { state: State::Redriven, topic: String::new(), last_sequence_id: 1 };
            known.note(&filter, &letter(0, *offset).key(), note).unwrap();
        }
        newest.done(&known).into_iter().map(|(_, offset)| offset).collect()
    }

    #[test]
    fn the_newest_that_are_not_settled_are_kept() {
        assert_eq!(run(3, false, 1, &[]), [47, 48, 49]);
        assert_eq!(run(3, false, 1, &[48, 49]), [45, 46, 47]);
        assert_eq!(run(3, true, 1, &[48, 49]), [47, 48, 49]);
        assert_eq!(run(0, false, 1, &[]), [] as [u64; 0]);
    }

    #[test]
    fn large_ones_are_fewer() {
        assert_eq!(run(50, false, BYTES_MAX / 2, &[]), [48, 49]);
    }
}
