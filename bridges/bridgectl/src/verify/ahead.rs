//! Values by offset, of which most are put in by rising offsets and taken out again soon: they lie in the pages of a window that
//! moves along with them. What is left behind by it goes into a map, as long as there is room.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Offsets of a page.
const PAGE: u64 = 256;

type Map<V> = HashMap<u64, V, BuildHasherDefault<OffsetHasher>>;

/// Offsets are spread well enough by one multiplication.
#[derive(Debug, Default)]
struct OffsetHasher(u64);

impl Hasher for OffsetHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, offset: u64) {
        let mixed = (self.0 ^ offset).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

#[derive(Debug)]
struct Page<V> {
    slots: Box<[Option<V>]>,
    count: usize,
}

/// The values.
#[derive(Debug)]
pub(super) struct Ahead<V> {
    /// The number of the window's first page.
    first: u64,
    pages: VecDeque<Option<Page<V>>>,
    /// Pages of the window at most.
    span: usize,
    /// An empty page, to be used again.
    spare: Option<Page<V>>,
    behind: Map<V>,
    behind_max: usize,
    in_window: usize,
}

impl<V: Copy> Ahead<V> {
    /// With a window of about so many offsets, and room for so many values behind it.
    pub(super) fn new(window: usize, behind_max: usize) -> Self {
        let span = (window / PAGE as usize).max(8);
        let pages = VecDeque::new();
        Self { first: 0, pages, span, spare: None, behind: Map::default(), behind_max, in_window: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.in_window + self.behind.len()
    }

    /// How many of them the window has not left behind.
    pub(super) fn in_window(&self) -> usize {
        self.in_window
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a value at an offset that has none.
    pub(super) fn insert(&mut self, offset: u64, value: V) {
        let number = offset / PAGE;
        if self.pages.is_empty() {
            // Only onwards: what lies below was left behind.
            self.first = self.first.max(number);
        }
        if number < self.first {
            self.keep(offset, value);
            return;
        }
        while number - self.first >= self.span as u64 {
            match self.pages.pop_front() {
                Some(page) => self.leave(page),
                None => self.first = number,
            }
        }
        let index = (number - self.first) as usize;
        if index >= self.pages.len() {
            self.pages.resize_with(index + 1, || None);
        }
        let spare = &mut self.spare;
        let fresh = || Page { slots: vec![None; PAGE as usize].into(), count: 0 };
        let page = self.pages[index].get_or_insert_with(|| spare.take().unwrap_or_else(fresh));
        let before = page.slots[slot(offset)].replace(value);
        let is_new = usize::from(before.is_none());
        page.count += is_new;
        self.in_window += is_new;
    }

    pub(super) fn get(&self, offset: u64) -> Option<&V> {
        match self.index(offset) {
            Some(index) => self.pages.get(index)?.as_ref()?.slots[slot(offset)].as_ref(),
            None => self.behind.get(&offset),
        }
    }

    pub(super) fn get_mut(&mut self, offset: u64) -> Option<&mut V> {
        match self.index(offset) {
            Some(index) => self.pages.get_mut(index)?.as_mut()?.slots[slot(offset)].as_mut(),
            None => self.behind.get_mut(&offset),
        }
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, offset: u64) -> Option<V> {
        let Some(index) = self.index(offset) else { return self.behind.remove(&offset) };
        let page = self.pages.get_mut(index)?.as_mut()?;
        let value = page.slots[slot(offset)].take()?;
        page.count -= 1;
        self.in_window -= 1;
        if page.count == 0 {
            self.spare = self.pages[index].take();
            while self.pages.front().is_some_and(Option::is_none) {
                self.pages.pop_front();
                self.first += 1;
            }
        }
        Some(value)
    }

    /// Takes out all below an offset.
    pub(super) fn forget_below(&mut self, offset: u64) {
        let below: Vec<u64> = self.iter().map(|(id, _)| id).filter(|id| *id < offset).collect();
        for id in below {
            let _ = self.remove(id);
        }
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let pages = self.pages.iter().zip(self.first..).filter_map(|(page, number)| Some((page.as_ref()?, number)));
        let window = pages.flat_map(|(page, number)| page.slots.iter().zip(number * PAGE..));
        let window = window.filter_map(|(slot, offset)| Some((offset, slot.as_ref()?)));
        window.chain(self.behind.iter().map(|(offset, value)| (*offset, value)))
    }

    /// Of an offset's page in the window; `None`: the window has left it behind.
    fn index(&self, offset: u64) -> Option<usize> {
        let index = (offset / PAGE).checked_sub(self.first)?;
        Some(usize::try_from(index).unwrap_or(usize::MAX))
    }

    /// The first page leaves the window.
    fn leave(&mut self, page: Option<Page<V>>) {
        let number = self.first;
        self.first += 1;
        let Some(mut page) = page else { return };
        for (slot, offset) in page.slots.iter_mut().zip(number * PAGE..) {
            if let Some(value) = slot.take() {
                self.in_window -= 1;
                if self.behind.len() < self.behind_max {
                    self.behind.insert(offset, value);
                }
            }
        }
        page.count = 0;
        self.spare = Some(page);
    }

    fn keep(&mut self, offset: u64, value: V) {
        if self.behind.len() < self.behind_max || self.behind.contains_key(&offset) {
            self.behind.insert(offset, value);
        }
    }
}

fn slot(offset: u64) -> usize {
    (offset % PAGE) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_window_leaves_behind_is_kept_as_long_as_there_is_room() {
        let mut ahead = Ahead::new(8 * PAGE as usize, 3);
        (0..5).for_each(|offset| ahead.insert(offset, offset));
        ahead.insert(100 * PAGE, 7);
        assert_eq!((ahead.len(), ahead.in_window()), (4, 1));
        assert_eq!(ahead.remove(1), Some(1));
        ahead.insert(101 * PAGE, 8);
        assert_eq!((ahead.remove(4), ahead.remove(100 * PAGE)), (None, Some(7)), "there was room for three");
        assert_eq!(ahead.remove(101 * PAGE), Some(8));
        ahead.insert(2 * PAGE, 1);
        assert_eq!((ahead.get(2 * PAGE), ahead.in_window()), (Some(&1), 0), "the window never goes back");
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0..3u8, 0..6_000u64), 0..600)) {
            let (mut ahead, mut map) = (Ahead::new(8 * PAGE as usize, usize::MAX), BTreeMap::new());
            for (kind, offset) in steps {
                match kind {
                    0 => prop_assert_eq!(ahead.remove(offset), map.remove(&offset)),
                    1 => prop_assert_eq!(ahead.get_mut(offset).copied(), map.get(&offset).copied()),
                    _ => if map.insert(offset, offset * 2).is_none() {
                        ahead.insert(offset, offset * 2);
                    },
                }
                prop_assert_eq!(ahead.len(), map.len());
            }
            let all: BTreeMap<u64, u64> = ahead.iter().map(|(offset, value)| (offset, *value)).collect();
            prop_assert_eq!(all, map);
        }
    }
}
