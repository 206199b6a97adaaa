//! Feeds Kafka, RabbitMQ or both with events as the portal does: its keys, headers, partitioner, codecs and routing keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Result;
use crate::events::{Events, Kind, Random, Shares, now_ms};
use crate::kafka::KafkaSink;
pub use crate::kafka::{KafkaTopic, create_topic, delete_topic};
use crate::rabbit_sink::RabbitSink;
pub use crate::rabbit_sink::{RabbitCounts, RabbitExchange};
use crate::streams::Stream;

/// What to generate, where to, and how fast.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose events.
    pub stream: Stream,
    /// Where in Kafka they go, if they do.
    pub kafka: Option<KafkaTopic>,
    /// Where in RabbitMQ they go, if they do.
    pub rabbit: Option<RabbitExchange>,
    /// Where both are given: which share of the events goes to both. The others go to either.
    pub twins: f64,
    /// Stop after so many records.
    pub records: Option<u64>,
    /// Stop after this time.
    pub time: Option<Duration>,
    /// Records per second; `None` is as fast as they are taken.
    pub rate: Option<u64>,
    /// The same seed gives the same records but for their timestamps.
    pub seed: u64,
    /// How many are broken, null, repeated or too large.
    pub shares: Shares,
}

impl Settings {
    /// Job-lifecycle events into a Kafka topic.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self::of(Stream::JobLifecycle).to_kafka(brokers, topic)
    }

    /// As fast as possible until stopped, with the usual small share of broken records; to nowhere yet.
    pub fn of(stream: Stream) -> Self {
        Self {
            stream,
            kafka: None,
            rabbit: None,
            twins: 0.2,
            records: None,
            time: None,
            rate: None,
            seed: 1,
            shares: Shares::default(),
        }
    }

    /// Into this topic, by the portal's codec.
    pub fn to_kafka(mut self, brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        let compression = self.stream.compression().to_owned();
        self.kafka = Some(KafkaTopic { brokers: brokers.into(), topic: topic.into(), compression });
        self
    }

    /// Into this exchange.
    pub fn to_rabbit(mut self, exchange: RabbitExchange) -> Self {
        self.rabbit = Some(exchange);
        self
    }
}

/// What was acknowledged, and what could not be delivered.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Records that Kafka acknowledged.
    pub acknowledged: u64,
    /// Records that Kafka did not acknowledge in time; they may be in the topic all the same.
    pub failed: u64,
    /// What RabbitMQ answered.
    pub rabbit: RabbitCounts,
    /// How many events went to both.
    pub twins: u64,
    /// Events that were handed over, by what they are; a twin counts once.
    pub made: HashMap<Kind, u64>,
    /// Per Kafka partition, how many were acknowledged.
    pub partitions: HashMap<i32, u64>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// How many of the records belong in the dead letters.
    pub fn broken(&self) -> u64 {
        self.made.iter().filter(|(kind, _)| kind.is_broken()).map(|(_, count)| count).sum()
    }
}

/// A generator that runs on a thread of its own until its limit, `stop`, or until it is dropped.
pub struct Generator {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Report>>>,
}

impl Generator {
    /// Starts feeding in the background.
    pub fn start(settings: Settings) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let made = Arc::new(AtomicU64::new(0));
        let thread = {
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            std::thread::spawn(move || feed(&settings, &stop, &made))
        };
        Self { stop, made, thread: Some(thread) }
    }

    /// How many records were handed to the producer so far.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Whether it has come to its limit, or failed.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Makes no more records, waits until Kafka has answered for all that were made, and tells.
    pub fn stop(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits for the limit and for Kafka's answers.
    pub fn wait(mut self) -> Result<Report> {
        let thread = self.thread.take().ok_or("the generator was waited for twice")?;
        thread.join().map_err(|_| "the generator panicked")?
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The test is over, or failing already: its own message matters more than this one.
            let _ = thread.join();
        }
    }
}

/// Which of the two an event goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Kafka,
    Rabbit,
    Both,
}

fn choose_way(settings: &Settings, kind: Kind, random: &mut Random) -> Way {
    match (&settings.kafka, &settings.rabbit) {
        (Some(_), None) => Way::Kafka,
        (None, _) => Way::Rabbit,
        // RabbitMQ has no null values, and what is broken has no twin: nobody could tell which it is.
        (Some(_), Some(_)) if kind == Kind::Tombstone => Way::Kafka,
        (Some(_), Some(_)) if !kind.is_broken() && random.fraction() < settings.twins => Way::Both,
        (Some(_), Some(_)) if random.below(2) == 0 => Way::Kafka,
        (Some(_), Some(_)) => Way::Rabbit,
    }
}

fn feed(settings: &Settings, stop: &AtomicBool, made: &AtomicU64) -> Result<Report> {
    let kafka = settings.kafka.as_ref().map(KafkaSink::new).transpose()?;
    let rabbit = settings.rabbit.as_ref().map(RabbitSink::start).transpose()?;
    let mut shares = settings.shares;
    if kafka.is_none() {
        shares.tombstones = 0.0;
    }
    let mut events = Events::new(settings.stream, settings.seed, shares);
    let mut ways = Random::new(settings.seed ^ 0x7a);
    let mut report = Report::default();
    let start = Instant::now();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) && settings.records.is_none_or(|limit| count < limit) {
        if count % 64 == 0 && settings.time.is_some_and(|limit| start.elapsed() >= limit) {
            break;
        }
        if let Some(rate) = settings.rate
            && count % (rate / 100).clamp(1, 64) == 0
        {
            pace(start, count, rate);
        }
        let now = now_ms();
        let kind = events.advance(now);
        let way = choose_way(settings, kind, &mut ways);
        if let (Some(kafka), Way::Kafka | Way::Both) = (&kafka, way) {
            kafka.send(&events, now, stop)?;
        }
        if let (Some(rabbit), Way::Rabbit | Way::Both) = (&rabbit, way) {
            rabbit.send(&events, now)?;
        }
        report.twins += u64::from(way == Way::Both);
        *report.made.entry(kind).or_default() += 1;
        count += 1;
        made.store(count, Ordering::Relaxed);
    }
    if let Some(kafka) = kafka {
        (report.partitions, report.failed) = kafka.finish()?;
        report.acknowledged = report.partitions.values().sum();
    }
    if let Some(rabbit) = rabbit {
        report.rabbit = rabbit.finish()?;
    }
    report.took = start.elapsed();
    Ok(report)
}

/// Waits until the record with this number is due.
fn pace(start: Instant, number: u64, rate: u64) {
    let due = Duration::from_secs_f64(number as f64 / rate as f64);
    if let Some(ahead) = due.checked_sub(start.elapsed()) {
        std::thread::sleep(ahead);
    }
}
