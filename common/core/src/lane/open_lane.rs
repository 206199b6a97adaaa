//! One lane of an open partition: the batch that is being filled, those in flight, and the mark.

use std::collections::VecDeque;

use super::checkpoint::Mark;
use super::fault::Fault;
use super::step::Tag;
use super::window::{Settled, Window};
use crate::record::{MessageId, Offset};

/// How many settled batches are kept as candidates for the mark.
const CANDIDATES_MAX: usize = 2048;

/// The batch of a lane that is being filled.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenBatch {
    pub(super) lowest: Offset,
    highest: Offset,
    pub(super) records: u32,
    pub(super) bytes: usize,
}

/// One lane of an open partition.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) topic: String,
    pub(super) tag: Tag,
    /// The highest id that this lane's name was ever known to have used: L, the ids read back, and what is sent since.
    /// Invariant: a batch starts strictly above it.
    pub(super) border: Option<Offset>,
    /// As the border, with the repairs: below it nothing of this lane may lie behind the mark.
    pub(super) highest_known: Option<Offset>,
    pub(super) batch: Option<OpenBatch>,
    pub(super) window: Window,
    /// Settled batches whose ids the mark may not pass yet, oldest first: candidates for it.
    settled: VecDeque<(Offset, MessageId)>,
    pub(super) mark: Mark,
    /// When a peek was asked for: under which tag, and what `highest_known` was then. An answer to an earlier session
    /// could be of another topic, where the routing has changed since.
    peeking: Option<(Tag, Option<Offset>)>,
    pub(super) peeked_ms: u64,
    /// Dead letters in the batch are settled when sent: only under the deliberate fault.
    pub(super) settles_at_once: bool,
}

impl Lane {
    /// A lane with nothing in flight: its topic, its producer, what its name and the repairs have used, its mark.
    pub(super) fn new(topic: String, tag: Tag, border: Option<Offset>, repaired: Option<Offset>, mark: Mark) -> Self {
        Self {
            topic,
            tag,
            border,
            highest_known: border.max(repaired),
            batch: None,
            window: Window::default(),
            settled: VecDeque::new(),
            mark,
            peeking: None,
            peeked_ms: 0,
            settles_at_once: false,
        }
    }

    /// Its lowest id that is batched or in flight.
    pub(super) fn lowest_unsettled(&self) -> Option<Offset> {
        let batched = self.batch.map(|batch| batch.lowest);
        self.window.lowest_unsettled().or(batched).filter(|_| !self.settles_at_once)
    }

    /// Moves the mark to the newest settled batch of those that lie below `limit` altogether: the position, or what is out
    /// of reach.
    /// Invariant: nothing of this lane at or above the position, and nothing within reach, lies before the mark.
    pub(super) fn advance_mark(&mut self, limit: Offset) {
        while self.settled.front().is_some_and(|(highest, _)| *highest < limit || Fault::MarkIsNewestReceipt.active()) {
            let (_, id) = self.settled.pop_front().expect("the front was looked at");
            // Entries along a topic rise, and so do the ids of a lane: the mark only moves forward.
            self.mark = id.into();
        }
    }

    /// The lane's name is known to have used this id, too.
    pub(super) fn raise_border(&mut self, highest: Offset) {
        self.border = self.border.max(Some(highest));
        self.highest_known = self.highest_known.max(self.border);
    }

    /// What is batched or in flight, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.window.bytes() + self.batch.map_or(0, |batch| batch.bytes)
    }

    /// Whether nothing is batched or in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.batch.is_none() && self.window.len() == 0
    }

    /// Whether an id may be sent under the lane's own name; else only a repair can carry it.
    pub(super) fn is_above_border(&self, offset: Offset) -> bool {
        self.border.is_none_or(|border| offset > border || (Fault::StartAtLastSequenceId.active() && offset == border))
    }

    /// Whether the open batch cannot take another record of so many bytes. After suspects a new batch starts.
    pub(super) fn is_full(
        &self,
        bytes: usize,
        max_records: u32,
        suspects: Option<(Offset, Offset)>,
        batch_bytes: usize,
    ) -> bool {
        self.batch.is_some_and(|batch| {
            let suspect_before = suspects.is_some_and(|(_, highest)| batch.highest <= highest);
            batch.records >= max_records || batch.bytes + bytes > batch_bytes || suspect_before
        })
    }

    /// The record is in the lane's builder now.
    pub(super) fn append(&mut self, offset: Offset, bytes: usize) {
        match &mut self.batch {
            None => self.batch = Some(OpenBatch { lowest: offset, highest: offset, records: 1, bytes }),
            Some(batch) => {
                assert!(offset > batch.highest, "ids rise in a batch");
                batch.highest = offset;
                batch.records += 1;
                batch.bytes += bytes;
            }
        }
    }

    /// The open batch is sealed and sent.
    pub(super) fn seal(&mut self, bytes: usize, now_ms: u64) {
        let batch = self.batch.take().expect("only an open batch is sealed");
        if !Fault::StartAtLastSequenceId.active() {
            assert!(self.border.is_none_or(|border| batch.lowest > border), "a batch starts above everything known");
        }
        self.border = self.border.max(Some(batch.highest));
        self.highest_known = self.highest_known.max(Some(batch.highest));
        self.window.push(batch.lowest, batch.highest, batch.records, bytes, now_ms);
    }

    /// A receipt settles its batch; `None` where no such batch is in flight.
    pub(super) fn settle(&mut self, lowest: Offset, id: Option<MessageId>) -> Option<Settled> {
        let settled = self.window.settle(lowest)?;
        if let Some(id) = id {
            // Receipts may overtake each other, marks may not.
            let after = self.settled.iter().rev().take_while(|(highest, _)| *highest > settled.highest).count();
            self.settled.insert(self.settled.len() - after, (settled.highest, id));
            if self.settled.len() > CANDIDATES_MAX {
                // Without some of them the mark moves in larger steps.
                let mut is_kept = false;
                self.settled.retain(|_| {
                    is_kept = !is_kept;
                    is_kept
                });
            }
        }
        Some(settled)
    }

    /// Whether the lane is quiet and was not peeked at for so long: its mark falls behind a topic that others fill.
    /// `limit`: up to where its mark may move.
    pub(super) fn should_peek(&self, limit: Offset, now_ms: u64, every_ms: u64) -> bool {
        self.is_idle() && self.highest_known.is_none_or(|known| known < limit) && now_ms >= self.peeked_ms + every_ms
    }

    /// The lane is being peeked at.
    pub(super) fn peeking(&mut self, tag: Tag) {
        self.peeking = Some((tag, self.highest_known));
    }

    /// The answer to a peek: nothing of this lane was within reach, and nothing was sent since the question.
    pub(super) fn peeked(&mut self, tag: Tag, end: Option<MessageId>) {
        let unchanged = self.peeking.take() == Some((tag, self.highest_known)) && self.is_idle();
        if let (true, Some(end)) = (unchanged, end) {
            self.mark = end.into();
            self.settled.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_memory_from_its_first_record_to_its_receipt() {
        let mut lane = Lane::new("t".into(), Tag(1), None, None, Mark::Earliest);
        lane.append(3, 10);
        lane.append(4, 20);
        assert_eq!(lane.held_bytes(), 30);
        lane.seal(30, 0);
        lane.append(5, 7);
        assert_eq!((lane.held_bytes(), lane.window.bytes()), (37, 30));
        lane.settle(3, None);
        assert_eq!(lane.held_bytes(), 7);
    }
}
