//! How fast, and at what price: a full source, and a contender that is started on it.

use std::time::{Duration, Instant};

use bridge_tests::Result;

use super::{Bench, Outcome};
use crate::contenders::own::Finished;
use crate::contenders::{Contender, Job};
use crate::figures::{Figure, Row};
use crate::process::{Usage, Worker, cpu_seconds_of};

/// How often the broker is asked before the first message, and then.
const ASKED_FIRST: Duration = Duration::from_millis(5);
const ASKED_THEN: Duration = Duration::from_millis(40);
/// A contender that moves nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(90);
/// No reader needs longer for all that a scenario has.
const READING_AT_MOST: Duration = Duration::from_secs(600);

/// One run: the contender is started, measured from its first message in the target to its last, and stopped.
///
/// Throughput is (records - those of the first look) / (last - first): without its start, which is told apart, since a peer
/// that takes seconds to start is no slower for it.
pub(crate) async fn run(bench: &Bench, contender: Contender, job: &Job) -> Outcome {
    let outcome = match contender {
        Contender::ReadOnly | Contender::PerfTest => read(bench, contender, job).await,
        _ => mirror(bench, contender, job).await,
    };
    job.target.delete().await;
    outcome
}

async fn mirror(bench: &Bench, contender: Contender, job: &Job) -> Outcome {
    let mut command = contender.prepare(job, &bench.ground).await?;
    let mut worker = Worker::start(&mut command, &bench.log(job, contender))?;
    let measured = measure(bench, job, &mut worker).await;
    let measured = measured.map_err(|error| format!("{contender}: {error}\n{}", worker.log_tail()));
    worker.stop(Duration::from_secs(20))?;
    Ok(measured?)
}

async fn measure(bench: &Bench, job: &Job, worker: &mut Worker) -> Result<Row> {
    let first = wait_for(job, worker, 1, ASKED_FIRST).await?;
    let start_seconds = worker.started.elapsed().as_secs_f64();
    let (at, used, brokers) = (Instant::now(), worker.usage(), cpu_seconds_of(&bench.brokers));
    let last = wait_for(job, worker, job.records, ASKED_THEN).await?;
    let taken_at = Instant::now();
    while !job.target.is_stored().await? {
        if taken_at.elapsed() > PATIENCE {
            return Err(format!("what was taken is not stored after {PATIENCE:?}").into());
        }
        tokio::time::sleep(ASKED_FIRST).await;
    }
    let (seconds, used_then) = (at.elapsed().as_secs_f64(), worker.usage());
    let brokers = cpu_seconds_of(&bench.brokers) - brokers;
    let millions = (last - first) as f64 / 1e6;
    Ok(Row::from([
        (Figure::Rate, millions * 1e6 / seconds),
        (Figure::CpuPerMillion, (used_then.cpu_seconds - used.cpu_seconds) / millions),
        (Figure::PeakRss, used_then.peak_rss_bytes as f64 / f64::from(1 << 20)),
        (Figure::BrokersCpuPerMillion, brokers / millions),
        (Figure::FirstRecord, start_seconds),
        (Figure::Seconds, seconds),
    ]))
}

/// Waits until the target has taken so many messages; gives how many it has.
pub(crate) async fn wait_for(job: &Job, worker: &mut Worker, records: u64, every: Duration) -> Result<u64> {
    let (mut seen, mut seen_at) = (0, Instant::now());
    loop {
        let taken = job.target.taken().await;
        if taken >= records {
            return Ok(taken);
        }
        if taken > seen {
            (seen, seen_at) = (taken, Instant::now());
        }
        if let Some(status) = worker.has_ended() {
            return Err(format!("it has ended ({status}) after {taken} of {records}").into());
        }
        if seen_at.elapsed() > PATIENCE {
            return Err(format!("nothing has moved for {PATIENCE:?}: {taken} of {records}").into());
        }
        tokio::time::sleep(every).await;
    }
}

/// A reader measures itself, from its first record to its last.
async fn read(bench: &Bench, contender: Contender, job: &Job) -> Outcome {
    let brokers = cpu_seconds_of(&bench.brokers);
    let mut command = contender.prepare(job, &bench.ground).await?;
    let mut worker = Worker::start(&mut command, &bench.log(job, contender))?;
    let mut used = worker.usage();
    let ended = tokio::time::timeout(READING_AT_MOST, async {
        while worker.has_ended().is_none() {
            used = Some(worker.usage()).filter(|now| now.peak_rss_bytes > 0).unwrap_or(used);
            tokio::time::sleep(ASKED_THEN).await;
        }
    });
    ended.await.map_err(|_| format!("the reader has not ended after {READING_AT_MOST:?}"))?;
    let log = worker.log();
    let finished = match contender {
        Contender::PerfTest => told_by_perf_test(&log, job.records, used),
        _ => log.lines().rev().find_map(|line| serde_json::from_str::<Finished>(line).ok()),
    };
    let finished = finished.ok_or_else(|| format!("the reader failed\n{}", worker.log_tail()))?;
    let millions = finished.records as f64 / 1e6;
    Ok(Row::from([
        (Figure::Rate, finished.records as f64 / finished.seconds),
        (Figure::CpuPerMillion, finished.cpu_seconds / millions),
        (Figure::PeakRss, finished.peak_rss_bytes as f64 / f64::from(1 << 20)),
        (Figure::BrokersCpuPerMillion, (cpu_seconds_of(&bench.brokers) - brokers) / millions),
        (Figure::Seconds, finished.seconds),
    ]))
}

/// What PerfTest says in the end is a rate. Its CPU time is that of the whole process, the start of its machine included.
fn told_by_perf_test(log: &str, records: u64, used: Usage) -> Option<Finished> {
    let rate = log.lines().rev().find_map(|line| line.split_once("receiving rate avg: "))?.1;
    let rate: f64 = rate.split_whitespace().next()?.parse().ok()?;
    Some(Finished {
        records,
        seconds: records as f64 / rate,
        cpu_seconds: used.cpu_seconds,
        peak_rss_bytes: used.peak_rss_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_perf_test_is_its_last_average() {
        let log = "id: test-1, sending rate avg: 0 msg/s\nid: test-1, receiving rate avg: 50000 msg/s\n";
        let used = Usage { cpu_seconds: 3.0, peak_rss_bytes: 1 };
        let told = told_by_perf_test(log, 100_000, used).unwrap();
        assert_eq!((told.records, told.seconds, told.cpu_seconds), (100_000, 2.0, 3.0));
        assert!(told_by_perf_test("it has failed", 1, used).is_none());
    }
}
