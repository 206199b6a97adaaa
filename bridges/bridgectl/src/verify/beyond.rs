//! Messages under offsets that the source did not have when the comparison began: records that came since, or none at all.
//! Only the source's end, asked for again when everything is read, tells.

use std::collections::BTreeMap;

use super::facts::At;

/// Messages that are kept, those under the highest offsets.
const KEPT_MAX: usize = 10_000;

/// The messages at or above the source's end as it was.
#[derive(Debug)]
pub(crate) struct Beyond {
    end: u64,
    kept: BTreeMap<u64, At>,
}

impl Beyond {
    /// Of a source partition that ends here, this offset not included.
    pub(crate) fn new(end: u64) -> Self {
        Self { end, kept: BTreeMap::new() }
    }

    /// Takes a message, if it is one of them.
    pub(crate) fn note(&mut self, id: u64, at: At) {
        if id >= self.end {
            self.kept.entry(id).or_insert(at);
            if self.kept.len() > KEPT_MAX {
                self.kept.pop_first();
            }
        }
    }

    /// Whether the source's end has to be asked for again.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Those that the source does not have: at or above its end as it is now.
    pub(crate) fn take(&mut self, end: u64) -> BTreeMap<u64, At> {
        self.kept.split_off(&end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_since_is_told_from_what_the_source_does_not_have() {
        let mut beyond = Beyond::new(10);
        let at = At { topic: 0, ledger: 1, entry: 2, index: 0 };
        [3, 9].into_iter().for_each(|id| beyond.note(id, at));
        assert!(beyond.is_empty());
        [10, 11, 99, 12].into_iter().for_each(|id| beyond.note(id, at));
        assert_eq!(beyond.take(12).into_keys().collect::<Vec<_>>(), [12, 99]);
        (0..20_000).for_each(|id| beyond.note(id, at));
        assert_eq!(beyond.take(19_998).len(), 2, "the highest are kept");
    }
}
