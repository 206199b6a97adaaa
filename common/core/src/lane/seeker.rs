//! One name on one topic, while a partition is opened: acquire it, read the topic, and ask again until everything that
//! was ever pushed under it is known.

use super::checkpoint::{Mark, RepairIntent};
use super::fault::Fault;
use super::offsets::OffsetSet;
use super::open_lane::Lane;
use super::reasons::{Evidence, Note};
use super::step::{Action, Role, Scan, ScanFrom, Tag, Tags, Topic};
use crate::record::{MessageId, Offset};

/// After how many further readings a last_sequence_id that was trimmed away is taken as seen, and a checkpoint as gone.
/// The pauses between them grow, so that this takes longer than any write of an earlier holder can be under way.
pub(super) const LAST_WAITS: u32 = 8;

/// One name on one topic.
#[derive(Debug, Clone)]
pub(super) struct Seeker {
    pub(super) role: Role,
    pub(super) topic: String,
    /// Where the next reading starts.
    from: ScanFrom,
    pub(super) state: Seeking,
    /// L: the broker's last_sequence_id at the latest opening.
    pub(super) last: Option<u64>,
    /// The ids that were read under this name.
    pub(super) own: OffsetSet,
    /// The ids that were read under the names of this partition's repairs and redrives.
    pub(super) repaired: OffsetSet,
    /// The last entry of the topic at the latest reading.
    pub(super) end: Option<MessageId>,
    /// The topic may have been trimmed past the mark.
    trimmed: bool,
    /// The next reading is of the whole topic, since L was not seen from the mark on.
    reads_all: bool,
    /// Failures in a row of what is being tried.
    pub(super) attempt: u32,
    /// How often L was not seen, and asked for anew.
    pub(super) waits: u32,
}

/// How far a seeker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seeking {
    /// The name is being acquired.
    Opening(Tag),
    /// It is held, and the topic is being read.
    Scanning { producer: Tag, scan: Tag },
    /// L was not seen: close, and open again to learn whether it is lower now.
    Closing(Tag),
    /// It is held, and nothing under it can still be under way.
    Done(Tag),
}

impl Seeker {
    /// Asks for the name.
    pub(super) fn start(role: Role, topic: String, from: ScanFrom, tags: &mut Tags, actions: &mut Vec<Action>) -> Self {
        let tag = tags.fresh();
        actions.push(Action::Open { tag, role: role.clone(), topic: Topic::Named(topic.clone()), attempt: 0 });
        Self {
            role,
            topic,
            from,
            state: Seeking::Opening(tag),
            last: None,
            own: OffsetSet::new(),
            repaired: OffsetSet::new(),
            end: None,
            trimmed: false,
            reads_all: false,
            attempt: 0,
            waits: 0,
        }
    }

    /// Asks for the name once more.
    pub(super) fn open_again(&mut self, attempt: u32, tags: &mut Tags, actions: &mut Vec<Action>) {
        let tag = tags.fresh();
        self.state = Seeking::Opening(tag);
        let topic = Topic::Named(self.topic.clone());
        actions.push(Action::Open { tag, role: self.role.clone(), topic, attempt });
    }

    /// Reads the topic under the name, from where the last reading has come to.
    pub(super) fn scan(
        &mut self,
        producer: Tag,
        floor: Offset,
        attempt: u32,
        tags: &mut Tags,
        actions: &mut Vec<Action>,
    ) {
        let scan = tags.fresh();
        self.state = Seeking::Scanning { producer, scan };
        let topic = Topic::Named(self.topic.clone());
        actions.push(Action::Scan { tag: scan, role: self.role.clone(), topic, from: self.from, floor, attempt });
    }

    /// Adds what a reading has found.
    pub(super) fn found(&mut self, scan: &Scan) {
        self.attempt = 0;
        // From the beginning of a topic nothing tells whether that was trimmed away. Where the whole topic is read again, the
        // reading from the mark has told.
        self.trimmed |= match self.from {
            _ if std::mem::take(&mut self.reads_all) => false,
            ScanFrom::Mark(Mark::At { ledger, entry }) => scan.first != Some(MessageId { ledger, entry }),
            ScanFrom::Mark(Mark::Earliest) => true,
            ScanFrom::Mark(Mark::Unsent) | ScanFrom::End => false,
        };
        self.own.extend(&scan.own);
        self.repaired.extend(&scan.repaired);
        if let Some(end) = scan.end {
            self.end = Some(end);
            // The next reading goes on at the end of this one, which it reads again.
            self.from = ScanFrom::Mark(end.into());
        }
    }

    /// What tells that something was stored under this name, or was to be.
    pub(super) fn evidence(&self) -> Option<Evidence> {
        let stored = self.own.highest().max(self.repaired.highest());
        self.last.map(Evidence::LastSequenceId).or(stored.map(Evidence::Stored))
    }

    /// Whether nothing under this name can still be under way.
    pub(super) fn knows_all(&self, floor: Offset) -> bool {
        match self.last {
            None => true,
            Some(last) => {
                // A higher id that was read proves as much: ids rise along a lane, and L may be too low after a reload.
                last < floor
                    || self.own.highest() >= Some(last)
                    || (self.trimmed && self.waits >= LAST_WAITS)
                    || Fault::DoNotWaitForLast.active()
            }
        }
    }

    /// The producer that is held or asked for.
    pub(super) fn held(&self) -> Tag {
        match self.state {
            Seeking::Opening(tag) | Seeking::Closing(tag) | Seeking::Done(tag) => tag,
            Seeking::Scanning { producer, .. } => producer,
        }
    }
    /// The name is held, and this is its L: reads the topic.
    pub(super) fn opened(
        &mut self,
        producer: Tag,
        last: Option<u64>,
        floor: Offset,
        tags: &mut Tags,
        actions: &mut Vec<Action>,
    ) {
        self.attempt = 0;
        self.last = last;
        if Fault::SkipScan.active() || Fault::TrustLastSequenceId.active() {
            self.from = ScanFrom::End;
        }
        if let (true, Some(last)) = (Fault::TrustLastSequenceId.active(), last.filter(|last| *last >= floor)) {
            self.own.insert_range(floor, last);
        }
        self.scan(producer, floor, 0, tags, actions);
    }

    /// L was not seen: gives the name back, to learn at the next opening whether it is lower now. After many of them the whole
    /// topic is read, once: where deduplication was switched off and on while writes were under way, L may lie before the
    /// mark.
    pub(super) fn ask_again(&mut self, actions: &mut Vec<Action>) {
        let producer = self.held();
        self.waits += 1;
        if self.waits == LAST_WAITS && !self.trimmed {
            self.from = ScanFrom::Mark(Mark::Earliest);
            self.reads_all = true;
        }
        self.state = Seeking::Closing(producer);
        if let (1, Some(last)) = (self.waits, self.last) {
            actions.push(Action::Note { note: Note::Waiting { topic: self.topic.clone(), last } });
        }
        actions.push(Action::Close { tag: producer });
    }

    /// Nothing under this name can still be under way.
    pub(super) fn done(&mut self, actions: &mut Vec<Action>) {
        self.state = Seeking::Done(self.held());
        let Some(last) = self.last.filter(|_| self.trimmed && self.waits >= LAST_WAITS) else { return };
        actions.push(Action::Note { note: Note::Trimmed { topic: self.topic.clone(), last } });
        if let Role::Repair(RepairIntent { lowest, highest, .. }) = self.role
            && last == highest
        {
            // A repair is one batch, and a lost one would have been forgotten by now: it was stored, and these two
            // were in it. What lay between them is repaired again, under another name.
            self.own.insert(lowest);
            self.own.insert(highest);
        }
    }

    /// The lane that is opened with what was found; `stored` is its mark in the checkpoint. Where nothing of the lane lies
    /// at or above `settled_below`, the mark moves to the end; `None`: it stays, as it reaches back.
    /// Invariant: its border is at or above every id that its name is known to have used.
    pub(super) fn lane(&self, producer: Tag, stored: Mark, settled_below: Option<Offset>) -> Lane {
        let border = if Fault::StartAtLastSequenceId.active() { self.last } else { self.last.max(self.own.highest()) };
        let highest = border.max(self.repaired.highest());
        let nothing_above = settled_below.is_some_and(|position| highest.is_none_or(|highest| highest < position));
        let mark = self.end.filter(|_| nothing_above).map_or(stored, Mark::from);
        Lane::new(self.topic.clone(), producer, border, self.repaired.highest(), mark)
    }
}
