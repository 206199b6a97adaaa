//! A running bridge: joins its sources, starts one [`flow`] per source partition that it is given, lets go of those that
//! are taken away, and passes on what operators and the target's partition count ask for.
//!
//! ```text
//! sources ── Notice ──> pipeline ── Order ──> Flow (one per source partition)
//!                                               Reading ──> Batches ──> Hands ──> Pulsar
//!                                               └──────── lane::Partition decides ───────┘
//! ```

mod acting;
mod appending;
mod batch;
mod batches;
mod budget;
mod certificates;
mod controlling;
mod flow;
mod growth;
mod hands;
mod holders;
mod identity;
mod key_space;
mod leaving;
mod made;
mod membership;
mod moves;
mod pace;
mod pauses;
mod reading;
mod rejoining;
mod recalling;
mod scanning;
mod schemas;
mod sources;
mod start;
mod summing;
mod target;
mod told;
mod twins;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use identity::{IDEMPOTENCY_KEY, SHA256};
pub use made::{Destination, Made, Maker, REPLAYED, Unfit, Workshop};

use budget::Budget;
use flow::{Flow, Order};
use key_space::Ownership;
use membership::{Membership, Notices};
use moves::Moves;
use pauses::Pauses;
use sources::{Avro, Joined, SourceSettings};
use start::Problem;
use twins::Twins;

use crate::admin::Admin;
use crate::cli::Stream;
use crate::config::{Config, Format};
use crate::http::Control;
use crate::lane::{Limits, Routing};
use crate::logging::events;
use crate::metrics::Metrics;
use crate::pulsar::{Client, Compression, SchemaInfo};
use crate::record::SourcePartition;
use crate::shutdown::{self, Exit};
use crate::source::{Leave, Notice, Reader, SourceError};
use crate::status::{BridgeState, StatusBoard};
use crate::translate::{AvroTranslator, Contract, JsonPlan, Translator};

/// Joining a source, or joining it again, takes so long without anything being wrong.
const JOINING: Duration = Duration::from_secs(5);

/// How long leaving the sources may take when another instance owns the keys.
const STAND_BY: Duration = Duration::from_secs(10);

/// What all partitions of a bridge share.
pub(crate) struct Shared {
    pub(crate) stream: String,
    pub(crate) checkpoints: String,
    /// The contract as the target's schema; `None` where there is none, or each writer's is.
    pub(crate) schema: Option<Arc<SchemaInfo>>,
    pub(crate) contract: Option<String>,
    pub(crate) plan: Option<Arc<JsonPlan>>,
    pub(crate) compression: Compression,
    pub(crate) limits: Limits,
    pub(crate) max_dead_letter_ratio: f64,
    /// Whether every message carries the digest of the source's bytes.
    pub(crate) digest: bool,
    pub(crate) client: Client,
    pub(crate) board: StatusBoard,
    pub(crate) metrics: Metrics,
    /// Pulsar's admin API, where the bridge may use it.
    pub(crate) admin: Option<Admin>,
    budget: Arc<Budget>,
    /// Where the same event may come by several sources.
    twins: Option<Twins>,
}

impl Shared {
    fn translator(&self, settings: &SourceSettings) -> Translator {
        translator(settings, self.plan.as_ref())
    }
}

/// What a source's values are translated by: `plan` is the contract's for JSON, where there is a contract.
fn translator(settings: &SourceSettings, plan: Option<&Arc<JsonPlan>>) -> Translator {
    let translator = match (&settings.avro, settings.format, plan) {
        (Some(Avro::Given(plan)), ..) => AvroTranslator::raw(Arc::clone(plan)),
        (Some(Avro::Registered(schemas)), ..) => AvroTranslator::registered(Arc::clone(schemas)),
        (None, Format::Json, Some(plan)) => return Translator::json(Arc::clone(plan)),
        _ => return Translator::Bytes,
    };
    Translator::Avro { translator, counts_drift: settings.counts_drift }
}

/// Runs a bridge until it is told to stop, or can never work. See [`crate::cli::main`].
pub async fn run(stream: Stream, config: Config) -> Exit {
    let grace = Duration::from_secs(u64::from(config.shutdown.deadline_seconds));
    let (_stopper, stop) = match shutdown::on_signals(grace) {
        Ok(stop) => stop,
        Err(error) => {
            tracing::error!(event = events::START_FAILED, "signals cannot be handled: {error}");
            return Exit::Fault;
        }
    };
    match start::bridge(stream, config, stop.clone()).await {
        Ok(Some(bridge)) => bridge.run(stop).await,
        Ok(None) => Exit::Clean,
        Err(problem) => {
            tracing::error!(event = events::START_FAILED, "{}", problem.text);
            problem.exit
        }
    }
}

/// A partition's task, and the way to tell it something.
struct Running {
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

/// A partition of one of the sources: the source's number, and which partition.
type FlowKey = (usize, SourcePartition);

/// A bridge that has joined its sources.
pub(crate) struct Bridge {
    shared: Arc<Shared>,
    routing: Routing,
    sources: Vec<Joined>,
    /// What the sources are joined again by.
    config: Arc<Config>,
    notices: Notices,
    notices_in: mpsc::UnboundedSender<(usize, Notice)>,
    /// Sources that were joined again.
    rejoined: mpsc::UnboundedReceiver<(usize, Result<Membership, Problem>)>,
    rejoined_in: mpsc::UnboundedSender<(usize, Result<Membership, Problem>)>,
    /// Tells who owns the keys, where the sources share them.
    key_space: Option<mpsc::UnboundedReceiver<Ownership>>,
    controls: mpsc::Receiver<Control>,
    /// Tells of targets that have other numbers of partitions.
    growth: mpsc::UnboundedReceiver<Routing>,
    /// Partitions that came and went, and were not told yet.
    moves: Moves,
    flows: BTreeMap<FlowKey, Running>,
    /// Revoked partitions that still drain.
    leaving: Vec<(FlowKey, JoinHandle<()>)>,
    /// What operators have paused.
    pauses: Pauses,
    /// Tells whether the target is still what it must be.
    fitness: Option<mpsc::UnboundedReceiver<Option<String>>>,
    /// Why nothing may be published now.
    unfit: Option<String>,
    revoke_deadline: Duration,
    contract: Arc<Contract>,
}

impl Bridge {
    async fn run(mut self, mut stop: shutdown::Stop) -> Exit {
        self.shared.board.set_state(if self.pauses.is_all() { BridgeState::Paused } else { BridgeState::Running });
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        let mut exit = Exit::Clean;
        let deadline = loop {
            tokio::select! {
                deadline = stop.asked() => break deadline,
                Some((source, notice)) = self.notices.recv() => {
                    if let Err(fault) = self.notice(source, notice) {
                        exit = fault;
                        break Instant::now() + self.revoke_deadline;
                    }
                }
                Some((source, joined)) = self.rejoined.recv() => {
                    if let Err(fault) = self.rejoined(source, joined) {
                        exit = fault;
                        break Instant::now() + self.revoke_deadline;
                    }
                }
                Some(ownership) = next(&mut self.key_space) => match ownership {
                    Ownership::Taken => match self.stand_by(&mut stop).await {
                        Ok(None) => {}
                        Ok(Some(deadline)) => break deadline,
                        Err(fault) => {
                            exit = fault;
                            break Instant::now() + self.revoke_deadline;
                        }
                    },
                    other => self.key_space_is(other),
                },
                Some(control) = self.controls.recv() => self.control(control),
                Some(unfit) = next(&mut self.fitness) => self.target_is(unfit),
                Some(routing) = self.growth.recv() => self.grown(routing),
                _ = beat.tick() => {
                    self.beat();
                    self.tell_moves();
                    if self.has_dead_task() {
                        exit = Exit::Fault;
                        break Instant::now() + self.revoke_deadline;
                    }
                }
            }
        };
        self.shared.board.set_state(BridgeState::Draining);
        if !self.leave(Leave::ForRestart, deadline).await {
            exit = Exit::Fault;
        }
        self.tell_moves();
        // The last line of the log is that it has stopped: what was held back comes before it.
        crate::logging::flush();
        tracing::info!(event = events::STOPPED, clean = exit == Exit::Clean, "it has let go of everything");
        exit
    }

    /// A partition's task ends only when it was told to: one that ended by itself has failed.
    fn has_dead_task(&self) -> bool {
        let mut dead = self.flows.iter().filter(|(_, running)| running.task.is_finished());
        dead.next().is_some_and(|((_, partition), _)| {
            let SourcePartition { topic, partition, .. } = partition;
            tracing::error!(
                event = events::PARTITION_TASK_ENDED,
                topic,
                partition,
                "the partition's task has ended by itself: the bridge stops"
            );
            true
        })
    }

    /// The sources' own tasks and threads step, or do not.
    fn beat(&self) {
        for joined in &self.sources {
            if let Some(membership) = &joined.membership {
                let last = Instant::now().checked_sub(membership.age()).unwrap_or_else(Instant::now);
                self.shared.board.beat(joined.task_name(), last);
                let (absence, words) = membership.absence();
                let since = Instant::now().checked_sub(absence).filter(|_| absence > JOINING);
                let words = words.unwrap_or_else(|| "the servers do not answer".to_owned());
                self.shared.board.away(joined.task_name(), since.map(|since| (since, words)));
            } else if let Some(since) = joined.rejoining_since {
                // However long it takes: what it waits for is not in our hands.
                self.shared.board.beat(joined.task_name(), Instant::now());
                self.shared.board.away(joined.task_name(), Some((since, "it is being joined again".to_owned())));
            }
        }
        self.tell_of_the_whole();
    }

    /// What the metrics have of the bridge beyond its partitions.
    fn tell_of_the_whole(&self) {
        let Shared { metrics, budget, client, .. } = &*self.shared;
        let (held_bytes, budget_bytes) = budget.held_of_limit();
        metrics.memory(held_bytes, budget_bytes);
        metrics.reconnected(client.reconnects());
        if self.fitness.is_some() {
            metrics.target_deduplicates(self.unfit.is_none());
        }
        let sources = self.sources.iter().filter_map(|joined| joined.membership.as_ref()?.shown_certificate_end());
        let target = client.shown_certificate_end().map(|end| ("pulsar", end));
        for (server, end) in sources.chain(target) {
            metrics.certificate_ends(server, "server", end);
        }
    }

    fn notice(&mut self, source: usize, notice: Notice) -> Result<(), Exit> {
        match notice {
            Notice::Assigned(reader) => self.assigned(source, reader),
            Notice::Revoked { partition, lost } => {
                let key = self.flows.keys().find(|(of, found)| *of == source && found.partition == partition).cloned();
                if let Some((_, found)) = &key {
                    self.moves.revoked(&self.sources[source].settings.name, found);
                }
                if let Some((key, running)) = key.and_then(|key| self.flows.remove_entry(&key)) {
                    // The source waits until the reader is dropped, which the flow does when it has let go.
                    let deadline = Instant::now() + if lost { Duration::ZERO } else { self.revoke_deadline };
                    let _ = running.orders.send(Order::Release { deadline });
                    self.leaving.retain(|(_, task)| !task.is_finished());
                    self.leaving.push((key, running.task));
                }
            }
            Notice::Orphaned { partitions } => {
                let (event, source_name) = (events::PARTITIONS_ORPHANED, &self.sources[source].settings.name);
                tracing::warn!(event, source = source_name, ?partitions, "no member of the group has these partitions");
                self.rejoin(source, Leave::ForGood, Instant::now() + self.revoke_deadline);
            }
            Notice::Failed(error) => {
                self.shared.board.set_error(Some(error.to_string()));
                let name = &self.sources[source].settings.name;
                if error.is_transient() {
                    tracing::warn!(event = events::SOURCE_TROUBLE, source = name, "{error}");
                } else if matches!(
                    error,
                    SourceError::Fatal { .. } | SourceError::Fenced { .. } | SourceError::UnknownTopic { .. }
                ) {
                    tracing::error!(event = events::SOURCE_FAILED, source = name, "{error}");
                    // While it is joined again, a client that was fenced before may still say so.
                    if matches!(error, SourceError::Fenced { .. }) && self.sources[source].membership.is_some() {
                        self.sources[source].fenced(&error.to_string());
                    }
                    self.rejoin(source, Leave::ForRestart, Instant::now());
                } else {
                    tracing::error!(event = events::SOURCE_FAILED, source = name, "{error}");
                    return Err(Exit::Fault);
                }
            }
        }
        Ok(())
    }

    fn assigned(&mut self, source: usize, reader: Reader) {
        let partition = reader.partition().clone();
        let joined = &self.sources[source];
        // After a drain nothing is taken any more: dropping the reader gives its partition back.
        let Some(membership) = &joined.membership else { return };
        let source_partitions = membership.partition_count();
        let settings = Arc::clone(&joined.settings);
        let shared = Arc::clone(&self.shared);
        let paused = self.pauses.has(&partition.topic, partition.partition);
        let (orders, task) = Flow::spawn(shared, settings, reader, self.routing.clone(), source_partitions, paused);
        if let Some(reason) = &self.unfit {
            let _ = orders.send(Order::Hold { reason: reason.clone() });
        }
        self.moves.assigned(&joined.settings.name, &partition);
        self.flows.insert((source, partition), Running { orders, task });
    }

    /// Nothing is admitted while the keys are not ours; then every partition is read back again, since another owner may
    /// have published meanwhile.
    fn key_space_is(&self, ownership: Ownership) {
        let Some(twins) = &self.shared.twins else { return };
        match ownership {
            Ownership::Lost | Ownership::Taken => twins.disown(),
            Ownership::Owned => {
                twins.disown();
                twins.own(self.sources.iter().map(Joined::partition_count).sum());
                twins.reopen_all();
            }
        }
    }

    /// Without deduplication an unknown outcome can double records: every partition settles what is in flight, which is exact
    /// without it, and waits. It opens by the protocol when the target is as it must be again, since the broker has forgotten
    /// the names meanwhile.
    fn target_is(&mut self, unfit: Option<String>) {
        match &unfit {
            Some(reason) => tracing::error!(event = events::TARGET_UNFIT, "{reason}"),
            None => tracing::info!(event = events::TARGET_FIT, "the target deduplicates again: going on"),
        }
        for running in self.flows.values() {
            let _ = running.orders.send(match &unfit {
                Some(reason) => Order::Hold { reason: reason.clone() },
                None => Order::GoOn,
            });
        }
        // The metric first: whoever is told by `/readyz` may ask for it at once.
        self.unfit.clone_from(&unfit);
        self.tell_of_the_whole();
        self.shared.board.set_unfit(unfit);
    }

    /// The targets have other numbers of partitions now.
    fn grown(&mut self, routing: Routing) {
        self.routing = routing;
        for running in self.flows.values() {
            let _ = running.orders.send(Order::Routing(self.routing.clone()));
        }
    }
}

/// The next word of a channel that may not be there.
async fn next<T>(channel: &mut Option<mpsc::UnboundedReceiver<T>>) -> Option<T> {
    match channel {
        Some(channel) => channel.recv().await,
        None => std::future::pending().await,
    }
}
