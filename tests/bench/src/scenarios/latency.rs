//! How late: from the moment in which a record is made to the moment in which a consumer of the target has it.
//!
//! All clocks are one, since all runs on one machine. The consumer's way is in the figures too, the same for all: a receipt
//! is a little earlier.

use std::time::Duration;

use bridge_tests::Result;
use bridge_tests::generator::create_topic;
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
use crate::target::Target;

/// What is sent before it counts: connections, batches and machines that compile as they run find their pace.
const WARM_UP: Duration = Duration::from_secs(3);
/// A record that is later than this is told as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many records per second through a contender into a fresh target.
pub(crate) async fn run(bench: &Bench, contender: Contender, form: Form, partitions: u32, rate: u64) -> Outcome {
    let name = unique("bench-latency");
    let brokers = bench.ground.stack.kafka();
    create_topic(brokers, &name, partitions as i32).await?;
    let source = Source { brokers: brokers.to_owned(), topic: name.clone(), partitions, records: 0 };
    let job = bench.job(&source, form, 0);
    let outcome = measure(bench, contender, &job, &source, rate).await;
    job.target.delete().await;
    bridge_tests::generator::delete_topic(brokers, &name).await?;
    outcome
}

async fn measure(bench: &Bench, contender: Contender, job: &Job, source: &Source, rate: u64) -> Outcome {
    let mut command = contender.prepare(job, &bench.ground).await?;
    let mut received = receive(bench, &job.target).await?;
    let worker = Worker::start(&mut command, &bench.log(job, contender))?;
    let measured = feed_and_watch(bench, job, source, rate, &worker, &mut received).await;
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
    received: &mut mpsc::UnboundedReceiver<Option<u64>>,
) -> Outcome {
    let time = if bench.scale >= Scale::Normal { Duration::from_secs(15) } else { Duration::from_secs(6) };
    let feed = Feed::new(&source.brokers)?;
    // The contender is at work when the first records have passed it.
    let mut bodies = Bodies::new(job.form, 0)?;
    let warm = tokio::task::block_in_place(|| feed.run(source, &mut bodies, rate, WARM_UP))?;
    drain(received, warm).await?;
    let (used, brokers) = (worker.usage(), cpu_seconds_of(&bench.brokers));
    let sent = tokio::task::block_in_place(|| feed.run(source, &mut bodies, rate, time))?;
    let mut late = drain(received, sent).await?;
    let (used_then, brokers) = (worker.usage(), cpu_seconds_of(&bench.brokers) - brokers);
    late.sort_unstable();
    let quantile = |of: f64| late[((late.len() - 1) as f64 * of) as usize] as f64 / 1_000.0;
    let millions = sent as f64 / 1e6;
    Ok(Row::from([
        (Figure::P50, quantile(0.5)),
        (Figure::P99, quantile(0.99)),
        (Figure::P999, quantile(0.999)),
        (Figure::CpuPerMillion, (used_then.cpu_seconds - used.cpu_seconds) / millions),
        (Figure::PeakRss, used_then.peak_rss_bytes as f64 / f64::from(1 << 20)),
        (Figure::BrokersCpuPerMillion, brokers / millions),
    ]))
}

/// Consumers of all partitions; each message gives how many microseconds old it is, and one without a mark `None`.
async fn receive(bench: &Bench, target: &Target) -> Result<mpsc::UnboundedReceiver<Option<u64>>> {
    let client: Pulsar<TokioExecutor> = Pulsar::builder(bench.ground.stack.pulsar(), TokioExecutor).build().await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    for partition in 0..target.partitions {
        let mut consumer = account::consumer(&client, target, partition, "bench-latency").await?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = consumer.next().await {
                let now = now_micros();
                let micros = Mark::find(&message.payload.data).map(|mark| now.saturating_sub(mark.micros));
                if sender.send(micros).is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

/// Waits for so many messages.
async fn drain(received: &mut mpsc::UnboundedReceiver<Option<u64>>, count: u64) -> Result<Vec<u64>> {
    let mut all = Vec::with_capacity(count as usize);
    while (all.len() as u64) < count {
        let next = tokio::time::timeout(PATIENCE, received.recv()).await;
        let next = next.map_err(|_| format!("no message for {PATIENCE:?}: {} of {count}", all.len()))?;
        all.push(next.ok_or("the consumers have ended")?.ok_or("a message has no mark")?);
    }
    Ok(all)
}
