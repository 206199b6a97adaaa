//! The batches of one lane that were sent and not yet settled.

use std::collections::VecDeque;

use super::fault::Fault;
use crate::record::Offset;

/// One batch in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InFlight {
    lowest: Offset,
    highest: Offset,
    records: u32,
    bytes: usize,
    sent_ms: u64,
    settled: bool,
}

/// What a receipt has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) highest: Offset,
    pub(super) records: u32,
    pub(super) bytes: usize,
    pub(super) sent_ms: u64,
}

/// The in-flight window of a lane.
/// Invariant: ids rise from batch to batch, and the front is never settled.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    batches: VecDeque<InFlight>,
}

impl Window {
    /// A batch is being sent.
    pub(super) fn push(&mut self, lowest: Offset, highest: Offset, records: u32, bytes: usize, now_ms: u64) {
        assert!(lowest <= highest, "a batch's ids rise");
        if !Fault::StartAtLastSequenceId.active() {
            assert!(self.batches.back().is_none_or(|last| last.highest < lowest), "ids rise along a lane");
        }
        self.batches.push_back(InFlight { lowest, highest, records, bytes, sent_ms: now_ms, settled: false });
    }

    /// A receipt settles the batch that starts with `lowest`, and nothing else. Receipts may overtake each other.
    /// `None`: no such batch is in flight.
    pub(super) fn settle(&mut self, lowest: Offset) -> Option<Settled> {
        let index = self.batches.binary_search_by_key(&lowest, |batch| batch.lowest).ok()?;
        let batch = &mut self.batches[index];
        if batch.settled {
            return None;
        }
        batch.settled = true;
        let settled =
            Settled { highest: batch.highest, records: batch.records, bytes: batch.bytes, sent_ms: batch.sent_ms };
        if Fault::ReceiptSettlesAllBefore.active() {
            self.batches.iter_mut().take(index).for_each(|batch| batch.settled = true);
        }
        while self.batches.front().is_some_and(|batch| batch.settled) {
            self.batches.pop_front();
        }
        Some(settled)
    }

    /// The highest id of the batch that starts with `lowest`.
    pub(super) fn starting_with(&self, lowest: Offset) -> Option<Offset> {
        let index = self.batches.binary_search_by_key(&lowest, |batch| batch.lowest).ok()?;
        Some(self.batches[index].highest)
    }

    /// The batch that ends with `highest`, as (lowest, number of records): errors name a batch by its highest id.
    pub(super) fn ending_with(&self, highest: Offset) -> Option<(Offset, u32)> {
        let batch = self.batches.iter().find(|batch| batch.highest == highest)?;
        Some((batch.lowest, batch.records))
    }

    /// The lowest id that is not settled.
    pub(super) fn lowest_unsettled(&self) -> Option<Offset> {
        self.batches.front().map(|batch| batch.lowest)
    }

    /// When the oldest batch in flight was sent, with its lowest id.
    pub(super) fn oldest(&self) -> Option<(Offset, u64)> {
        self.batches.front().map(|batch| (batch.lowest, batch.sent_ms))
    }

    /// Batches in flight.
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Bytes in flight.
    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().filter(|batch| !batch.settled).map(|batch| batch.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_settles_its_batch_and_nothing_else() {
        let mut window = Window::default();
        window.push(1, 3, 3, 30, 7);
        window.push(4, 9, 6, 60, 8);
        assert_eq!(window.settle(4).map(|settled| settled.highest), Some(9));
        assert_eq!(window.lowest_unsettled(), Some(1), "the receipt of the second proves nothing of the first");
        assert_eq!(window.bytes(), 30);
        assert_eq!(window.settle(4), None, "a batch is settled once");
        assert_eq!(window.settle(2), None, "a receipt names the lowest id");
        assert!(window.settle(1).is_some());
        assert_eq!((window.lowest_unsettled(), window.len()), (None, 0));
    }

    #[test]
    #[should_panic(expected = "ids rise along a lane")]
    fn a_batch_never_goes_back() {
        let mut window = Window::default();
        window.push(4, 9, 6, 60, 8);
        window.push(9, 10, 2, 20, 8);
    }
}
