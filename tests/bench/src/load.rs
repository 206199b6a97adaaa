//! Fills Kafka, once for all contenders and rounds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bridge_tests::Result;
use bridge_tests::generator::{create_topic, delete_topic};
use bridge_tests::kafka::offsets;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use crate::events::{Bodies, Mark, now_micros};
use crate::interrupt;

/// A topic that holds what the contenders are to move.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Kafka's bootstrap servers.
    pub(crate) brokers: String,
    /// The topic.
    pub(crate) topic: String,
    /// How many partitions it has.
    pub(crate) partitions: u32,
    /// How many records it holds.
    pub(crate) records: u64,
}

fn settings(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("compression.type", "lz4")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("message.max.bytes", (16 << 20).to_string());
    config
}

impl Source {
    /// Fills the topic unless it holds just these records already. Keys are those of jobs; there are no headers.
    pub(crate) async fn fill(&self, bodies: &mut Bodies) -> Result<()> {
        if holds(&self.brokers, &self.topic) == Some(self.records) {
            return Ok(());
        }
        if holds(&self.brokers, &self.topic).is_some() {
            delete_topic(&self.brokers, &self.topic).await?;
        }
        create_topic(&self.brokers, &self.topic, self.partitions as i32).await?;
        let start = Instant::now();
        tokio::task::block_in_place(|| self.produce(bodies))?;
        let seconds = start.elapsed().as_secs_f64();
        let rate = self.records as f64 / seconds;
        crate::tell(format_args!("    {} records loaded in {seconds:.1} s ({rate:.0}/s)", self.records));
        Ok(())
    }

    fn produce(&self, bodies: &mut Bodies) -> Result<()> {
        let producer: BaseProducer = settings(&self.brokers)
            .set("linger.ms", "50")
            .set("batch.num.messages", "10000")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "262144")
            .create()?;
        for number in 0..self.records {
            let mark = mark(number, self.partitions, now_micros());
            let key = key(number);
            let mut record = BaseRecord::to(&self.topic)
                .partition(mark.partition as i32)
                .key(&key)
                .payload(bodies.body(mark))
                .timestamp((mark.micros / 1000) as i64);
            while let Err((error, back)) = producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                record = back;
                producer.poll(Duration::from_millis(5));
            }
            if number % 1024 == 0 {
                interrupt::check()?;
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(Duration::from_secs(120))?;
        match holds(&self.brokers, &self.topic) {
            Some(held) if held == self.records => Ok(()),
            held => Err(format!("{} holds {held:?} records, {} were produced", self.topic, self.records).into()),
        }
    }
}

/// How many records a topic holds; `None` where there is none.
fn holds(brokers: &str, topic: &str) -> Option<u64> {
    let offsets = offsets(brokers, topic).ok().filter(|offsets| !offsets.is_empty())?;
    Some(offsets.iter().map(|(low, high)| (high - low) as u64).sum())
}

/// The mark of the record with this number: round the partitions, in order in each.
pub(crate) fn mark(number: u64, partitions: u32, micros: u64) -> Mark {
    let partitions = u64::from(partitions);
    Mark { partition: (number % partitions) as u32, sequence: number / partitions, micros }
}

/// The key of the record with this number: one of many jobs.
pub(crate) fn key(number: u64) -> String {
    format!("job-{:08}", number % 50_021)
}

/// What became of what was sent.
#[derive(Default)]
struct Deliveries {
    failed: AtomicU64,
    /// How many microseconds after it was made each record was acknowledged.
    late: Mutex<Vec<u64>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// When the record was made.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, made_micros: usize) {
        match result {
            Ok(_) => {
                let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
                late.push(now_micros().saturating_sub(made_micros as u64));
            }
            Err(_) => drop(self.failed.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

fn records_of(rate: u64, time: Duration) -> u64 {
    (time.as_secs_f64() * rate as f64) as u64
}

/// Sends records at a steady rate, each stamped when it is handed to the producer, in its body and as its timestamp.
pub(crate) struct Feed {
    producer: ThreadedProducer<Deliveries>,
    /// How many it has sent so far.
    sent: AtomicU64,
}

impl Feed {
    /// To Kafka, without any waiting in the producer.
    pub(crate) fn new(brokers: &str) -> Result<Self> {
        let mut settings = settings(brokers);
        settings.set("linger.ms", "0").set("batch.num.messages", "1000").set("socket.nagle.disable", "true");
        Ok(Self { producer: settings.create_with_context(Deliveries::default())?, sent: AtomicU64::new(0) })
    }

    /// How many it has sent so far; the numbers of the records go on from one run to the next.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many microseconds after its making each record was acknowledged, since the last call.
    pub(crate) fn take_acknowledged(&self) -> Vec<u64> {
        std::mem::take(&mut *self.producer.context().late.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends so many records per second for so long; gives how many. Blocks. Fails where this machine cannot send them at
    /// that rate: latencies under another load than the table says are none.
    pub(crate) fn run(&self, source: &Source, bodies: &mut Bodies, rate: u64, time: Duration) -> Result<u64> {
        let took = self.run_until(source, bodies, rate, time, &AtomicBool::new(false))?;
        let sent = records_of(rate, time);
        let reached = sent as f64 / took.as_secs_f64();
        if reached < 0.95 * rate as f64 {
            return Err(format!("only {reached:.0} records/s could be sent, of {rate}").into());
        }
        Ok(sent)
    }

    /// The same at whatever rate is reached, for so long at most or until it is told to stop; waits for Kafka's answers, and
    /// gives how long the sending took.
    pub(crate) fn run_until(
        &self,
        source: &Source,
        bodies: &mut Bodies,
        rate: u64,
        time: Duration,
        stop: &AtomicBool,
    ) -> Result<Duration> {
        let start = Instant::now();
        for number in 0..records_of(rate, time) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            interrupt::check()?;
            let due = Duration::from_secs_f64(number as f64 / rate as f64);
            while let Some(ahead) = due.checked_sub(start.elapsed()) {
                std::thread::sleep(ahead);
            }
            let number = self.sent();
            let mark = mark(number, source.partitions, now_micros());
            let key = key(number);
            let record = BaseRecord::with_opaque_to(&source.topic, mark.micros as usize)
                .partition(mark.partition as i32)
                .key(&key)
                .payload(bodies.body(mark))
                .timestamp((mark.micros / 1000) as i64);
            self.producer.send(record).map_err(|(error, _)| error)?;
            self.sent.store(number + 1, Ordering::Relaxed);
        }
        let took = start.elapsed();
        self.producer.flush(Duration::from_secs(30))?;
        match self.producer.context().failed.load(Ordering::Relaxed) {
            0 => Ok(took),
            failed => Err(format!("Kafka has refused {failed} records").into()),
        }
    }
}
