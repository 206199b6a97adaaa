//! Sets of offsets: a bit for each offset of a range, and nothing for stretches that are full or were never touched.

use std::collections::VecDeque;

/// Bits of a page: 4 KiB.
const PAGE_BITS: u64 = 32_768;
const PAGE_WORDS: usize = (PAGE_BITS / 64) as usize;

/// The bits of so many offsets in a row.
#[derive(Debug, Clone)]
enum Page {
    Empty,
    Some { bits: Box<[u64; PAGE_WORDS]>, count: u64 },
    Full,
}

/// A set of offsets at or above the one that it was made with.
#[derive(Debug, Clone)]
pub(crate) struct Bits {
    /// The number of the first page.
    base: u64,
    pages: VecDeque<Page>,
}

impl Bits {
    /// An empty set of offsets from `start` on.
    pub(crate) fn from(start: u64) -> Self {
        Self { base: start / PAGE_BITS, pages: VecDeque::new() }
    }

    /// Adds an offset; whether it is new. What lies below the set's beginning never is.
    pub(crate) fn insert(&mut self, offset: u64) -> bool {
        let Some(index) = (offset / PAGE_BITS).checked_sub(self.base) else { return false };
        let index = usize::try_from(index).expect("a set spans what memory can hold");
        if index >= self.pages.len() {
            self.pages.resize(index + 1, Page::Empty);
        }
        let page = &mut self.pages[index];
        if let Page::Empty = page {
            *page = Page::Some { bits: Box::new([0; PAGE_WORDS]), count: 0 };
        }
        let Page::Some { bits, count } = page else { return false };
        let (word, bit) = place(offset);
        let is_new = bits[word] & bit == 0;
        bits[word] |= bit;
        *count += u64::from(is_new);
        if *count == PAGE_BITS {
            *page = Page::Full;
        }
        is_new
    }

    /// Whether an offset is in the set.
    pub(crate) fn contains(&self, offset: u64) -> bool {
        let index = (offset / PAGE_BITS).checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.pages.get(index)) {
            None | Some(Page::Empty) => false,
            Some(Page::Full) => true,
            Some(Page::Some { bits, .. }) => {
                let (word, bit) = place(offset);
                bits[word] & bit != 0
            }
        }
    }

    /// Forgets whole pages below an offset; they count as never touched.
    pub(crate) fn forget_below(&mut self, offset: u64) {
        while self.base < offset / PAGE_BITS && self.pages.pop_front().is_some() {
            self.base += 1;
        }
        if self.pages.is_empty() {
            self.base = self.base.max(offset / PAGE_BITS);
        }
    }

    /// The offsets of this set that are not in `other`, as ranges with their ends included, rising.
    pub(crate) fn without<'a>(&'a self, other: &'a Bits) -> impl Iterator<Item = (u64, u64)> + 'a {
        let words = self.pages.iter().zip(self.base..).flat_map(move |(page, number)| {
            (0..PAGE_WORDS).map(move |word| {
                let mine = page.word(word);
                let left = if mine == 0 { 0 } else { mine & !other.word(number, word) };
                (number * PAGE_BITS + word as u64 * 64, left)
            })
        });
        Ranges { words, first: 0, bits: 0, held: None }
    }

    fn word(&self, page: u64, word: usize) -> u64 {
        let index = page.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.pages.get(index)).map_or(0, |page| page.word(word))
    }
}

impl Page {
    fn word(&self, word: usize) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Full => u64::MAX,
            Self::Some { bits, .. } => bits[word],
        }
    }
}

fn place(offset: u64) -> (usize, u64) {
    let bit = offset % PAGE_BITS;
    ((bit / 64) as usize, 1 << (bit % 64))
}

/// Words of bits as ranges.
struct Ranges<W> {
    words: W,
    /// The offset of the word's lowest bit.
    first: u64,
    bits: u64,
    /// A range that may go on.
    held: Option<(u64, u64)>,
}

impl<W: Iterator<Item = (u64, u64)>> Iterator for Ranges<W> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        loop {
            if self.bits == 0 {
                match self.words.next() {
                    Some((first, bits)) => (self.first, self.bits) = (first, bits),
                    None => return self.held.take(),
                }
                continue;
            }
            let low = self.bits.trailing_zeros();
            let length = (self.bits >> low).trailing_ones();
            let start = self.first + u64::from(low);
            let end = start + u64::from(length) - 1;
            self.bits = if low + length == 64 { 0 } else { self.bits >> (low + length) << (low + length) };
            match self.held.replace((start, end)) {
                Some((begin, last)) if last + 1 == start => self.held = Some((begin, end)),
                Some(done) => return Some(done),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn full_pages_take_no_memory_and_stay_full() {
        let mut bits = Bits::from(5);
        (0..2 * PAGE_BITS).for_each(|offset| assert!(bits.insert(offset)));
        assert!(bits.pages.iter().all(|page| matches!(page, Page::Full)));
        assert!(!bits.insert(7) && bits.contains(7) && !bits.contains(2 * PAGE_BITS));
        assert_eq!(bits.without(&Bits::from(0)).collect::<Vec<_>>(), [(0, 2 * PAGE_BITS - 1)]);
        bits.forget_below(PAGE_BITS + 1);
        assert!(!bits.contains(7) && bits.contains(PAGE_BITS));
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            mine in proptest::collection::vec(0..100_000u64, 0..300),
            other in proptest::collection::vec(0..100_000u64, 0..300),
            run in 0..60_000u64,
        ) {
            let (mut a, mut b) = (Bits::from(0), Bits::from(0));
            let (mut left, mut right) = (BTreeSet::new(), BTreeSet::new());
            for offset in mine.into_iter().chain(run..run + 40_000) {
                prop_assert_eq!(a.insert(offset), left.insert(offset));
            }
            for offset in other {
                prop_assert_eq!(b.insert(offset), right.insert(offset));
            }
            let flat: Vec<u64> = a.without(&b).flat_map(|(low, high)| low..=high).collect();
            let expected: Vec<u64> = left.difference(&right).copied().collect();
            prop_assert_eq!(flat, expected);
            let ranges: Vec<(u64, u64)> = a.without(&b).collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "ranges do not touch");
        }
    }
}
