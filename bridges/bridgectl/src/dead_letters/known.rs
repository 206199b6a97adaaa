//! What is known of the dead letters of a topic once it was read: which of those that are meant are settled. A few bytes for
//! each, so that a topic of millions takes tens of megabytes, and a bound above which it is refused. Pure.

use std::collections::HashMap;

use bridge_common::record::Offset;

use super::letter::{Filter, Key, Letter, Settled, State};

/// Dead letters and notes that are remembered at most: about 50 MB.
const KNOWN_MAX: usize = 1_800_000;

/// A partition's name, by its place in the list of them, and the offset.
type Short = (u32, Offset);

#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// A dead letter that fits was seen.
    fits: bool,
    settled: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pending,
    Redriven,
    Twin,
}

/// The dead letters that are meant, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Known {
    names: HashMap<String, u32>,
    marks: HashMap<Short, Mark>,
    /// Those that a redrive has begun and not ended: a handful after a crash.
    pending: HashMap<Short, Settled>,
}

impl Known {
    /// A dead letter was read; whether it is one that is meant.
    ///
    /// # Errors
    /// When there are more than are remembered.
    pub(super) fn letter(&mut self, filter: &Filter, letter: &Letter) -> Result<bool, String> {
        if !filter.fits(letter) {
            return Ok(false);
        }
        self.mark(&letter.name, letter.offset)?.fits = true;
        Ok(true)
    }

    /// A note was read; the newest of a dead letter counts.
    ///
    /// # Errors
    /// When there are more than are remembered.
    pub(super) fn note(&mut self, filter: &Filter, key: &Key, settled: Settled) -> Result<(), String> {
        if !filter.may_be_about(key) {
            return Ok(());
        }
        let kind = match settled.state {
            State::Pending(_) => Kind::Pending,
            State::Redriven => Kind::Redriven,
            State::Twin => Kind::Twin,
        };
        self.mark(&key.0, key.1)?.settled = Some(kind);
        let short = self.short(key).expect("it was marked");
        match kind {
            Kind::Pending => drop(self.pending.insert(short, settled)),
            Kind::Redriven | Kind::Twin => drop(self.pending.remove(&short)),
        }
        Ok(())
    }

    /// What became of a dead letter, as far as it is shown.
    pub(super) fn state(&self, key: &Key) -> Option<State> {
        let mark = self.marks.get(&self.short(key)?)?;
        mark.settled.map(|kind| match kind {
            Kind::Pending => State::Pending(None),
            Kind::Redriven => State::Redriven,
            Kind::Twin => State::Twin,
        })
    }

    /// Whether it is meant, and has to be settled.
    pub(super) fn is_open(&self, key: &Key) -> bool {
        self.short(key).and_then(|short| self.marks.get(&short)).is_some_and(is_open)
    }

    /// Takes one that is meant and has to be settled, once: with the newest note of it.
    pub(super) fn take(&mut self, key: &Key) -> Option<Option<Settled>> {
        let short = self.short(key)?;
        let mark = self.marks.get_mut(&short).filter(|mark| is_open(mark))?;
        mark.fits = false;
        Some(self.pending.remove(&short))
    }

    /// How many are meant and not settled, and how many are settled.
    pub(super) fn counts(&self) -> (u64, u64) {
        let meant = self.marks.values().filter(|mark| mark.fits);
        meant.fold((0, 0), |(open, settled), mark| match is_open(mark) {
            true => (open + 1, settled),
            false => (open, settled + 1),
        })
    }

    fn mark(&mut self, name: &str, offset: Offset) -> Result<&mut Mark, String> {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let number = match self.names.get(name) {
            Some(number) => *number,
            None => *self.names.entry(name.to_owned()).or_insert(next),
        };
        let short = (number, offset);
        if self.marks.len() >= KNOWN_MAX && !self.marks.contains_key(&short) {
            return Err(format!(
                "there are more than {KNOWN_MAX} dead letters and notes about them: name a --partition, and take one after the other"
            ));
        }
        Ok(self.marks.entry(short).or_default())
    }

    fn short(&self, key: &Key) -> Option<Short> {
        Some((*self.names.get(&key.0)?, key.1))
    }
}

fn is_open(mark: &Mark) -> bool {
    mark.fits && !matches!(mark.settled, Some(Kind::Redriven | Kind::Twin))
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;

    #[test]
    fn the_newest_note_tells_and_each_is_taken_once() {
        let (filter, mut known) = (Filter::default(), Known::default());
        let keys: Vec<Key> = (0..4).map(|offset| letter(3, offset).key()).collect();
        for offset in 0..3 {
            assert_eq!(known.letter(&filter, &letter(3, offset)), Ok(true));
        }
        let note = |state| Settled { state, topic: "t".into(), last_sequence_id: 7 };
        known.note(&filter, &keys[0], note(State::Pending(None))).unwrap();
        known.note(&filter, &keys[1], note(State::Pending(None))).unwrap();
        known.note(&filter, &keys[1], note(State::Redriven)).unwrap();
        // Of a dead letter that is not meant, or gone.
        known.note(&filter, &keys[3], note(State::Twin)).unwrap();
        assert_eq!(known.counts(), (2, 1));
        assert_eq!((known.state(&keys[1]), known.state(&keys[2])), (Some(State::Redriven), None));
        assert_eq!(known.take(&keys[0]), Some(Some(note(State::Pending(None)))));
        assert_eq!(known.take(&keys[0]), None);
        assert_eq!((known.take(&keys[1]), known.take(&keys[2]), known.take(&keys[3])), (None, Some(None), None));
        let of_another = Filter { partition: Some(4), ..Filter::default() };
        assert_eq!(known.letter(&of_another, &letter(3, 9)), Ok(false));
    }
}
