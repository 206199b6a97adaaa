//! Opening a partition: the one protocol for start, takeover and every unknown outcome.
//!
//! 1. Acquire the partition's name on the checkpoint topic, then read its entry: holding that name is owning the partition.
//! 2. Acquire the name on every lane of the stored routing, and the name of every repair that the entry lists.
//! 3. For each of these names, read its topic from the mark to the end and collect its ids, until its last_sequence_id
//!    (L, the highest id ever *pushed*, stored or not) was read, lies below the position, or is lower at a later opening.
//!    From then on nothing under that name is under way: what was stored is known, and nothing can still come.
//!    Topics that were lanes under an earlier routing and hold what is within reach are read, too (`former`).
//! 4. Without an entry: resolve where to start. A counter is raised above all that was found (`confirming`).
//! 5. Store the checkpoint (the first one, or what was read), and await its receipt. It proves that the partition was
//!    still owned after every lane was held: from here on the lanes' names are the fence. Without it, an instance that
//!    was frozen, or cut off from the checkpoint topic's broker only, could take lanes of a routing that others have left
//!    meanwhile, and read back in them for ever without finding what was stored elsewhere.

use super::checkpoint::{Checkpoint, LaneId, Mark};
use super::fault::Fault;
use super::former::FormerScan;
use super::leaving::Goal;
use super::reasons::{Evidence, LastKnown, NotOpened, Note, Stop, Why};
use super::routing::Routing;
use super::seeker::{LAST_WAITS, Seeker, Seeking};
use super::session::Session;
use super::setup::{Numbering, Reach};
use super::step::{Action, Event, Role, Scan, ScanFrom, Tag, Tags, Topic};
use crate::record::Offset;

/// How often a lane's or a repair's name is asked for before the whole opening begins anew.
const MAX_OPEN_ATTEMPTS: u32 = 8;

/// After how many readings an entry that the broker knows of, though an older one is all that can be read, is taken as lost.
/// With the pauses between them about a minute: longer than the broker itself waits for a bookie.
const BEHIND_WAITS: u32 = 20;

/// What the opening has come to.
pub(super) enum Outcome {
    /// Not there yet.
    Pending,
    /// The partition is open.
    Open(Box<Session>),
    /// Something that was held is lost, or it cannot go on: let go of the rest, then pursue the goal.
    LetGo(Goal),
}

/// How far an opening has come.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// Acquiring the name on the checkpoint topic.
    Owning { tag: Tag, attempt: u32 },
    /// Owning it, and reading the entry.
    Reading { read: Tag, attempt: u32 },
    /// The entry was older than L: closing, to open again.
    Yielding,
    /// Acquiring and reading the lanes and repairs.
    Seeking,
    /// Without a checkpoint: asking where to start.
    Starting,
    /// Storing the checkpoint that is opened with, under this sequence id, since this time.
    Confirming { sequence_id: u64, checkpoint: Checkpoint, sent_ms: u64 },
}

/// What an opening is made with, beside the routing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) source_partition: u32,
    pub(super) send_timeout_ms: u64,
    pub(super) numbering: Numbering,
    pub(super) reach: Reach,
    /// A counter starts here at the lowest: above what this process has used.
    pub(super) lowest_counter: Offset,
}

/// The opening of one partition.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) stage: Stage,
    pub(super) terms: Terms,
    wanted: Routing,
    pub(super) owner: Option<Tag>,
    owner_last: Option<u64>,
    waits: u32,
    /// An operator had the partition forgotten: it may start as a new one where the target knows nothing of it.
    pub(super) is_forgotten: bool,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) entry_sequence_id: u64,
    pub(super) routing: Routing,
    pub(super) seekers: Vec<Seeker>,
    former: Vec<FormerScan>,
}

impl Opening {
    /// Starts to open. `attempt`: how often this partition had to be opened in a row without a success.
    pub(super) fn start(
        terms: Terms,
        wanted: &Routing,
        attempt: u32,
        tags: &mut Tags,
        actions: &mut Vec<Action>,
    ) -> Self {
        let tag = tags.fresh();
        actions.push(Action::Open { tag, role: Role::Checkpoint, topic: Topic::Checkpoints, attempt });
        Self {
            stage: Stage::Owning { tag, attempt },
            terms,
            wanted: wanted.clone(),
            owner: None,
            owner_last: None,
            waits: 0,
            is_forgotten: false,
            checkpoint: None,
            entry_sequence_id: 0,
            routing: wanted.clone(),
            seekers: Vec::new(),
            former: Vec::new(),
        }
    }

    /// Every producer that is held or asked for: to be closed when the opening is given up.
    pub(super) fn held(&self) -> Vec<Tag> {
        let owning = match self.stage {
            Stage::Owning { tag, .. } => Some(tag),
            _ => self.owner,
        };
        owning.into_iter().chain(self.seekers.iter().map(Seeker::held)).collect()
    }

    /// Whether the name on the checkpoint topic is still being waited for.
    pub(super) fn is_waiting_for_name(&self) -> bool {
        matches!(self.stage, Stage::Owning { .. })
    }

    /// The routing changes while the partition is being opened: it is looked at when the partition is open.
    pub(super) fn want(&mut self, routing: &Routing) {
        self.wanted = routing.clone();
    }

    /// Handles one event; events that do not belong to the opening are ignored.
    pub(super) fn step(&mut self, event: &Event, now_ms: u64, tags: &mut Tags, actions: &mut Vec<Action>) -> Outcome {
        match event {
            Event::Opened { tag, last } => self.opened(*tag, *last, tags, actions),
            Event::NotOpened { tag, reason } => self.not_opened(*tag, reason, tags, actions),
            Event::Closed { tag, reason } => self.closed(*tag, reason, tags, actions),
            Event::EntryRead { tag, entry } => self.entry_read(*tag, entry.as_ref(), now_ms, tags, actions),
            Event::Scanned { tag, scan } => self.scanned(*tag, scan, now_ms, actions),
            Event::ScanFailed { tag, .. } => self.scan_failed(*tag, tags, actions),
            Event::StartResolved { offset, committed } => self.start_resolved(*offset, *committed, now_ms, actions),
            Event::Receipt { tag, lowest, id } => self.confirmed(*tag, *lowest, id.is_some(), now_ms, actions),
            Event::SendFailed { tag, .. } if Some(*tag) == self.owner => {
                Outcome::LetGo(Goal::Reopen(Why::Opening("the checkpoint was refused".into())))
            }
            Event::Tick => match self.stage {
                Stage::Confirming { sent_ms, .. } if now_ms >= sent_ms + self.terms.send_timeout_ms => {
                    Outcome::LetGo(Goal::Reopen(Why::Opening("no receipt for the checkpoint".into())))
                }
                _ => Outcome::Pending,
            },
            Event::SourceFailed { reason, stop: true } => Outcome::LetGo(Goal::Stop(Stop::Source(reason.clone()))),
            Event::SourceFailed { reason, stop: false } => Outcome::LetGo(Goal::Reopen(Why::Source(reason.clone()))),
            _ => Outcome::Pending,
        }
    }

    /// The seeker in such a state.
    fn seeker(&mut self, with: impl Fn(Seeking) -> bool) -> Option<usize> {
        self.seekers.iter().position(|seeker| with(seeker.state))
    }

    fn opened(&mut self, tag: Tag, last: Option<u64>, tags: &mut Tags, actions: &mut Vec<Action>) -> Outcome {
        if matches!(self.stage, Stage::Owning { tag: asked, .. } if asked == tag) {
            self.owner = Some(tag);
            self.owner_last = last;
            self.read_entry(0, tags, actions);
        } else if let Some(index) = self.seeker(|state| state == Seeking::Opening(tag)) {
            let floor = self.floor();
            self.seekers[index].opened(tag, last, floor, tags, actions);
        } else {
            // An answer to a request that was given up: an abandoned producer would hold the name.
            actions.push(Action::Close { tag });
        }
        Outcome::Pending
    }

    fn not_opened(&mut self, tag: Tag, reason: &NotOpened, tags: &mut Tags, actions: &mut Vec<Action>) -> Outcome {
        if let Stage::Owning { tag: asked, attempt } = &mut self.stage {
            if *asked == tag {
                if let NotOpened::Never(text) = reason {
                    return Outcome::LetGo(Goal::Stop(Stop::Refused(text.clone())));
                }
                *attempt += 1;
                *asked = tags.fresh();
                let (tag, attempt) = (*asked, *attempt);
                actions.push(Action::Open { tag, role: Role::Checkpoint, topic: Topic::Checkpoints, attempt });
            }
        } else if let Some(index) = self.seeker(|state| state == Seeking::Opening(tag)) {
            if let NotOpened::Never(text) = reason {
                return Outcome::LetGo(Goal::Stop(Stop::Refused(text.clone())));
            }
            let seeker = &mut self.seekers[index];
            seeker.attempt += 1;
            if seeker.attempt >= MAX_OPEN_ATTEMPTS {
                // The holder may wait for a name of ours: each of two instances can believe to own the partition, where a
                // broker has forgotten a producer without a word. Only one gets through when both begin anew.
                let text = format!("{}: {reason}", seeker.topic);
                self.seekers.remove(index);
                return Outcome::LetGo(Goal::Reopen(Why::Opening(text)));
            }
            let attempt = seeker.attempt;
            seeker.open_again(attempt, tags, actions);
        }
        Outcome::Pending
    }

    fn closed(&mut self, tag: Tag, reason: &str, tags: &mut Tags, actions: &mut Vec<Action>) -> Outcome {
        if matches!(self.stage, Stage::Owning { tag: asked, .. } if asked == tag) {
            // Closed before it was known to be open.
            return Outcome::LetGo(Goal::Reopen(Why::ProducerClosed(reason.into())));
        }
        if self.owner == Some(tag) {
            if matches!(self.stage, Stage::Yielding) {
                // Our own doing: learn what L is now.
                self.owner = None;
                let (again, attempt) = (tags.fresh(), self.waits);
                self.stage = Stage::Owning { tag: again, attempt };
                actions.push(Action::Open { tag: again, role: Role::Checkpoint, topic: Topic::Checkpoints, attempt });
                return Outcome::Pending;
            }
            self.owner = None;
            return Outcome::LetGo(Goal::Reopen(Why::ProducerClosed(reason.into())));
        }
        if let Some(index) = self.seeker(|state| state == Seeking::Closing(tag)) {
            let waits = self.seekers[index].waits;
            self.seekers[index].open_again(waits, tags, actions);
        } else if let Some(index) = self.seekers.iter().position(|seeker| seeker.held() == tag) {
            self.seekers.remove(index);
            return Outcome::LetGo(Goal::Reopen(Why::ProducerClosed(reason.into())));
        }
        Outcome::Pending
    }

    /// Reads the checkpoint topic. Only ever while its name is held.
    fn read_entry(&mut self, attempt: u32, tags: &mut Tags, actions: &mut Vec<Action>) {
        let read = tags.fresh();
        self.stage = Stage::Reading { read, attempt };
        actions.push(Action::ReadEntry { tag: read, attempt });
    }

    /// The entry is the newest that can be, unless L says that a later one is under way.
    fn entry_read(
        &mut self,
        tag: Tag,
        entry: Option<&(u64, Option<Checkpoint>)>,
        now_ms: u64,
        tags: &mut Tags,
        actions: &mut Vec<Action>,
    ) -> Outcome {
        if !matches!(self.stage, Stage::Reading { read, .. } if read == tag) {
            return Outcome::Pending;
        }
        let found = entry.map(|(sequence_id, _)| *sequence_id);
        if self.owner_last > found && !Fault::DoNotWaitForLast.active() {
            // A checkpoint of an earlier holder is still under way, or was lost: the next L will tell.
            let last = self.owner_last.unwrap_or(0);
            if let Some(stop) = self.lost_entry(entry, last) {
                return Outcome::LetGo(Goal::Stop(stop));
            }
            self.waits += 1;
            self.stage = Stage::Yielding;
            if self.waits == 1 {
                actions.push(Action::Note { note: Note::Waiting { topic: "the checkpoint topic".into(), last } });
            }
            actions.extend(self.owner.map(|tag| Action::Close { tag }));
            return Outcome::Pending;
        }
        if let Some((_, Some(checkpoint))) = entry
            && checkpoint.version > Checkpoint::VERSION
        {
            let stop = Stop::CheckpointVersion { found: checkpoint.version, known: Checkpoint::VERSION };
            return Outcome::LetGo(Goal::Stop(stop));
        }
        self.entry_sequence_id = found.max(self.owner_last).unwrap_or(0).max(now_ms);
        self.checkpoint = entry.and_then(|(_, checkpoint)| checkpoint.clone());
        self.is_forgotten = entry.is_some() && self.checkpoint.is_none();
        self.seek(tags, actions);
        Outcome::Pending
    }

    /// Why nothing can be made of what the checkpoint topic holds, where the broker knows of a later entry for so long that no
    /// write of it can be under way any more.
    fn lost_entry(&self, entry: Option<&(u64, Option<Checkpoint>)>, last: u64) -> Option<Stop> {
        match entry {
            None if self.waits >= LAST_WAITS => Some(vanished(Evidence::Entry(last))),
            // To be mended by hand, so the longer wait: an outage of the bookies may last.
            Some((found, checkpoint)) if self.waits >= BEHIND_WAITS => Some(Stop::CheckpointBehind {
                found: *found,
                position: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position),
                last,
            }),
            _ => None,
        }
    }

    /// Acquires every name that may lie in a target: lanes of the stored routing, repairs of the stored checkpoint.
    fn seek(&mut self, tags: &mut Tags, actions: &mut Vec<Action>) {
        self.stage = Stage::Seeking;
        let mut stored = self.checkpoint.as_ref().map(|checkpoint| checkpoint.routing.clone());
        if let (Some(stored), true) = (&mut stored, Fault::ForgetMode.active()) {
            stored.partition_by = self.wanted.partition_by;
        }
        self.routing = stored.filter(|_| !Fault::SwitchRoutingAtOnce.active()).unwrap_or_else(|| self.wanted.clone());
        let topics = self.routing.lanes(self.terms.source_partition);
        for (lane, topic) in topics.iter().enumerate() {
            let from = self.scan_start(lane);
            self.seekers.push(Seeker::start(Role::Lane(LaneId(lane)), topic.clone(), from, tags, actions));
        }
        let repairs = self.checkpoint.iter().flat_map(|checkpoint| checkpoint.repairs.clone()).collect::<Vec<_>>();
        for intent in repairs.into_iter().filter(|_| !Fault::ForgetRepairIntents.active()) {
            let (topic, from) = (topics[intent.lane.0].clone(), self.scan_start(intent.lane.0));
            self.seekers.push(Seeker::start(Role::Repair(intent), topic, from, tags, actions));
        }
        let floor = self.floor();
        let former = self.checkpoint.iter().flat_map(|checkpoint| checkpoint.former.clone()).collect::<Vec<_>>();
        for lane in former.into_iter().filter(|_| !Fault::ForgetFormerLanes.active()) {
            self.former.push(FormerScan::start(lane, floor, tags, actions));
        }
    }

    /// Where a lane is read from. Without a checkpoint nothing should ever have been sent, and under a routing that was just
    /// announced nothing was: only the end is asked for.
    fn scan_start(&self, lane: usize) -> ScanFrom {
        match &self.checkpoint {
            None => ScanFrom::End,
            Some(checkpoint) => match checkpoint.marks.get(lane).copied().unwrap_or(Mark::Earliest) {
                Mark::Unsent => ScanFrom::End,
                mark => ScanFrom::Mark(mark),
            },
        }
    }

    /// Ids below are settled, and are not collected.
    pub(super) fn floor(&self) -> Offset {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position)
    }

    fn scan_failed(&mut self, tag: Tag, tags: &mut Tags, actions: &mut Vec<Action>) -> Outcome {
        let floor = self.floor();
        if let Stage::Reading { read, attempt } = self.stage {
            if read == tag {
                self.read_entry(attempt + 1, tags, actions);
            }
        } else if let Some(index) = self.seeker(|state| matches!(state, Seeking::Scanning { scan, .. } if scan == tag))
        {
            let seeker = &mut self.seekers[index];
            seeker.attempt += 1;
            let (producer, attempt) = (seeker.held(), seeker.attempt);
            seeker.scan(producer, floor, attempt, tags, actions);
        } else {
            self.former.iter_mut().any(|former| former.failed(tag, floor, tags, actions));
        }
        Outcome::Pending
    }

    fn scanned(&mut self, tag: Tag, scan: &Scan, now_ms: u64, actions: &mut Vec<Action>) -> Outcome {
        let floor = self.floor();
        let Some(index) = self.seeker(|state| matches!(state, Seeking::Scanning { scan, .. } if scan == tag)) else {
            let is_former = self.former.iter_mut().any(|former| former.found(tag));
            return if is_former { self.go_on(now_ms, actions) } else { Outcome::Pending };
        };
        let seeker = &mut self.seekers[index];
        seeker.found(scan);
        if let (true, Some(evidence)) = (self.checkpoint.is_none(), seeker.evidence()) {
            return Outcome::LetGo(Goal::Stop(vanished(evidence)));
        }
        if !seeker.knows_all(floor) && !Fault::SkipScan.active() {
            seeker.ask_again(actions);
            return Outcome::Pending;
        }
        seeker.done(actions);
        self.go_on(now_ms, actions)
    }

    /// Goes on to the next stage when all names and topics were read to their ends.
    fn go_on(&mut self, now_ms: u64, actions: &mut Vec<Action>) -> Outcome {
        let is_done = self.seekers.iter().all(|seeker| matches!(seeker.state, Seeking::Done(_)));
        if is_done && self.former.iter().all(FormerScan::is_done) {
            return self.all_known(now_ms, actions);
        }
        Outcome::Pending
    }
}

/// The position is known to the partition, not to one opening.
pub(super) fn vanished(evidence: Evidence) -> Stop {
    Stop::CheckpointVanished { evidence, position: LastKnown(None) }
}
