//! The one partition of a polled source: a task that polls, and a reader that numbers what it found.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::figures::{Observation, measure};
use super::http::HttpEndpoint;
use super::mapping::Mapping;
use super::record::{self, Captured};
use super::{KafkaAccess, now_ms};
use crate::config::{PollEndpoint, PollKind, PollSource};
use crate::record::{Offset, Record, SourcePartition};
use crate::source::{SourceError, Stamp, Start, Taken};

/// How many polls of all endpoints may wait to be taken. While they do, nothing is polled.
const ROUNDS_WAITING: usize = 4;
/// What an endpoint's own time-out may be late by before its poll is given up.
const GRACE: Duration = Duration::from_millis(500);

/// Reads a polled source. Dropping it ends the polling.
///
/// An offset is a number that the pipeline gives: [`PollReader::start_at`] says the first, and it rises by one from record
/// to record.
pub struct PollReader {
    partition: SourcePartition,
    plan: Arc<Plan>,
    polling: Option<Polling>,
    /// The number of the next record; `None` before the start.
    position: Option<Offset>,
}

/// What is polled, and when.
struct Plan {
    source: String,
    interval: Duration,
    timeout: Duration,
    endpoints: Vec<Arc<Endpoint>>,
}

struct Endpoint {
    name: String,
    broker: String,
    asks: Asks,
}

enum Asks {
    Http(Box<HttpEndpoint>),
    #[cfg(feature = "kafka")]
    Kafka(super::kafka::KafkaEndpoint),
}

/// The task, and what it has polled.
struct Polling {
    task: JoinHandle<()>,
    queue: mpsc::Receiver<Polled>,
    /// Taken from the queue by a `ready`, not yet shown.
    waiting: VecDeque<Polled>,
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A record without its number.
struct Polled {
    endpoint: Arc<Endpoint>,
    at_ms: u64,
    body: String,
}

/// What an endpoint gave, and when.
struct Answer {
    at: Instant,
    at_ms: u64,
    observed: Result<Observation, String>,
}

impl fmt::Debug for PollReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PollReader({} at {:?})", self.partition, self.position)
    }
}

impl PollReader {
    /// A reader of `[source.<name>]`, which has been checked ([`PollSource::check`]). Asks nobody yet. `kafka` says how endpoints of
    /// kind `kafka` reach their cluster. The process's TLS provider must be installed ([`crate::cli::install_tls`]).
    ///
    /// # Errors
    /// [`SourceError::Setting`] when an endpoint cannot be made of its settings.
    pub fn new(name: &str, source: &PollSource, kafka: &KafkaAccess) -> Result<Self, SourceError> {
        let every = Duration::from_millis(source.timeout_ms);
        let endpoints = source.endpoint.iter().map(|(endpoint, section)| {
            let key = format!("source.{name}.endpoint.{endpoint}");
            Endpoint::new(&key, endpoint, section, kafka, every).map(Arc::new)
        });
        let plan = Plan {
            source: name.to_owned(),
            interval: Duration::from_millis(source.interval_ms),
            timeout: every,
            endpoints: endpoints.collect::<Result<_, _>>()?,
        };
        let partition = SourcePartition { cluster_id: "poll".to_owned(), topic: name.to_owned(), partition: 0 };
        Ok(Self { partition, plan: Arc::new(plan), polling: None, position: None })
    }

    /// Which partition this is.
    pub fn partition(&self) -> &SourcePartition {
        &self.partition
    }

    /// Turns a start into a number: there is no past to start at, so all but a given offset are 0.
    ///
    /// # Errors
    /// None.
    pub async fn resolve(&mut self, start: Start) -> Result<Offset, SourceError> {
        Ok(if let Start::Offset(offset) = start { offset } else { 0 })
    }

    /// Always `None`: what was polled cannot be read again. Stops the reader, as it does for other sources.
    ///
    /// # Errors
    /// None.
    pub async fn stamp_at(&mut self, _offset: Offset) -> Result<Option<Stamp>, SourceError> {
        self.polling = None;
        self.position = None;
        Ok(None)
    }

    /// Starts polling at once, or anew; the first record has the number `offset`. What was polled before is thrown away.
    ///
    /// # Errors
    /// None: an endpoint that is down gives a record that says so.
    pub async fn start_at(&mut self, offset: Offset) -> Result<(), SourceError> {
        let room = self.plan.endpoints.len().max(1) * ROUNDS_WAITING;
        let (polled, queue) = mpsc::channel(room);
        let task = tokio::spawn(poll(Arc::clone(&self.plan), polled));
        self.polling = Some(Polling { task, queue, waiting: VecDeque::new() });
        self.position = Some(offset);
        Ok(())
    }

    /// Ends the polling; [`PollReader::position`] stays. [`PollReader::start_at`] goes on.
    ///
    /// # Errors
    /// None.
    pub async fn stop(&mut self) -> Result<(), SourceError> {
        self.polling = None;
        Ok(())
    }

    /// Waits until there is something to take, or to hear. May be dropped and called again at any time.
    pub async fn ready(&mut self) {
        let Some(polling) = &mut self.polling else { return pending().await };
        if polling.waiting.is_empty()
            && let Some(polled) = polling.queue.recv().await
        {
            polling.waiting.push_back(polled);
        }
    }

    /// Shows up to `max` records to `visit`, without waiting.
    ///
    /// # Errors
    /// [`SourceError::NotStarted`]; [`SourceError::Fatal`] should the polling have ended by itself.
    pub fn take(&mut self, max: usize, visit: &mut dyn FnMut(Record<'_>)) -> Result<Taken, SourceError> {
        let (Some(polling), Some(position)) = (&mut self.polling, &mut self.position) else {
            return Err(SourceError::NotStarted { partition: self.partition.clone() });
        };
        let mut taken = Taken::default();
        while taken.records < max {
            let Some(polled) = polling.waiting.pop_front().or_else(|| polling.queue.try_recv().ok()) else {
                taken.drained = true;
                break;
            };
            visit(Record {
                offset: *position,
                timestamp_ms: Some(polled.at_ms),
                key: Some(polled.endpoint.name.as_bytes()),
                value: Some(polled.body.as_bytes()),
                headers: &[],
            });
            taken.records += 1;
            *position += 1;
        }
        if taken.records == 0 && polling.queue.is_closed() {
            let (what, reason) = (format!("polling for {}", self.partition), "the task has ended".to_owned());
            return Err(SourceError::Fatal { what, reason });
        }
        Ok(taken)
    }

    /// The number of the next record: everything below it has been shown. `None` before the start.
    pub fn position(&self) -> Option<Offset> {
        self.position
    }

    /// The number behind the last record that was polled.
    pub fn high_watermark(&self) -> Option<Offset> {
        let waiting = self.polling.as_ref().map_or(0, |polling| polling.waiting.len() + polling.queue.len());
        self.position.map(|position| position + waiting as u64)
    }

    /// Does nothing: an endpoint does not want to know.
    pub fn commit(&self, _offset: Offset) {}
}

/// Asks an endpoint once, as the reader would, and throws its figures away.
///
/// # Errors
/// What is wrong with its settings, or what it says instead of its figures.
pub async fn ask(name: &str, section: &PollEndpoint, kafka: &KafkaAccess, patience: Duration) -> Result<(), String> {
    let key = format!("endpoint.{name}");
    let endpoint = Endpoint::new(&key, name, section, kafka, patience).map_err(|error| error.to_string())?;
    endpoint.ask(patience).await.observed.map(drop)
}

impl Endpoint {
    fn new(
        key: &str,
        name: &str,
        section: &PollEndpoint,
        kafka: &KafkaAccess,
        timeout: Duration,
    ) -> Result<Self, SourceError> {
        let (broker, mapping) = match section.kind {
            PollKind::RabbitMq => ("rabbitmq", Some(Mapping::rabbitmq())),
            PollKind::Pulsar => ("pulsar", Some(Mapping::pulsar())),
            PollKind::Prometheus => (name, Some(Mapping::of(&section.figures, &section.stats))),
            PollKind::Kafka => ("kafka", None),
        };
        let asks = match mapping {
            Some(mapping) => Asks::Http(Box::new(HttpEndpoint::new(key, section, mapping, timeout)?)),
            None => ask_kafka(key, section, kafka, timeout)?,
        };
        let broker = section.broker_name.clone().unwrap_or_else(|| broker.to_owned());
        Ok(Self { name: name.to_owned(), broker, asks })
    }

    async fn ask(&self, patience: Duration) -> Answer {
        let observed = timeout(patience + GRACE, async {
            match &self.asks {
                Asks::Http(endpoint) => endpoint.observe().await,
                #[cfg(feature = "kafka")]
                Asks::Kafka(endpoint) => endpoint.observe().await,
            }
        });
        let observed = observed.await.unwrap_or_else(|_| Err(format!("no answer within {} ms", patience.as_millis())));
        Answer { at: Instant::now(), at_ms: now_ms(), observed }
    }
}

#[cfg(feature = "kafka")]
fn ask_kafka(_key: &str, section: &PollEndpoint, kafka: &KafkaAccess, timeout: Duration) -> Result<Asks, SourceError> {
    super::kafka::KafkaEndpoint::new(kafka, section.groups_max.unwrap_or(20), timeout).map(Asks::Kafka)
}

#[cfg(not(feature = "kafka"))]
fn ask_kafka(key: &str, _: &PollEndpoint, _: &KafkaAccess, _: Duration) -> Result<Asks, SourceError> {
    let reason = "this bridge is built without Kafka: leave the endpoint out".to_owned();
    Err(SourceError::Setting { key: format!("{key}.kind"), reason })
}

/// Polls all endpoints at once, again and again, until nobody reads any more.
async fn poll(plan: Arc<Plan>, queue: mpsc::Sender<Polled>) {
    let mut ticks = interval(plan.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told_ms = vec![0; plan.endpoints.len()];
    let mut before: Vec<Option<(Instant, Observation)>> = plan.endpoints.iter().map(|_| None).collect();
    loop {
        // First the room, then the poll: what waits behind a target that is down is never older than it needs to be.
        let Ok(mut room) = queue.reserve_many(plan.endpoints.len()).await else { return };
        ticks.tick().await;
        let mut answers = ask_all(&plan).await;
        // What a poll is known by is when it was: no two of an endpoint may share a millisecond.
        for (answer, told_ms) in answers.iter_mut().zip(&mut told_ms) {
            let Some(answer) = answer else { continue };
            answer.at_ms = answer.at_ms.max(*told_ms + 1);
            *told_ms = answer.at_ms;
        }
        for ((endpoint, before), answer) in plan.endpoints.iter().zip(&mut before).zip(answers) {
            let (at_ms, body) = tell(&plan.source, endpoint, before, answer);
            if let Some(place) = room.next() {
                place.send(Polled { endpoint: Arc::clone(endpoint), at_ms, body });
            }
        }
    }
}

/// The answers, in the order of the endpoints; `None` where the asking itself broke off.
async fn ask_all(plan: &Plan) -> Vec<Option<Answer>> {
    let mut asking = JoinSet::new();
    for (index, endpoint) in plan.endpoints.iter().enumerate() {
        let (endpoint, patience) = (Arc::clone(endpoint), plan.timeout);
        asking.spawn(async move { (index, endpoint.ask(patience).await) });
    }
    let mut answers: Vec<Option<Answer>> = plan.endpoints.iter().map(|_| None).collect();
    while let Some(asked) = asking.join_next().await {
        if let Ok((index, answer)) = asked {
            answers[index] = Some(answer);
        }
    }
    answers
}

/// The record of one endpoint's poll. Remembers what was observed, for the next one's rates.
fn tell(
    source: &str,
    endpoint: &Endpoint,
    before: &mut Option<(Instant, Observation)>,
    answer: Option<Answer>,
) -> (u64, String) {
    let broken = || Answer { at: Instant::now(), at_ms: now_ms(), observed: Err("the poll broke off".to_owned()) };
    let Answer { at, at_ms, observed } = answer.unwrap_or_else(broken);
    let captured = Captured { source, endpoint: &endpoint.name, broker: &endpoint.broker, at_ms };
    let last = before.take();
    let body = match observed {
        Ok(mut observed) => {
            let last = last.as_ref().map(|(then, observed)| (observed, at.saturating_duration_since(*then)));
            let figures = measure(last, &observed);
            let stats = std::mem::take(&mut observed.stats);
            *before = Some((at, observed));
            record::connected(captured, &figures, stats)
        }
        Err(reason) => record::disconnected(captured, &reason),
    };
    (at_ms, body)
}
