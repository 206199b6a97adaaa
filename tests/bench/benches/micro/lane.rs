//! The core's part of every record: admitted, placed, appended, sealed, and settled by a receipt.

use std::collections::VecDeque;
use std::hint::black_box;

use bridge_common::lane::{
    Action, Event, LaneId, Limits, Numbering, Partition, PartitionBy, Reach, Routing, Scan, Setup, Tag,
};
use bridge_common::record::MessageId;

use crate::{fastest, show};

/// Records of a batch, and batches of a round.
const BATCH: u64 = 1_400;
const BATCHES: u64 = 50;
const RECORD_BYTES: usize = 300;

/// The lane that source partition 0 has.
const LANE: LaneId = LaneId(0);

/// A partition on an empty target: everything that it asks for is there at once.
struct World {
    core: Partition,
    next: u64,
    now_ms: u64,
    entry: u64,
    sent: VecDeque<(Tag, u64)>,
}

impl World {
    fn open() -> Self {
        let routing = Routing {
            partition_by: PartitionBy::Source,
            topic: "persistent://public/bench/events".to_owned(),
            partitions: 1,
            dead_letters: "persistent://public/bench/events-dead-letters".to_owned(),
            routes: Vec::new(),
        };
        let setup = Setup {
            source_partition: 0,
            routing,
            limits: Limits::default(),
            numbering: Numbering::Offsets,
            reach: Reach::default(),
        };
        let mut actions = Vec::new();
        let core = Partition::open(setup, &mut actions);
        let mut world = Self { core, next: 0, now_ms: 1, entry: 0, sent: VecDeque::new() };
        world.answer(actions);
        assert!(world.core.can_take(), "the partition has not opened");
        world
    }

    /// Answers all actions, and those that come of the answers.
    fn answer(&mut self, mut actions: Vec<Action>) {
        while !actions.is_empty() {
            let mut next = Vec::new();
            for action in actions.drain(..) {
                let event = match action {
                    Action::Open { tag, .. } => Event::Opened { tag, last: None },
                    Action::ReadEntry { tag, .. } => Event::EntryRead { tag, entry: None },
                    Action::Scan { tag, .. } => Event::Scanned { tag, scan: Scan::default() },
                    Action::ResolveStart => Event::StartResolved { offset: 0, committed: None },
                    Action::WriteCheckpoint { tag, sequence_id, .. } => self.receipt(tag, sequence_id),
                    Action::Peek { tag, lane, .. } => Event::Peeked { tag, lane, end: None },
                    Action::Close { tag } => Event::Closed { tag, reason: String::new() },
                    _ => continue,
                };
                self.core.step(event, self.now_ms, &mut next);
            }
            actions = next;
        }
    }

    fn receipt(&mut self, tag: Tag, lowest: u64) -> Event {
        self.entry += 1;
        Event::Receipt { tag, lowest, id: Some(MessageId { ledger: 1, entry: self.entry }) }
    }

    /// One batch through the core; the oldest is settled where many are under way.
    fn batch(&mut self) {
        let lowest = self.next;
        for offset in lowest..lowest + BATCH {
            black_box(self.core.admit(offset));
            let lane = self.core.lane(None, None);
            assert_eq!(lane, LANE);
            black_box(self.core.place(lane, offset, RECORD_BYTES, false));
            self.core.appended(lane, offset, RECORD_BYTES);
        }
        self.next += BATCH;
        let tag = self.core.sealed(LANE, RECORD_BYTES * BATCH as usize, self.now_ms);
        self.sent.push_back((tag, lowest));
        if self.sent.len() > 8
            && let Some((tag, lowest)) = self.sent.pop_front()
        {
            self.now_ms += 1;
            let receipt = self.receipt(tag, lowest);
            let mut actions = Vec::new();
            self.core.step(receipt, self.now_ms, &mut actions);
            self.answer(actions);
        }
    }
}

/// Measures it beside a map of what is unsettled, which does the least that any such core must.
pub(crate) fn show_lane() {
    let mut world = World::open();
    let ours = fastest((BATCH * BATCHES) as usize, || (0..BATCHES).for_each(|_| world.batch()));
    let mut unsettled = std::collections::BTreeSet::new();
    let mut next = 0_u64;
    let reference = fastest((BATCH * BATCHES) as usize, || {
        for _ in 0..BATCH * BATCHES {
            unsettled.insert(next);
            next += 1;
            if unsettled.len() > 8 * BATCH as usize {
                black_box(unsettled.pop_first());
            }
        }
    });
    show("lane core", ours, reference, "a BTreeSet of unsettled ids");
}
