//! Records that wait for their twins. With `dedupe.key` the same event may come by two sources; one of them publishes it,
//! and for the other it is settled by that one's receipt only. Who waits for whom is known to [`crate::dedupe`].

use super::fault::Fault;
use super::partition::{Partition, Phase};
use super::session::Session;
use crate::record::Offset;

impl Partition {
    fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Running(session) => Some(session),
            Phase::Leaving(leaving) => Some(&leaving.session),
            _ => None,
        }
    }

    /// A record that was just admitted is not published here: its twin is under way by another source. It is not settled
    /// before `twin_settled`. When the session ends first, it is forgotten, and read again; leaving does not wait for it.
    pub fn wait_for_twin(&mut self, offset: Offset) {
        let Phase::Running(session) = &mut self.phase else { unreachable!("only a running partition admits records") };
        assert_eq!(offset + 1, session.next, "the record that waits is the one that was admitted last");
        session.twins.insert(offset);
    }

    /// The twin that a record waits for is stored. False where the record does not wait: of an earlier session.
    pub fn twin_settled(&mut self, offset: Offset) -> bool {
        match &mut self.phase {
            Phase::Running(session) => session.twins.remove(&offset),
            Phase::Leaving(leaving) => leaving.session.twins.remove(&offset),
            _ => false,
        }
    }

    /// While the partition is open: the offset below which everything that it has *sent* is stored, whatever waits for
    /// twins. Keys are settled by this, not by the position: two partitions could each wait for the other's position.
    pub fn stored_below(&self) -> Option<Offset> {
        self.session().map(Session::stored_below)
    }

    /// While the partition is open: every delivery of a queue below this one may be acknowledged.
    /// Invariant: a delivery is acknowledged only when it is settled.
    pub fn acknowledge_below(&self) -> Option<Offset> {
        let session = self.session()?;
        Some(if Fault::AckBeforeReceipt.active() { session.next } else { session.position() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::reasons::SendFailure;
    use super::super::routing::{PartitionBy, Routing};
    use super::super::session::Admit;
    use super::super::setup::{Limits, Numbering, Reach, Setup};
    use super::super::step::{Action, Event, Scan, Tag};
    use super::super::{Checkpoint, LaneId};
    use super::*;
    use crate::record::MessageId;

    const AT: MessageId = MessageId { ledger: 1, entry: 1 };

    fn setup(numbering: Numbering, records: u64) -> Setup {
        let routing = Routing {
            partition_by: PartitionBy::Source,
            topic: "t".into(),
            partitions: 0,
            dead_letters: "dead".into(),
            routes: Vec::new(),
        };
        let reach = Reach { ms: 0, records };
        Setup { source_partition: 0, routing, limits: Limits::default(), numbering, reach }
    }

    /// Answers everything that the core asks for, until it asks no more: a world where nothing fails. The broker's
    /// last_sequence_id is `last`. Gives where the source was started, and the last checkpoint.
    fn answer(
        partition: &mut Partition,
        mut actions: Vec<Action>,
        entry: Option<Checkpoint>,
        last: Option<u64>,
        now_ms: u64,
    ) -> (Option<Offset>, Option<Checkpoint>) {
        let (mut started, mut written, mut owner) = (None, entry, None);
        while !actions.is_empty() {
            for action in std::mem::take(&mut actions) {
                let event = match action {
                    Action::Open { tag, topic, .. } => {
                        let is_owner = topic == super::super::Topic::Checkpoints;
                        owner = owner.filter(|_| !is_owner).or(Some(tag));
                        Event::Opened { tag, last: last.filter(|_| !is_owner) }
                    }
                    Action::Close { tag } => Event::Closed { tag, reason: String::new() },
                    Action::ReadEntry { tag, .. } => {
                        Event::EntryRead { tag, entry: written.clone().map(|entry| (1, Some(entry))) }
                    }
                    Action::Scan { tag, .. } => {
                        let mut scan = Scan { first: Some(AT), end: Some(AT), ..Scan::default() };
                        last.into_iter().for_each(|last| scan.own.insert(last));
                        Event::Scanned { tag, scan }
                    }
                    Action::ResolveStart => Event::StartResolved { offset: 100, committed: None },
                    Action::WriteCheckpoint { tag, sequence_id, checkpoint } => {
                        written = Some(checkpoint);
                        Event::Receipt { tag, lowest: sequence_id, id: Some(AT) }
                    }
                    Action::StartSource { offset } => {
                        started = Some(offset);
                        continue;
                    }
                    _ => continue,
                };
                partition.step(event, now_ms, &mut actions);
            }
        }
        (started, written)
    }

    fn open(numbering: Numbering, records: u64) -> (Partition, Offset) {
        let mut actions = Vec::new();
        let mut partition = Partition::open(setup(numbering, records), &mut actions);
        let (started, _) = answer(&mut partition, actions, None, None, 5);
        (partition, started.expect("it opens"))
    }

    fn send(partition: &mut Partition, offset: Offset) -> Tag {
        partition.place(LaneId(0), offset, 10, false);
        partition.appended(LaneId(0), offset, 10);
        partition.sealed(LaneId(0), 10, 6)
    }

    #[test]
    fn a_twin_holds_the_position_and_not_what_is_stored() {
        let (mut partition, start) = open(Numbering::Offsets, 0);
        assert_eq!((start, partition.admit(100)), (100, Admit::Take));
        partition.wait_for_twin(100);
        assert_eq!(partition.admit(101), Admit::Take);
        let tag = send(&mut partition, 101);
        assert_eq!((partition.position(), partition.stored_below()), (Some(100), Some(101)));
        partition.step(Event::Receipt { tag, lowest: 101, id: Some(AT) }, 7, &mut Vec::new());
        assert_eq!((partition.position(), partition.stored_below()), (Some(100), Some(102)));
        assert_eq!(partition.acknowledge_below(), Some(100));
        assert!(partition.twin_settled(100) && !partition.twin_settled(100));
        assert_eq!(partition.position(), Some(102));
    }

    #[test]
    fn leaving_waits_for_no_twin_and_stores_a_position_below_it() {
        let (mut partition, _) = open(Numbering::Offsets, 0);
        partition.admit(100);
        partition.admit(101);
        partition.wait_for_twin(101);
        let mut actions = Vec::new();
        partition.step(Event::Release { deadline_ms: 1_000_000 }, 8, &mut actions);
        partition.step(Event::Tick, 8, &mut actions);
        let (_, written) = answer(&mut partition, actions, None, None, 9);
        assert_eq!(written.expect("a checkpoint is stored").position, 101);
        assert_eq!(partition.phase_name(), super::super::PhaseName::Closed);
        assert!(!partition.twin_settled(101));
    }

    #[test]
    fn a_counter_starts_above_the_clock_and_above_all_that_was_used() {
        let (_, start) = open(Numbering::Counter, 3);
        assert_eq!(start, 5000);
        // Another process, whose clock is far behind; the broker has seen a higher id.
        let entry = Checkpoint {
            version: 1,
            position: 5000,
            routing: setup(Numbering::Counter, 3).routing,
            marks: vec![AT.into(), AT.into()],
            repairs: Vec::new(),
            reach_records: 9,
            former: Vec::new(),
        };
        let mut actions = Vec::new();
        let mut partition = Partition::open(setup(Numbering::Counter, 3), &mut actions);
        let (started, written) = answer(&mut partition, actions, Some(entry), Some(6000), 1);
        assert_eq!(started, Some(6001));
        assert_eq!(written.map(|checkpoint| checkpoint.reach_records), Some(9), "the largest prefetch ever used");
    }

    #[test]
    fn a_refused_message_of_a_queue_is_known_by_what_it_is() {
        let (mut partition, start) = open(Numbering::Counter, 3);
        partition.admit_delivery(start, 1);
        partition.admit_delivery(start + 1, 2);
        partition.appended(LaneId(0), start, 10);
        partition.appended(LaneId(0), start + 1, 10);
        let tag = partition.sealed(LaneId(0), 20, 6);
        let refuse = |partition: &mut Partition, tag, highest| {
            let mut actions = Vec::new();
            let failure = SendFailure::Refused("too large".into());
            partition.step(Event::SendFailed { tag, highest, failure }, 7, &mut actions);
            answer(partition, actions, None, None, 8).0.expect("it opens again")
        };
        let again = refuse(&mut partition, tag, start + 1);
        assert!(again > start);
        assert_eq!(partition.admit_delivery(again, 1), Admit::Take);
        send(&mut partition, again);
        assert_eq!(partition.admit_delivery(again + 1, 2), Admit::Take);
        let tag = send(&mut partition, again + 1);
        let last = refuse(&mut partition, tag, again + 1);
        assert_eq!(partition.admit_delivery(last, 1), Admit::Take);
        assert_eq!(partition.admit_delivery(last + 1, 2), Admit::Refused);
    }
}
