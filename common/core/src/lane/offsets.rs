//! A set of offsets, kept as ranges: what was read back from the target is dense, so a million ids are a few ranges.

use crate::record::Offset;

/// A set of offsets. Insertion at or near the end, the ordinary case, costs O(1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetSet {
    /// Inclusive ranges, rising.
    /// Invariant: disjoint and never adjacent (`ranges[i].1 + 1 < ranges[i + 1].0`).
    ranges: Vec<(Offset, Offset)>,
}

impl OffsetSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one offset.
    pub fn insert(&mut self, offset: Offset) {
        self.insert_range(offset, offset);
    }

    /// Adds all offsets from `lowest` to `highest`, both included.
    pub fn insert_range(&mut self, lowest: Offset, highest: Offset) {
        assert!(lowest <= highest, "a range runs upwards");
        if let Some(last) = self.ranges.last_mut()
            && lowest >= last.0
            && lowest <= last.1.saturating_add(1)
        {
            last.1 = last.1.max(highest);
            return;
        }
        // The ranges that overlap or touch the new one melt into it.
        let from = self.ranges.partition_point(|range| range.1.saturating_add(1) < lowest);
        let to = self.ranges.partition_point(|range| range.0 <= highest.saturating_add(1));
        let mut merged = (lowest, highest);
        if from < to {
            merged.0 = merged.0.min(self.ranges[from].0);
            merged.1 = merged.1.max(self.ranges[to - 1].1);
        }
        self.ranges.splice(from..to, [merged]);
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &OffsetSet) {
        for (lowest, highest) in &other.ranges {
            self.insert_range(*lowest, *highest);
        }
    }

    /// Whether `offset` is in the set.
    pub fn contains(&self, offset: Offset) -> bool {
        let after = self.ranges.partition_point(|range| range.0 <= offset);
        after > 0 && self.ranges[after - 1].1 >= offset
    }

    /// How many of the offsets from `from` on and below `below` are in the set.
    pub fn count(&self, from: Offset, below: Offset) -> u64 {
        let within = |&(lowest, highest): &(Offset, Offset)| {
            below.min(highest.saturating_add(1)).saturating_sub(from.max(lowest))
        };
        self.ranges.iter().map(within).sum()
    }

    /// The highest offset, if any.
    pub fn highest(&self) -> Option<Offset> {
        self.ranges.last().map(|range| range.1)
    }

    /// Forgets everything below `floor`.
    pub fn forget_below(&mut self, floor: Offset) {
        self.ranges.retain_mut(|range| {
            range.0 = range.0.max(floor);
            range.0 <= range.1
        });
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, rising, both ends included.
    pub fn ranges(&self) -> &[(Offset, Offset)] {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_set(ranges in prop::collection::vec((0u64..60, 0u64..6), 0..30), floor in 0u64..60) {
            let mut set = OffsetSet::new();
            let mut expected = BTreeSet::new();
            for (lowest, length) in ranges {
                set.insert_range(lowest, lowest + length);
                expected.extend(lowest..=lowest + length);
            }
            for offset in 0..70 {
                prop_assert_eq!(set.contains(offset), expected.contains(&offset));
            }
            prop_assert_eq!(set.highest(), expected.last().copied());
            for below in 0..70 {
                prop_assert_eq!(set.count(floor, below), expected.range(floor..below.max(floor)).count() as u64);
            }
            for pair in set.ranges().windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0);
            }
            set.forget_below(floor);
            for offset in 0..70 {
                prop_assert_eq!(set.contains(offset), offset >= floor && expected.contains(&offset));
            }
        }
    }
}
