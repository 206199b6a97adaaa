//! Letting go of an open partition: settle what can be settled, close the lanes (which drains them exactly), write the
//! checkpoint, close the name that owns the partition, and only then go on to the goal.

use std::collections::BTreeSet;

use super::checkpoint::{Checkpoint, FormerLane, Mark};
use super::fault::Fault;
use super::reach::ReachBack;
use super::reasons::{Stop, Why};
use super::repair::Progress;
use super::routing::Routing;
use super::session::Session;
use super::step::{Action, Event, Tag};
use crate::record::Offset;

/// What comes after letting go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// Open again, for this reason.
    Reopen(Why),
    /// Somebody else may have the partition.
    Release,
    /// Nothing until a person acts.
    Stop(Stop),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Waiting for receipts of what was flushed.
    Settling,
    /// The lanes' producers are being closed.
    ClosingLanes(BTreeSet<Tag>),
    /// The checkpoint is being written.
    Writing,
    /// The name on the checkpoint topic is being given back.
    ClosingOwner,
}

/// A partition that lets go.
#[derive(Debug, Clone)]
pub(super) struct Leaving {
    pub(super) session: Session,
    pub(super) goal: Goal,
    stage: Stage,
    deadline_ms: u64,
    /// The routing that the last checkpoint announces, when it changes.
    next_routing: Option<Routing>,
    source_partition: u32,
}

impl Leaving {
    /// Starts to let go. With `flush`, what is batched was sealed and sent, and its receipts are waited for until
    /// `deadline_ms`; without, what is batched is forgotten, to be read again from the position.
    pub(super) fn start(
        session: Session,
        goal: Goal,
        flush: bool,
        deadline_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Self {
        actions.push(Action::StopSource { flush });
        let mut leaving =
            Self { session, goal, stage: Stage::Settling, deadline_ms, next_routing: None, source_partition: 0 };
        if !flush {
            leaving.close_lanes(actions);
        }
        leaving
    }

    /// The next checkpoint announces another routing. Only for a session in which everything is settled.
    pub(super) fn announcing(mut self, routing: Routing, source_partition: u32) -> Self {
        self.next_routing = Some(routing);
        self.source_partition = source_partition;
        self
    }

    /// Another goal or an earlier deadline for a partition that is letting go already.
    pub(super) fn aim(&mut self, goal: Goal, deadline_ms: u64) {
        // A stop is not undone by a release: both let go of everything, and the stop says why.
        if !matches!(self.goal, Goal::Stop(_)) {
            self.goal = goal;
        }
        self.deadline_ms = self.deadline_ms.min(deadline_ms);
    }

    /// Handles one event; true when everything is let go of. Receipts still settle, errors no longer matter: what is not
    /// settled lies at or above the position, and whoever opens the partition next looks it up.
    pub(super) fn step(&mut self, event: &Event, now_ms: u64, actions: &mut Vec<Action>) -> bool {
        match event {
            Event::Receipt { tag, lowest, id: Some(id) } => {
                if *tag == self.session.owner {
                    if let Some(checkpoint) = self.session.wrote(*lowest, now_ms) {
                        actions.push(Action::Commit { offset: checkpoint.position });
                    }
                } else if let Some(lane) = self.session.lane_of(*tag) {
                    self.session.settle(lane, *lowest, Some(*id));
                } else if matches!(self.session.repairs.progress, Progress::Sent(sent, _) if sent == *tag) {
                    self.session.repairs.settled();
                    self.session.repairs.progress = Progress::Closing(*tag);
                }
            }
            Event::Closed { tag, .. } => self.closed(*tag, actions),
            Event::SendFailed { tag, .. } | Event::Receipt { tag, id: None, .. } => {
                if *tag == self.session.owner {
                    self.session.writing = None;
                    // While lanes are being closed they are waited for: their names are let go of before this one.
                    if self.stage == Stage::Writing {
                        self.close_owner(actions);
                    }
                } else if self.stage == Stage::Settling {
                    self.close_lanes(actions);
                }
            }
            _ => {}
        }
        self.advance(now_ms, actions);
        matches!(&self.stage, Stage::ClosingOwner if !self.session.owner_alive)
    }

    fn advance(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let is_late = now_ms >= self.deadline_ms;
        match &self.stage {
            Stage::Settling if is_late || !self.session.awaits_receipts() => self.close_lanes(actions),
            Stage::ClosingLanes(tags) if tags.is_empty() => self.write(now_ms, actions),
            Stage::Writing if is_late || self.session.writing.is_none() => self.close_owner(actions),
            _ => {}
        }
    }

    fn closed(&mut self, tag: Tag, actions: &mut Vec<Action>) {
        if tag == self.session.owner {
            self.session.owner_alive = false;
            self.session.writing = None;
        }
        match &mut self.stage {
            Stage::ClosingLanes(tags) => {
                tags.remove(&tag);
            }
            Stage::Settling if self.session.repairs.progress == Progress::Closing(tag) => {
                self.session.repairs.progress = Progress::Waiting;
            }
            Stage::Settling => {
                // Something broke while settling: the rest is closed, which drains it.
                self.close_lanes(actions);
                if let Stage::ClosingLanes(tags) = &mut self.stage {
                    tags.remove(&tag);
                }
            }
            Stage::Writing | Stage::ClosingOwner => {}
        }
    }

    fn close_lanes(&mut self, actions: &mut Vec<Action>) {
        let tags: BTreeSet<Tag> =
            self.session.lanes.iter().map(|lane| lane.tag).chain(self.session.repairs.tag()).collect();
        actions.extend(tags.iter().map(|tag| Action::Close { tag: *tag }));
        self.stage = Stage::ClosingLanes(tags);
    }

    fn write(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let mut checkpoint = self.session.checkpoint(now_ms);
        if let Some(routing) = &self.next_routing {
            let is_settled = checkpoint.position == self.session.next || Fault::ChangeRoutingUnsettled.active();
            assert!(is_settled, "a routing changes only where everything is settled");
            let keeps_former = !ReachBack::is_none(self.session.reach.reach());
            checkpoint = reroute(checkpoint, routing, self.source_partition, keeps_former);
        }
        if !self.session.owner_alive || checkpoint == self.session.written {
            return self.close_owner(actions);
        }
        self.stage = Stage::Writing;
        let sequence_id = self.session.write(&checkpoint, now_ms);
        actions.push(Action::WriteCheckpoint { tag: self.session.owner, sequence_id, checkpoint });
    }

    fn close_owner(&mut self, actions: &mut Vec<Action>) {
        self.stage = Stage::ClosingOwner;
        if self.session.owner_alive {
            actions.push(Action::Close { tag: self.session.owner });
        }
    }

    /// The position that was last stored.
    pub(super) fn stored_position(&self) -> Offset {
        self.session.written.position
    }
}

/// The checkpoint that announces another routing: lanes that stay keep their marks, of new ones nothing is read back (what
/// their topics hold of an earlier routing is settled and out of reach), and those that go are remembered, with a reach, until nothing in them is within it.
fn reroute(mut checkpoint: Checkpoint, routing: &Routing, source_partition: u32, keeps_former: bool) -> Checkpoint {
    let lanes = routing.lanes(source_partition);
    let had = checkpoint.routing.lanes(source_partition).into_iter().zip(checkpoint.marks).map(|(topic, mark)| {
        // Everything in it lies below the position: nothing is outstanding.
        FormerLane { topic, mark, until: checkpoint.position }
    });
    let mut former: Vec<FormerLane> = had.chain(checkpoint.former).collect();
    let mark = |topic: &String| former.iter().find(|lane| lane.topic == *topic).map_or(Mark::Unsent, |lane| lane.mark);
    checkpoint.marks = lanes.iter().map(mark).collect();
    checkpoint.routing = routing.clone();
    former.retain(|lane| keeps_former && !lanes.contains(&lane.topic));
    checkpoint.former = if Fault::ForgetFormerLanes.active() { Vec::new() } else { former };
    checkpoint
}

#[cfg(test)]
mod tests {
    use super::super::routing::PartitionBy;
    use super::*;

    fn routing(partitions: u32) -> Routing {
        let (topic, dead_letters) = ("t".to_owned(), "dead".to_owned());
        Routing { partition_by: PartitionBy::Source, topic, partitions, dead_letters, routes: Vec::new() }
    }

    #[test]
    fn lanes_that_go_are_remembered_and_found_again() {
        let (one, two) = (Mark::At { ledger: 1, entry: 1 }, Mark::At { ledger: 2, entry: 2 });
        let checkpoint = Checkpoint {
            version: 1,
            position: 50,
            routing: routing(0),
            marks: vec![one, two],
            repairs: Vec::new(),
            reach_records: 5,
            former: Vec::new(),
        };
        let changed = reroute(checkpoint.clone(), &routing(2), 0, true);
        assert_eq!(changed.marks, [Mark::Unsent, two]);
        assert_eq!(changed.former, [FormerLane { topic: "t".into(), mark: one, until: 50 }]);
        let back = reroute(changed, &routing(0), 0, true);
        assert_eq!(back.marks, [one, two]);
        let topics: Vec<&str> = back.former.iter().map(|lane| lane.topic.as_str()).collect();
        assert_eq!(topics, ["t-partition-0"]);
        assert!(reroute(checkpoint, &routing(2), 0, false).former.is_empty(), "without a reach nothing comes again");
    }
}
