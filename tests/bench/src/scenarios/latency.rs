//! How late: from the moment in which a record is handed to Kafka's producer, which is its timestamp, to the receipt, and to the
//! moment in which a consumer of the target has it.
//!
//! All clocks are one, since all runs on one machine. The contender reaches Pulsar through a relay that reads the receipts.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bridge_common::source::kafka::{KafkaSettings, KafkaTopic};
use bridge_tests::Result;
use bridge_tests::generator::{create_topic, delete_topic};
use bridge_tests::stack::unique;
use futures::StreamExt as _;
use pulsar::{Pulsar, TokioExecutor};
use tokio::sync::mpsc;

use super::{Bench, Outcome, Scale};
use crate::account;
use crate::contenders::{Contender, Job};
use crate::events::{Bodies, Form, Mark, now_micros};
use crate::figures::{Figure, Row};
use crate::load::{Feed, Source};
use crate::process::{Worker, cpu_seconds_of};
use crate::relay::Relay;
use crate::target::Target;

/// What is sent before it counts: connections, batches and machines that compile as they run find their pace.
const WARM_UP: Duration = Duration::from_secs(3);
/// A record that is later than this is told as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message that a consumer has: its mark, where it has one, and when that was.
type Seen = (Option<Mark>, u64);
type Received = mpsc::UnboundedReceiver<Seen>;

/// So many records per second through a contender into a fresh target.
pub(crate) async fn run(bench: &Bench, contender: Contender, form: Form, partitions: u32, rate: u64) -> Outcome {
    let name = unique("bench-latency");
    let brokers = bench.ground.stack.kafka();
    create_topic(brokers, &name, partitions as i32).await?;
    let source = Source { brokers: brokers.to_owned(), topic: name.clone(), partitions, records: 0 };
    let job = bench.job(&source, form, 0);
    let outcome = match contender {
        Contender::ReadOnly => read(bench, form, &source, rate).await,
        _ => mirror(bench, contender, job.clone(), &source, rate).await,
    };
    job.target.delete().await;
    delete_topic(brokers, &name).await?;
    outcome
}

/// Times of one record, in microseconds since the epoch; 0 where it was not seen.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    made: u64,
    sent: u64,
    receipt: u64,
    consumed: u64,
}

/// The times of the records that count, by their number.
struct Book {
    first: u64,
    partitions: u64,
    times: Vec<Times>,
}

impl Book {
    fn new(first: u64, count: u64, partitions: u32) -> Self {
        Self { first, partitions: u64::from(partitions), times: vec![Times::default(); count as usize] }
    }

    /// The page of a record; none where it does not count.
    fn page(&mut self, mark: Mark) -> Option<&mut Times> {
        let number = mark.sequence * self.partitions + u64::from(mark.partition);
        let times = self.times.get_mut(number.checked_sub(self.first)? as usize)?;
        times.made = mark.micros;
        Some(times)
    }

    /// Milliseconds from one moment to a later one, sorted; of the records that have both.
    fn between(&self, from: fn(&Times) -> u64, to: fn(&Times) -> u64) -> Vec<f64> {
        let both = self.times.iter().filter(|times| from(times) > 0 && to(times) > 0);
        let mut millis: Vec<f64> = both.map(|times| (to(times) as f64 - from(times) as f64) / 1_000.0).collect();
        millis.sort_by(f64::total_cmp);
        millis
    }
}

fn quantile(sorted: &[f64], of: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * of) as usize).copied().unwrap_or(f64::NAN)
}

/// Median, 99th and 99.9th percentile.
fn three(figures: [Figure; 3], sorted: &[f64]) -> [(Figure, f64); 3] {
    let [p50, p99, p999] = figures;
    [(p50, quantile(sorted, 0.5)), (p99, quantile(sorted, 0.99)), (p999, quantile(sorted, 0.999))]
}

const TO_RECEIPT: [Figure; 3] = [Figure::P50, Figure::P99, Figure::P999];
const TO_CONSUMER: [Figure; 3] = [Figure::ConsumerP50, Figure::ConsumerP99, Figure::ConsumerP999];

async fn mirror(bench: &Bench, contender: Contender, mut job: Job, source: &Source, rate: u64) -> Outcome {
    let relay = Relay::before(bench.ground.stack.pulsar()).await?;
    job.pulsar = relay.url();
    let mut command = contender.prepare(&job, &bench.ground).await?;
    let mut received = receive(bench, &job.target).await?;
    let worker = Worker::start(&mut command, &bench.log(&job, contender))?;
    let measured = feed_and_watch(bench, &job, source, rate, &worker, &relay, &mut received).await;
    let measured = measured.map_err(|error| format!("{error}\n{}", worker.log_tail()));
    worker.stop(Duration::from_secs(20))?;
    Ok(measured?)
}

async fn feed_and_watch(
    bench: &Bench,
    job: &Job,
    source: &Source,
    rate: u64,
    worker: &Worker,
    relay: &Relay,
    received: &mut Received,
) -> Outcome {
    let feed = Feed::new(&source.brokers)?;
    // The contender is at work when the first records have passed it.
    let mut bodies = Bodies::new(job.form, 0)?;
    tokio::task::block_in_place(|| feed.run_until(source, &mut bodies, rate, WARM_UP, &AtomicBool::new(false)))?;
    let warm = feed.sent();
    drain(received, warm, |_, _| ()).await?;
    // Their receipts are not behind by more than this.
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop((relay.take(), feed.take_acknowledged()));
    let (used, brokers) = (worker.usage(), cpu_seconds_of(&bench.brokers));
    let sent = tokio::task::block_in_place(|| feed.run(source, &mut bodies, rate, time(bench)))?;
    let mut book = Book::new(warm, sent, source.partitions);
    drain(received, sent, |mark, at| {
        if let Some(times) = book.page(mark) {
            times.consumed = at;
        }
    })
    .await?;
    let (used_then, brokers) = (worker.usage(), cpu_seconds_of(&bench.brokers) - brokers);
    tokio::time::sleep(Duration::from_millis(100)).await;
    note_receipts(&mut book, relay)?;
    let millions = sent as f64 / 1e6;
    let mut row = Row::from([
        (Figure::CpuPerMillion, (used_then.cpu_seconds - used.cpu_seconds) / millions),
        (Figure::PeakRss, used_then.peak_rss_bytes as f64 / f64::from(1 << 20)),
        (Figure::BrokersCpuPerMillion, brokers / millions),
        (Figure::StoredP50, stored_p50(&feed)),
        (Figure::SentP50, quantile(&book.between(|times| times.made, |times| times.sent), 0.5)),
        (Figure::PublishP50, quantile(&book.between(|times| times.sent, |times| times.receipt), 0.5)),
    ]);
    row.extend(three(TO_RECEIPT, &book.between(|times| times.made, |times| times.receipt)));
    row.extend(three(TO_CONSUMER, &book.between(|times| times.made, |times| times.consumed)));
    Ok(row)
}

fn time(bench: &Bench) -> Duration {
    Duration::from_secs(if bench.scale >= Scale::Normal { 15 } else { 6 })
}

fn stored_p50(feed: &Feed) -> f64 {
    let mut late: Vec<f64> = feed.take_acknowledged().into_iter().map(|micros| micros as f64 / 1_000.0).collect();
    late.sort_by(f64::total_cmp);
    quantile(&late, 0.5)
}

/// Writes down what the relay has seen. Every record that a consumer has had its receipt.
fn note_receipts(book: &mut Book, relay: &Relay) -> Result<()> {
    for passed in relay.take() {
        for mark in passed.marks()? {
            if let Some(times) = book.page(mark) {
                (times.sent, times.receipt) = (passed.sent_micros, passed.receipt_micros);
            }
        }
    }
    match book.times.iter().filter(|times| times.receipt == 0).count() {
        0 => Ok(()),
        unseen => Err(format!("{unseen} of {} records have passed the relay unseen", book.times.len()).into()),
    }
}

/// Consumers of all partitions.
async fn receive(bench: &Bench, target: &Target) -> Result<Received> {
    let client: Pulsar<TokioExecutor> = Pulsar::builder(bench.ground.stack.pulsar(), TokioExecutor).build().await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    for partition in 0..target.partitions {
        let mut consumer = account::consumer(&client, target, partition, "bench-latency").await?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = consumer.next().await {
                let seen = (Mark::find(&message.payload.data), now_micros());
                if sender.send(seen).is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

/// Waits for so many messages, and shows each.
async fn drain(received: &mut Received, count: u64, mut show: impl FnMut(Mark, u64)) -> Result<()> {
    for seen in 0..count {
        let next = tokio::time::timeout(PATIENCE, received.recv()).await;
        let next = next.map_err(|_| format!("no message for {PATIENCE:?}: {seen} of {count}"))?;
        let (mark, at) = next.ok_or("the consumers have ended")?;
        show(mark.ok_or("a message has no mark")?, at);
    }
    Ok(())
}

/// A limit: a consumer of the source itself that reads as our bridge does, in this process.
async fn read(bench: &Bench, form: Form, source: &Source, rate: u64) -> Outcome {
    let feed = Feed::new(&source.brokers)?;
    let mut bodies = Bodies::new(form, 0)?;
    let count = (time(bench).as_secs_f64() * rate as f64) as u64;
    let reading = {
        let source = source.clone();
        tokio::task::spawn_blocking(move || read_all(&source, count))
    };
    tokio::task::block_in_place(|| feed.run(source, &mut bodies, rate, time(bench)))?;
    let book = reading.await??;
    let mut row = Row::from([(Figure::StoredP50, stored_p50(&feed))]);
    row.extend(three(TO_CONSUMER, &book.between(|times| times.made, |times| times.consumed)));
    Ok(row)
}

fn read_all(source: &Source, count: u64) -> Result<Book> {
    const TAKEN_AT_ONCE: usize = 1_000;
    let settings = KafkaSettings::new(&source.brokers, &source.topic, "bench-latency");
    let queue_bytes = settings.queue_bytes;
    let topic = KafkaTopic::open(settings)?;
    let from: Vec<_> = (0..source.partitions).map(|partition| (partition, 0)).collect();
    let mut window = topic.read(&from, queue_bytes)?;
    let mut book = Book::new(0, count, source.partitions);
    let (mut seen, mut moved_at) = (0, Instant::now());
    while seen < count {
        crate::interrupt::check()?;
        let before = seen;
        for partition in 0..from.len() {
            seen += window.show(partition, TAKEN_AT_ONCE, &mut |record| {
                let times = record.value.and_then(Mark::find).and_then(|mark| book.page(mark));
                if let Some(times) = times {
                    times.consumed = now_micros();
                }
            })? as u64;
        }
        if seen > before {
            moved_at = Instant::now();
        } else if moved_at.elapsed() > PATIENCE {
            return Err(format!("no record for {PATIENCE:?}: {seen} of {count}").into());
        } else {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    Ok(book)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::mark;

    #[test]
    fn only_records_that_count_have_a_page() {
        let mut book = Book::new(10, 4, 4);
        for (number, made) in [(9, 5), (10, 1_000), (13, 2_000), (14, 5)] {
            if let Some(times) = book.page(mark(number, 4, made)) {
                times.receipt = made + 3_000 + number;
            }
        }
        assert_eq!(book.between(|times| times.made, |times| times.receipt), [3.010, 3.013]);
        assert!(book.between(|times| times.made, |times| times.consumed).is_empty());
    }

    #[test]
    fn quantiles_are_of_what_is_there() {
        let sorted: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!((quantile(&sorted, 0.5), quantile(&sorted, 0.99)), (50.0, 99.0));
        assert!(quantile(&[], 0.5).is_nan());
    }
}
