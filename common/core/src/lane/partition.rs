//! One source partition, from the first name to the last close: its phases, and how one leads to the next.

use std::collections::BTreeSet;

use super::checkpoint::Mark;
use super::leaving::{Goal, Leaving};
use super::offsets::OffsetSet;
use super::open_lane::Lane;
use super::opening::{Opening, Outcome, Terms};
use super::reasons::{LastKnown, Note, Stop, Why};
use super::refusals::Refusals;
use super::routing::Routing;
use super::session::Session;
use super::setup::{Numbering, Setup};
use super::step::{Action, Event, Tag, Tags};
use crate::record::Offset;

/// The phase, as operators read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseName {
    /// Somebody else holds the name on the checkpoint topic.
    WaitingForName,
    /// Acquiring names and reading back.
    Opening,
    /// Moving records.
    Running,
    /// Settling and closing.
    Draining,
    /// Let go.
    Closed,
    /// A person must act.
    Stopped,
}

#[derive(Debug, Clone)]
pub(super) enum Phase {
    Opening(Box<Opening>),
    Running(Box<Session>),
    Leaving(Box<Leaving>),
    /// Waiting until these producers are closed.
    Closing(BTreeSet<Tag>, Goal),
    Closed,
    Stopped,
}

/// The core of one source partition. See the module's documentation.
#[derive(Debug, Clone)]
pub struct Partition {
    pub(super) setup: Setup,
    pub(super) tags: Tags,
    pub(super) phase: Phase,
    /// Reopenings in a row in which nothing was settled: paces the next.
    pub(super) fruitless: u32,
    /// The last position that is known to be stored.
    pub(super) stored_position: Option<Offset>,
    /// Above every id that this process has used; for a counter.
    pub(super) lowest_counter: Offset,
    /// Ids whose batch was refused for its content, over a reopening: one of them is too large.
    pub(super) suspects: Option<(Offset, Offset)>,
    /// The records that were found to be refused, over a reopening.
    pub(super) refused: OffsetSet,
    /// The same for a queue.
    pub(super) refusals: Refusals,
    /// The last opening found no checkpoint, though the target knows the name.
    missed_checkpoint: bool,
    /// Per topic of the present lanes: the highest id of a batch that was answered with -1:-1.
    pub(super) taken: Vec<(String, Offset)>,
}

impl Partition {
    /// A partition that starts to open.
    pub fn open(setup: Setup, actions: &mut Vec<Action>) -> Self {
        let reaches_back = setup.numbering == Numbering::Offsets || setup.reach.records > 0;
        assert!(reaches_back, "a counter needs a reach: what a queue delivers again is known by nothing else");
        let mut partition = Self {
            setup,
            tags: Tags::default(),
            phase: Phase::Closed,
            fruitless: 0,
            stored_position: None,
            lowest_counter: 0,
            suspects: None,
            refused: OffsetSet::new(),
            refusals: Refusals::default(),
            missed_checkpoint: false,
            taken: Vec::new(),
        };
        partition.phase = partition.start_opening(0, actions);
        partition
    }

    /// Opens a partition again that was let go of.
    pub fn open_again(&mut self, routing: &Routing, actions: &mut Vec<Action>) {
        assert!(matches!(self.phase, Phase::Closed), "only a partition that was let go of is opened again");
        self.setup.routing = routing.clone();
        self.phase = self.start_opening(0, actions);
    }

    /// `attempt`: how often this partition was opened in a row without a success.
    fn start_opening(&mut self, attempt: u32, actions: &mut Vec<Action>) -> Phase {
        let Setup { source_partition, routing, limits, numbering, reach } = &self.setup;
        let taken = self.taken.iter().map(|(_, highest)| highest + 1).max();
        let terms = Terms {
            source_partition: *source_partition,
            send_timeout_ms: limits.send_timeout_ms,
            numbering: *numbering,
            reach: *reach,
            lowest_counter: self.lowest_counter.max(taken.unwrap_or(0)),
        };
        let opening = Opening::start(terms, routing, attempt, &mut self.tags, actions);
        Phase::Opening(Box::new(opening))
    }

    /// What a batch may take from here on: what the configuration asks for, as far as the brokers take it.
    pub fn limit_batches(&mut self, batch_bytes: usize) {
        self.setup.limits.batch_bytes = batch_bytes.max(1);
    }

    /// Handles one event.
    pub fn step(&mut self, event: Event, now_ms: u64, actions: &mut Vec<Action>) {
        if let Event::RoutingWanted { routing } = &event {
            self.setup.routing = routing.clone();
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Closed);
        self.phase = match phase {
            Phase::Opening(opening) => self.while_opening(opening, event, now_ms, actions),
            Phase::Running(session) => self.while_running(session, event, now_ms, actions),
            Phase::Leaving(leaving) => self.while_leaving(leaving, event, now_ms, actions),
            Phase::Closing(tags, goal) => self.while_closing(tags, goal, event, actions),
            done @ (Phase::Closed | Phase::Stopped) => {
                if let Event::Opened { tag, .. } = event {
                    actions.push(Action::Close { tag });
                }
                if let (Event::Release { .. }, Phase::Stopped) = (&event, &done) {
                    actions.push(Action::Released);
                }
                done
            }
        };
    }

    fn while_opening(
        &mut self,
        mut opening: Box<Opening>,
        event: Event,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Phase {
        match &event {
            Event::Release { .. } => return self.let_go(opening.held(), Goal::Release, actions),
            Event::StopNow { stop } => return self.let_go(opening.held(), Goal::Stop(stop.clone()), actions),
            Event::RoutingWanted { routing } => opening.want(routing),
            _ => {}
        }
        match opening.step(&event, now_ms, &mut self.tags, actions) {
            Outcome::Pending => Phase::Opening(opening),
            // Whoever lost the partition without being told sees the new owner's records and an older checkpoint topic:
            // it looks again, with the name acquired anew, before it calls for a person.
            Outcome::LetGo(Goal::Stop(Stop::CheckpointVanished { evidence, .. })) => {
                let stop = Stop::CheckpointVanished { evidence, position: LastKnown(self.stored_position) };
                let goal = match std::mem::replace(&mut self.missed_checkpoint, true) {
                    false => Goal::Reopen(Why::Opening(stop.to_string())),
                    true => Goal::Stop(stop),
                };
                self.let_go(opening.held(), goal, actions)
            }
            Outcome::LetGo(goal) => self.let_go(opening.held(), goal, actions),
            Outcome::Open(session) => self.opened(session, now_ms, actions),
        }
    }

    /// Everything stored before is known: start to read, or first change the routing.
    fn opened(&mut self, mut session: Box<Session>, now_ms: u64, actions: &mut Vec<Action>) -> Phase {
        self.missed_checkpoint = false;
        self.taken.retain(|(topic, _)| session.lanes.iter().any(|lane| lane.topic == *topic));
        for (topic, highest) in &self.taken {
            session.lanes.iter_mut().filter(|lane| lane.topic == *topic).for_each(|lane| lane.raise_border(*highest));
        }
        session.suspects = self.suspects;
        session.refused = self.refused.clone();
        session.refusals = self.refusals.clone();
        if self.setup.numbering == Numbering::Counter && (self.suspects.is_some() || !self.refused.is_empty()) {
            // They are delivered again, under ids from here on.
            let deliveries = session.reach.reach().records.saturating_mul(2);
            session.suspects = Some((session.next, session.next + deliveries));
        }
        self.stored_position = Some(session.written.position);
        // Whatever mirrors the position may have lost it, and a quiet partition's would stay lost.
        actions.push(Action::Commit { offset: session.written.position });
        session.set_barrier(&self.setup.routing);
        actions.push(Action::StartSource { offset: session.next });
        self.progress(session, now_ms, actions)
    }

    fn while_leaving(
        &mut self,
        mut leaving: Box<Leaving>,
        event: Event,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Phase {
        match &event {
            Event::Release { deadline_ms } => leaving.aim(Goal::Release, *deadline_ms),
            Event::StopNow { stop } => leaving.aim(Goal::Stop(stop.clone()), now_ms + self.setup.limits.leave_ms),
            Event::SourceFailed { reason, stop: true } => {
                leaving.aim(Goal::Stop(Stop::Source(reason.clone())), now_ms + self.setup.limits.leave_ms);
            }
            Event::Opened { tag, .. } => actions.push(Action::Close { tag: *tag }),
            _ => {}
        }
        if !leaving.step(&event, now_ms, actions) {
            return Phase::Leaving(leaving);
        }
        self.stored_position = Some(leaving.stored_position());
        self.reach(leaving.goal, actions)
    }

    fn while_closing(
        &mut self,
        mut tags: BTreeSet<Tag>,
        mut goal: Goal,
        event: Event,
        actions: &mut Vec<Action>,
    ) -> Phase {
        match event {
            Event::Closed { tag, .. } => {
                tags.remove(&tag);
            }
            Event::Opened { tag, .. } => actions.push(Action::Close { tag }),
            Event::Release { .. } if !matches!(goal, Goal::Stop(_)) => goal = Goal::Release,
            Event::StopNow { stop } => goal = Goal::Stop(stop),
            _ => {}
        }
        if tags.is_empty() { self.reach(goal, actions) } else { Phase::Closing(tags, goal) }
    }

    /// Gives up an opening: closes what is held, then pursues the goal.
    fn let_go(&mut self, held: Vec<Tag>, goal: Goal, actions: &mut Vec<Action>) -> Phase {
        if let Goal::Reopen(why) = &goal {
            actions.push(Action::Note { note: Note::Reopening(why.clone()) });
        }
        actions.push(Action::StopSource { flush: false });
        actions.extend(held.iter().map(|tag| Action::Close { tag: *tag }));
        let tags: BTreeSet<Tag> = held.into_iter().collect();
        if tags.is_empty() { self.reach(goal, actions) } else { Phase::Closing(tags, goal) }
    }

    /// Nothing is held any more.
    fn reach(&mut self, goal: Goal, actions: &mut Vec<Action>) -> Phase {
        match goal {
            Goal::Reopen(why) => {
                let attempt = self.fruitless;
                if why != Why::Routing {
                    self.fruitless = self.fruitless.saturating_add(1);
                }
                self.start_opening(attempt, actions)
            }
            Goal::Release => {
                actions.push(Action::Released);
                Phase::Closed
            }
            Goal::Stop(stop) => {
                actions.push(Action::Stopped { stop });
                Phase::Stopped
            }
        }
    }
}

/// What others may look at.
impl Partition {
    /// The offset below which everything is settled; while the partition is opened, the last stored one.
    pub fn position(&self) -> Option<Offset> {
        match &self.phase {
            Phase::Running(session) => Some(session.position()),
            Phase::Leaving(leaving) => Some(leaving.session.position()),
            _ => self.stored_position,
        }
    }

    /// While records are moving: the next offset that is wanted of the source.
    pub fn next(&self) -> Option<Offset> {
        match &self.phase {
            Phase::Running(session) => Some(session.next),
            _ => None,
        }
    }

    /// The phase, for operators.
    pub fn phase_name(&self) -> PhaseName {
        match &self.phase {
            Phase::Opening(opening) if opening.is_waiting_for_name() => PhaseName::WaitingForName,
            Phase::Opening(_) => PhaseName::Opening,
            Phase::Running(_) => PhaseName::Running,
            Phase::Leaving(_) | Phase::Closing(..) => PhaseName::Draining,
            Phase::Closed => PhaseName::Closed,
            Phase::Stopped => PhaseName::Stopped,
        }
    }

    /// Bytes that are batched or in flight, over all lanes: what takes memory.
    pub fn held_bytes(&self) -> usize {
        match &self.phase {
            Phase::Running(session) => session.lanes.iter().map(Lane::held_bytes).sum(),
            _ => 0,
        }
    }

    /// Bytes in flight over all lanes.
    pub fn in_flight_bytes(&self) -> usize {
        match &self.phase {
            Phase::Running(session) => session.lanes.iter().map(|lane| lane.window.bytes()).sum(),
            _ => 0,
        }
    }

    /// Per lane: its topic, the highest id its name is known to have used, and batches and bytes in flight.
    pub fn lanes(&self) -> Vec<(String, Option<Offset>, usize, usize)> {
        let Phase::Running(session) = &self.phase else { return Vec::new() };
        let lanes = session.lanes.iter();
        lanes.map(|lane| (lane.topic.clone(), lane.border, lane.window.len(), lane.window.bytes())).collect()
    }

    /// The routing in force, while the partition is open.
    pub fn routing(&self) -> Option<&Routing> {
        match &self.phase {
            Phase::Running(session) => Some(&session.routing),
            Phase::Leaving(leaving) => Some(&leaving.session.routing),
            _ => None,
        }
    }

    /// The marks of the checkpoint that was stored last, while the partition is open: for checks of the core's rules.
    pub fn stored_marks(&self) -> &[Mark] {
        match &self.phase {
            Phase::Running(session) => &session.written.marks,
            _ => &[],
        }
    }
}
