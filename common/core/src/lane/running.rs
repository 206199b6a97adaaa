//! A partition that is open, event by event: what a receipt settles, what means that an outcome is unknown, and what
//! follows from the state after each event.

use super::checkpoint::RepairIntent;
use super::fault::Fault;
use super::leaving::{Goal, Leaving};
use super::open_lane::Lane;
use super::partition::{Partition, Phase};
use super::reasons::{Note, SendFailure, Stop, Why};
use super::repair::Progress;
use super::session::Session;
use super::setup::Numbering;
use super::step::{Action, Event, Role, Tag, Topic};
use crate::record::{MessageId, Offset};

impl Partition {
    /// One event while records are moving.
    /// Invariant: whatever leaves an outcome unknown opens the partition again; no batch is ever stepped over.
    pub(super) fn while_running(
        &mut self,
        mut session: Box<Session>,
        event: Event,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Phase {
        let deadline_ms = now_ms + self.setup.limits.leave_ms;
        match event {
            Event::Release { deadline_ms } => self.leave(session, Goal::Release, true, deadline_ms, actions),
            Event::StopNow { stop } => self.leave(session, Goal::Stop(stop), true, deadline_ms, actions),
            Event::SourceFailed { reason, stop: true } => {
                self.leave(session, Goal::Stop(Stop::Source(reason)), true, deadline_ms, actions)
            }
            event => match self.take_in(&mut session, event, now_ms, actions) {
                None => self.progress(session, now_ms, actions),
                Some(why) => self.reopen(session, why, now_ms, actions),
            },
        }
    }

    /// What the event changes in the session; or why the partition has to be opened again.
    fn take_in(&mut self, session: &mut Session, event: Event, now_ms: u64, actions: &mut Vec<Action>) -> Option<Why> {
        match event {
            Event::Receipt { tag, lowest, id } => self.receipt(session, tag, lowest, id, now_ms, actions),
            Event::SendFailed { tag, highest, failure } => Some(send_failed(session, tag, highest, failure)),
            Event::Closed { tag, reason } => closed(session, tag, reason),
            Event::Opened { tag, last } => {
                repair_opened(session, tag, last, actions);
                None
            }
            Event::NotOpened { tag, reason } => repair_not_opened(session, tag, &reason.to_string()),
            Event::Peeked { tag, lane, end } => {
                session.peeked(tag, lane, end);
                None
            }
            Event::RoutingWanted { routing } => {
                session.set_barrier(&routing);
                None
            }
            Event::SourceFailed { reason, .. } => Some(Why::Source(reason)),
            Event::Tick => {
                let timeout_ms = self.setup.limits.send_timeout_ms;
                session.overdue(now_ms, timeout_ms).map(|lowest| Why::Timeout { lowest, timeout_ms })
            }
            // These end a session before they come here.
            Event::Release { .. } | Event::StopNow { .. } => None,
            // Late answers to an opening that was given up.
            Event::EntryRead { .. }
            | Event::Scanned { .. }
            | Event::ScanFailed { .. }
            | Event::StartResolved { .. } => None,
        }
    }

    /// Invariant: a receipt settles its own batch and nothing else, and -1:-1 settles nothing.
    fn receipt(
        &mut self,
        session: &mut Session,
        tag: Tag,
        lowest: u64,
        id: Option<MessageId>,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Option<Why> {
        if id.is_none() && !Fault::DuplicateReceiptIsSuccess.active() {
            let ours = tag == session.owner || session.repairs.tag() == Some(tag) || session.lane_of(tag).is_some();
            if let Some(lane) = session.lane_of(tag) {
                self.taken_before(&session.lanes[lane], lowest);
            }
            return ours.then_some(Why::Duplicate { lowest });
        }
        if tag == session.owner {
            if let Some(checkpoint) = session.wrote(lowest, now_ms) {
                self.stored_position = Some(checkpoint.position);
                actions.push(Action::Commit { offset: checkpoint.position });
            }
        } else if let Some(lane) = session.lane_of(tag) {
            match session.settle(lane, lowest, id) {
                None => return Some(Why::StrayReceipt { lowest }),
                Some(_) => self.fruitless = 0,
            }
        } else if let Progress::Sent(sent, _) = session.repairs.progress
            && sent == tag
        {
            session.repairs.settled();
            session.repairs.progress = Progress::Closing(tag);
            self.fruitless = 0;
            actions.push(Action::Close { tag });
        }
        None
    }

    /// The broker knows ids from `lowest` on, though it did not say so (L too low after a reload) and they cannot be read
    /// (trimmed): the whole batch goes by way of a repair, or it would be sent and dropped for ever.
    fn taken_before(&mut self, lane: &Lane, lowest: Offset) {
        if let Some(highest) = lane.window.starting_with(lowest) {
            let before = self.taken.iter().find(|(topic, _)| *topic == lane.topic).map(|(_, highest)| *highest);
            self.taken.retain(|(topic, _)| *topic != lane.topic);
            self.taken.push((lane.topic.clone(), before.map_or(highest, |before| before.max(highest))));
        }
    }

    /// What follows from the present state: a change of routing, a repair, a checkpoint, a peek.
    pub(super) fn progress(&mut self, mut session: Box<Session>, now_ms: u64, actions: &mut Vec<Action>) -> Phase {
        let is_at_barrier = session.barrier.is_some_and(|barrier| session.next >= barrier) && session.is_settled();
        if is_at_barrier || (session.barrier.is_some() && Fault::ChangeRoutingUnsettled.active()) {
            return self.change_routing(session, now_ms, actions);
        }
        if let Some(why) = self.advance_repair(&mut session, now_ms, actions) {
            return self.reopen(session, why, now_ms, actions);
        }
        if let Some(offset) = session.resume() {
            if self.setup.numbering == Numbering::Counter {
                // A queue would deliver again what is in flight, too, under new ids.
                return self.reopen(session, Why::Source("a queue cannot be led back".into()), now_ms, actions);
            }
            actions.push(Action::StartSource { offset });
        }
        self.write_checkpoint(&mut session, now_ms, actions);
        if let Some(lane) = session.lane_to_peek(now_ms, self.setup.limits.peek_ms) {
            let tag = self.tags.fresh();
            session.peeking(tag, lane);
            actions.push(Action::Peek { tag, lane, topic: Topic::Named(session.lanes[lane.0].topic.clone()) });
        }
        Phase::Running(session)
    }

    /// Invariant: the routing changes only where nothing is outstanding under the present one and the source has come
    /// past everything that may lie in the present lanes.
    fn change_routing(&self, session: Box<Session>, now_ms: u64, actions: &mut Vec<Action>) -> Phase {
        actions.push(Action::Note { note: Note::Reopening(Why::Routing) });
        let deadline_ms = now_ms + self.setup.limits.leave_ms;
        let leaving = Leaving::start(*session, Goal::Reopen(Why::Routing), false, deadline_ms, actions);
        let leaving = leaving.announcing(self.setup.routing.clone(), self.setup.source_partition);
        Phase::Leaving(Box::new(leaving))
    }

    /// The repair in front goes one step on: first its name is acquired, then (`Session::checkpoint`) the intent stored,
    /// then its batch sent. Gives the reason if it cannot go on.
    fn advance_repair(&mut self, session: &mut Session, now_ms: u64, actions: &mut Vec<Action>) -> Option<Why> {
        if let Some((tag, last, intent)) = session.repair_to_send() {
            if last.is_some_and(|last| last >= intent.lowest) {
                // Something was pushed under this very name: the opening protocol finds out whether it is stored.
                let RepairIntent { lowest, highest, .. } = intent;
                return Some(Why::Repair { lowest, highest, text: "its name was used before".into() });
            }
            session.repairs.progress = Progress::Sent(tag, now_ms);
            actions.push(Action::SendRepair { tag, intent });
        }
        if let Some(intent) = session.repair_to_open() {
            let tag = self.tags.fresh();
            session.repairs.progress = Progress::Opening(tag);
            let topic = Topic::Named(session.lanes[intent.lane.0].topic.clone());
            actions.push(Action::Note { note: Note::Repairing { lowest: intent.lowest, highest: intent.highest } });
            actions.push(Action::Open { tag, role: Role::Repair(intent), topic, attempt: 0 });
        }
        None
    }

    /// Starts a checkpoint when one is due: the position moved, a repair waits for its intent, marks moved long ago, or
    /// the last one is old. One is under way at a time.
    fn write_checkpoint(&self, session: &mut Session, now_ms: u64, actions: &mut Vec<Action>) {
        if session.writing.is_some() {
            return;
        }
        let limits = &self.setup.limits;
        let waited_ms = now_ms.saturating_sub(session.written_ms);
        if waited_ms < limits.checkpoint_ms && !session.intent_waits() {
            return;
        }
        let checkpoint = session.checkpoint(now_ms);
        let moved = checkpoint.position != session.written.position || checkpoint.repairs != session.written.repairs;
        let marked =
            checkpoint.marks != session.written.marks && waited_ms >= limits.peek_ms.min(limits.idle_checkpoint_ms);
        if moved || marked || waited_ms >= limits.idle_checkpoint_ms {
            let sequence_id = session.write(&checkpoint, now_ms);
            actions.push(Action::WriteCheckpoint { tag: session.owner, sequence_id, checkpoint });
        }
    }

    /// An outcome is unknown: the opening protocol finds out.
    fn reopen(&mut self, mut session: Box<Session>, why: Why, now_ms: u64, actions: &mut Vec<Action>) -> Phase {
        if Fault::StepOverUnknownBatch.active() {
            session.step_over();
        }
        actions.push(Action::Note { note: Note::Reopening(why.clone()) });
        self.leave(session, Goal::Reopen(why), false, now_ms + self.setup.limits.leave_ms, actions)
    }

    /// Lets go of the session; what was refused in it is remembered for the next.
    fn leave(
        &mut self,
        session: Box<Session>,
        goal: Goal,
        flush: bool,
        deadline_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Phase {
        self.lowest_counter = self.lowest_counter.max(session.next);
        self.suspects = session.suspects.filter(|(_, highest)| session.position() <= *highest);
        self.refused = session.refused.clone();
        self.refused.forget_below(session.position());
        self.refusals = session.refusals.next();
        Phase::Leaving(Box::new(Leaving::start(*session, goal, flush, deadline_ms, actions)))
    }
}

/// A batch was answered with an error. What was refused for its content is remembered: no retry of it can work.
fn send_failed(session: &mut Session, tag: Tag, highest: u64, failure: SendFailure) -> Why {
    let text = match failure {
        SendFailure::Unknown(text) => text,
        SendFailure::Refused(text) => {
            if let Some((lowest, records)) =
                session.lane_of(tag).and_then(|lane| session.lanes[lane].window.ending_with(highest))
            {
                session.refused(lowest, highest, records);
            } else if let Some(front) = session.repairs.front().filter(|_| session.repairs.tag() == Some(tag)) {
                session.refused(front.lowest, front.highest, session.repairs.front_records());
            }
            text
        }
    };
    Why::SendError { highest, text }
}

/// A producer is closed: only that of a settled repair may be.
fn closed(session: &mut Session, tag: Tag, reason: String) -> Option<Why> {
    if tag == session.owner {
        session.owner_alive = false;
        return Some(Why::ProducerClosed(reason));
    }
    if session.repairs.progress == Progress::Closing(tag) {
        session.repairs.progress = Progress::Waiting;
        return None;
    }
    let ours = session.repairs.tag() == Some(tag) || session.lane_of(tag).is_some();
    ours.then_some(Why::ProducerClosed(reason))
}

/// The name of the repair in front is held.
fn repair_opened(session: &mut Session, tag: Tag, last: Option<u64>, actions: &mut Vec<Action>) {
    if session.repairs.progress == Progress::Opening(tag) {
        session.repairs.progress = Progress::Held(tag, last);
    } else {
        // Nobody waits for it any more; left open it would hold its name.
        actions.push(Action::Close { tag });
    }
}

/// The name of the repair in front cannot be had.
fn repair_not_opened(session: &Session, tag: Tag, text: &str) -> Option<Why> {
    let intent = session.repairs.front().filter(|_| session.repairs.progress == Progress::Opening(tag))?;
    Some(Why::Repair { lowest: intent.lowest, highest: intent.highest, text: text.into() })
}
