//! One source partition in the real world: the core decides, [`Hands`] reach into Pulsar, [`Reading`] into the source,
//! [`Batches`] carry the records. One task, which waits for whatever happens next.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::Shared;
use super::batches::{Batches, Desk, Keys, Loaded, Settings};
use super::budget::Share;
use super::hands::{Answer, Hands, Names};
use super::reading::{Back, Reading};
use super::recalling::Recalling;
use super::sources::SourceSettings;
use super::told::Told;
use super::twins::{FlowId, Twins};
use crate::checkpoint::Stamp;
use crate::lane::{Action, DeadLetterGuard, Event, Numbering, Partition, PhaseName, Routing, Setup, Tag};
use crate::pulsar::ProducerEvent;
use crate::record::{Offset, SourcePartition};
use crate::source::Reader;
use crate::translate::SchemaId;

/// Records taken from the source at a time, before receipts are looked at again.
const TAKE_RECORDS: usize = 1_000;
/// How often a partition looks at its clock.
const TICK: Duration = Duration::from_millis(50);

/// What the bridge asks of one partition.
pub(super) enum Order {
    /// Let go by this time, and give the reader back by dropping it.
    Release { deadline: Instant },
    /// Read no more until `Resume`.
    Pause,
    /// Read again.
    Resume,
    /// The target is not what it must be: settle what is in flight, and publish nothing until `GoOn`.
    Hold { reason: String },
    /// The target is as it must be again.
    GoOn,
    /// The targets' partitions changed.
    Routing(Routing),
    /// The record of another source that this record of ours waited for is settled.
    TwinSettled { offset: Offset },
    /// Read everything back again.
    Reopen { reason: &'static str },
}

/// The task of one source partition.
pub(super) struct Flow {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<SourceSettings>,
    pub(super) source: SourcePartition,
    pub(super) core: Partition,
    pub(super) actions: Vec<Action>,
    pub(super) hands: Hands,
    pub(super) reading: Reading,
    pub(super) batches: Batches,
    pub(super) drained: bool,
    pub(super) routing: Routing,
    paused: bool,
    /// Nothing may be published now, for this reason.
    held: Option<String>,
    pub(super) leaving: bool,
    pub(super) share: Share,
    pub(super) told: Told,
    pub(super) producer_name: String,
    /// The source's partitions when the stream was first started.
    pub(super) source_partitions: u32,
    /// A record below the position, to recognise the source by.
    pub(super) stamp: Option<Stamp>,
    pub(super) is_checked: bool,
    /// What was found in the target, while the partition is opened.
    pub(super) recalling: Recalling,
    /// The number of this flow among those that share keys.
    pub(super) flow: Option<FlowId>,
    /// The position that the source was last told of.
    told_position: Option<Offset>,
    /// Below which offset the twins were last told that everything is stored.
    told_stored: Option<Offset>,
    /// A schema is being fetched.
    pub(super) misses_schema: bool,
    pub(super) ended: bool,
}

/// What a flow listens to.
pub(super) struct Ears {
    orders: mpsc::UnboundedReceiver<Order>,
    answers: mpsc::UnboundedReceiver<Answer>,
    events: mpsc::UnboundedReceiver<(u64, ProducerEvent)>,
    readers: mpsc::UnboundedReceiver<Back>,
}

impl Flow {
    /// Starts the task of a partition that was assigned.
    pub(super) fn spawn(
        shared: Arc<Shared>,
        settings: Arc<SourceSettings>,
        reader: Reader,
        routing: Routing,
        source_partitions: u32,
        paused: bool,
    ) -> (mpsc::UnboundedSender<Order>, tokio::task::JoinHandle<()>) {
        let (orders_in, orders) = mpsc::unbounded_channel();
        let (answers_in, answers) = mpsc::unbounded_channel();
        let (events_in, events) = mpsc::unbounded_channel();
        let (readers_in, readers) = mpsc::unbounded_channel();
        let source = reader.partition().clone();
        let producer_name = settings.producer_name(&shared.stream, &source);
        let names = Names {
            producer: producer_name.clone(),
            checkpoints: shared.checkpoints.clone(),
            schema: settings.schema.clone().or_else(|| shared.schema.clone()),
            dead_letters: routing.dead_letters.clone(),
            is_recalled: settings.identity.is_some(),
            is_counted: settings.numbering == Numbering::Counter,
        };
        let of_batches = Settings {
            stream: shared.stream.clone(),
            source: source.clone(),
            producer_name: producer_name.clone(),
            contract: shared.contract.clone(),
            compression: shared.compression,
            identity: settings.identity.clone(),
            is_digested: shared.digest || settings.numbering == Numbering::Counter,
            is_counted: settings.numbering == Numbering::Counter,
            versions: settings.schemas.as_ref().and_then(|schemas| schemas.versions.clone()),
        };
        let guard = DeadLetterGuard::new(shared.max_dead_letter_ratio);
        let mut actions = Vec::new();
        let core = Partition::open(setup(&source, &routing, &shared, &settings), &mut actions);
        let told = Told::new(&shared, &settings.name, &source, &producer_name);
        let flow = shared.twins.as_ref().map(|twins| twins.join(&producer_name, orders_in.clone()));
        let mut flow = Flow {
            core,
            actions,
            hands: Hands::new(shared.client.clone(), names, answers_in, events_in, shared.admin.clone()),
            reading: Reading::new(reader, readers_in),
            batches: Batches::new(of_batches, shared.translator(&settings), guard),
            drained: false,
            routing,
            paused: false,
            held: None,
            leaving: false,
            share: shared.budget.share(),
            told,
            producer_name,
            source_partitions,
            stamp: None,
            is_checked: false,
            recalling: Recalling::default(),
            flow,
            told_position: None,
            told_stored: None,
            misses_schema: false,
            ended: false,
            source,
            settings,
            shared,
        };
        if paused {
            flow.order(Order::Pause);
        }
        let ears = Ears { orders, answers, events, readers };
        (orders_in, tokio::spawn(flow.run(ears)))
    }

    async fn run(mut self, mut ears: Ears) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.ended {
            self.settle(&mut ears);
            let may_take = self.move_records();
            self.act();
            self.tell_position();
            if self.ended {
                break;
            }
            if may_take {
                // More is at hand: look at what else has happened, and go on.
                tokio::task::yield_now().await;
                self.hear(&mut ears);
                continue;
            }
            let is_open = self.may_take();
            tokio::select! {
                Some((tag, event)) = ears.events.recv() => self.producer_event(Tag(tag), event),
                Some(answer) = ears.answers.recv() => self.answer(answer, &mut ears),
                Some(back) = ears.readers.recv() => self.reader_back(back),
                Some(order) = ears.orders.recv() => self.order(order),
                () = self.reading.ready(), if is_open => self.drained = false,
                _ = tick.tick() => self.tick(),
            }
        }
        // First the orders: by them it is told from the flow that its partition may have by now.
        drop(ears);
        if let (Some(twins), Some(flow)) = (&self.shared.twins, self.flow) {
            twins.leave(flow);
        }
        self.report();
    }

    /// Orders and answers that are here already, without waiting. What producers say was heard before, by `settle`.
    fn hear(&mut self, ears: &mut Ears) {
        while let Ok(order) = ears.orders.try_recv() {
            self.order(order);
        }
        while let Ok(answer) = ears.answers.try_recv() {
            self.answer(answer, ears);
        }
        if self.told.is_due() {
            self.tick();
        }
    }

    pub(super) fn settle(&mut self, ears: &mut Ears) {
        while let Ok((tag, event)) = ears.events.try_recv() {
            self.producer_event(Tag(tag), event);
        }
    }

    /// Whether records may be taken: by the core, by the memory, and by those who share the keys.
    fn may_take(&self) -> bool {
        let gate = self.shared.twins.as_ref();
        self.core.can_take() && !self.misses_schema && self.share.has_room() && gate.is_none_or(Twins::is_open)
    }

    /// Nothing is taken until the schema is known; then the record that named it is read again.
    fn fetch_schema(&mut self, id: SchemaId) {
        if let Some(schemas) = &self.settings.schemas {
            self.misses_schema = true;
            // What is batched goes out meanwhile.
            self.drained = true;
            self.hands.fetch_schema(Arc::clone(schemas), id);
        }
    }

    /// Tells the source, which acknowledges by it, and those who share the keys, how far everything is settled.
    fn tell_position(&mut self) {
        let position = self.core.acknowledge_below();
        if position != self.told_position
            && let Some(position) = position
        {
            self.reading.settled(position);
        }
        self.told_position = position;
        if let (Some(twins), Some(flow)) = (&self.shared.twins, self.flow) {
            // What is stored, not the position: that waits for twins itself.
            let stored = self.core.stored_below();
            if stored != self.told_stored
                && let Some(stored) = stored
            {
                twins.settled_below(flow, self.recalling.session(), stored, now_ms());
            }
            self.told_stored = stored;
        }
    }

    /// Takes what the source has and sends what is ready. True where more may be taken at once.
    fn move_records(&mut self) -> bool {
        let now_ms = now_ms();
        let can_take = self.may_take() && !self.drained;
        let mut again = false;
        if let Some(reader) = self.reading.reader().filter(|_| can_take) {
            let (batches, core) = (&mut self.batches, &mut self.core);
            let session = self.recalling.session();
            let twins = self.shared.twins.as_ref().zip(self.flow).map(|(twins, flow)| Keys { twins, flow, session });
            let mut desk = Desk {
                hands: &self.hands,
                recalling: &mut self.recalling,
                keys: twins,
                keeps_rejected: reader.keeps_rejected(),
                now_ms,
            };
            let mut halt = None;
            let taken = reader.take(TAKE_RECORDS, &mut |record| {
                if halt.is_none() {
                    halt = Some(batches.load(&record, core, &mut desk)).filter(|loaded| *loaded != Loaded::Done);
                }
            });
            batches.rejected.drain(..).for_each(|offset| reader.reject(offset));
            match (taken, halt) {
                (Ok(taken), None) => {
                    self.drained = taken.drained;
                    again = !taken.drained;
                    if let Some(position) = reader.position() {
                        core.skip_to(position);
                        if taken.records > 0 {
                            batches.remember(position - 1);
                        }
                    }
                    self.told.transient(taken.transient.map(|error| error.to_string()), taken.records > 0);
                }
                (Ok(_), Some(Loaded::Stop(stop))) => self.step(Event::StopNow { stop }),
                (Ok(_), Some(Loaded::Missing(id))) => self.fetch_schema(id),
                // The core takes no more until it has opened the partition again.
                (Ok(_), Some(_)) => self.step(Event::Tick),
                (Err(error), _) => self.source_failed(error),
            }
            self.told.count(std::mem::take(&mut self.batches.counts));
        }
        self.share.set(self.core.held_bytes());
        // Where there is no room nothing is added to what is batched: it must go, or partitions that all wait for room would for ever.
        let nothing_comes = self.drained || !self.share.has_room();
        self.batches.send_ready(nothing_comes, &mut self.core, &self.hands, now_ms);
        self.share.set(self.core.held_bytes());
        again
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Release { deadline } => {
                let is_closed = self.core.phase_name() == PhaseName::Closed;
                self.leaving = true;
                self.release(deadline);
                self.ended |= is_closed;
            }
            Order::Pause if !self.paused => {
                self.paused = true;
                self.release(Instant::now() + Duration::from_millis(self.shared.limits.leave_ms));
            }
            Order::Resume => self.paused = false,
            Order::Hold { reason } => {
                let before = self.held.replace(reason);
                if before.is_none() && !self.paused {
                    self.release(Instant::now() + Duration::from_millis(self.shared.limits.leave_ms));
                }
            }
            Order::GoOn => self.held = None,
            Order::Routing(routing) => {
                self.routing = routing.clone();
                self.step(Event::RoutingWanted { routing });
            }
            Order::Pause => {}
            Order::TwinSettled { offset } => drop(self.core.twin_settled(offset)),
            Order::Reopen { reason } => self.step(Event::SourceFailed { reason: reason.to_owned(), stop: false }),
        }
    }

    /// Opens a partition that was let go of for a pause which is over. Not at the order: the pause may still be draining,
    /// and a partition that is stopped stays so.
    fn resume(&mut self) {
        if !self.paused && self.held.is_none() && !self.leaving && self.core.phase_name() == PhaseName::Closed {
            self.core.open_again(&self.routing, &mut self.actions);
            self.act();
        }
    }

    fn release(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let deadline_ms = now_ms() + u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        self.step(Event::Release { deadline_ms });
    }

    fn tick(&mut self) {
        self.step(Event::Tick);
        self.resume();
        if self.told.is_due() {
            self.report();
        }
    }

    pub(super) fn report(&mut self) {
        // Why a partition is stopped matters more, and stays.
        if self.held.is_some() && self.core.phase_name() != PhaseName::Stopped {
            self.told.reason.clone_from(&self.held);
        }
        let shut = self.shared.twins.as_ref().filter(|_| self.core.can_take()).and_then(Twins::shut);
        self.told.gate(shut);
        self.told.held_back(self.reading.held_back());
        self.told.report(&self.core, self.reading.source_end(), &mut self.batches);
    }
}

fn setup(source: &SourcePartition, routing: &Routing, shared: &Shared, settings: &SourceSettings) -> Setup {
    Setup {
        source_partition: settings.routing_number(source),
        routing: routing.clone(),
        limits: shared.limits.clone(),
        numbering: settings.numbering,
        reach: settings.reach,
    }
}

/// Milliseconds since the epoch, as the system's clock had them when the process started, and from there on by a clock
/// that never jumps.
pub(super) fn now_ms() -> u64 {
    static START: OnceLock<(Instant, Duration)> = OnceLock::new();
    let (start, epoch) =
        START.get_or_init(|| (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()));
    u64::try_from((*epoch + start.elapsed()).as_millis()).unwrap_or(u64::MAX)
}
