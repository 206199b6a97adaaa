//! What a start costs: until the first message, until something new after a kill, and until a backlog is worked off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge_tests::Result;
use bridge_tests::generator::{create_topic, delete_topic};
use bridge_tests::stack::unique;
use tokio::task::JoinHandle;

use super::kills::{ASKED, kill_and_start, static_member};
use super::throughput::wait_for;
use super::{Bench, Outcome};
use crate::contenders::{Contender, Job};
use crate::events::{Bodies, Form};
use crate::figures::{Figure, Row};
use crate::load::{Feed, Source};
use crate::process::Worker;

/// Records per second while a contender starts and is killed.
pub(crate) const RATE: u64 = 1_000;
/// Records per second of the backlog.
pub(crate) const BACKLOG_RATE: u64 = 10_000;
/// How long a backlog grows while the contender is dead.
pub(crate) const DEAD: Duration = Duration::from_secs(5);
/// How long the lag is watched before the kill.
const STEADY: Duration = Duration::from_secs(2);
/// A contender that is not level after so long has failed.
const LEVEL_AT_MOST: Duration = Duration::from_secs(180);
/// Nobody is fed for longer.
const FED_AT_MOST: Duration = Duration::from_secs(600);

/// A topic of its own, fed at a steady rate by a thread until it is stopped.
struct Stream {
    source: Source,
    feed: Arc<Feed>,
    stop: Arc<AtomicBool>,
    feeding: JoinHandle<Result<Duration>>,
}

impl Stream {
    async fn open(bench: &Bench, form: Form, partitions: u32, rate: u64) -> Result<Self> {
        let topic = unique("bench-start");
        let brokers = bench.ground.stack.kafka().to_owned();
        create_topic(&brokers, &topic, partitions as i32).await?;
        let feed = Arc::new(Feed::new(&brokers)?);
        let source = Source { brokers, topic, partitions, records: 0 };
        let stop = Arc::new(AtomicBool::new(false));
        let feeding = {
            let (source, feed, stop) = (source.clone(), Arc::clone(&feed), Arc::clone(&stop));
            let mut bodies = Bodies::new(form, 0)?;
            tokio::task::spawn_blocking(move || feed.run_until(&source, &mut bodies, rate, FED_AT_MOST, &stop))
        };
        Ok(Self { source, feed, stop, feeding })
    }

    async fn close(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.feeding.await??;
        delete_topic(&self.source.brokers, &self.source.topic).await
    }
}

/// All of it: from the start, and from a kill in a steady stream; then, with a faster stream, from a start on a backlog.
pub(crate) async fn run(bench: &Bench, contender: Contender, form: Form, partitions: u32) -> Outcome {
    let mut row = Row::new();
    for rate in [RATE, BACKLOG_RATE] {
        let stream = Stream::open(bench, form, partitions, rate).await?;
        let mut job = bench.job(&stream.source, form, 0);
        static_member(&mut job);
        let outcome = match rate {
            RATE => start_and_kill(bench, contender, &job).await,
            _ => catch_up(bench, contender, &job, &stream.feed).await,
        };
        job.target.delete().await;
        // What it is told before its end matters more than why the stream could not be closed.
        let closed = stream.close().await;
        row.extend(outcome?);
        closed?;
    }
    Ok(row)
}

async fn start_and_kill(bench: &Bench, contender: Contender, job: &Job) -> Outcome {
    let mut command = contender.prepare(job, &bench.ground).await?;
    let log = bench.log(job, contender);
    let mut worker = Worker::start(&mut command, &log)?;
    let first = wait_for(job, &mut worker, 1, ASKED).await?;
    let first_record = worker.started.elapsed();
    wait_for(job, &mut worker, first + 3 * RATE, ASKED).await?;
    let (worker, silence) = kill_and_start(job, worker, &mut command, &log).await?;
    worker.stop(Duration::from_secs(20))?;
    let silence = silence.ok_or("nothing was left for the new process")?;
    Ok(Row::from([(Figure::FirstRecord, first_record.as_secs_f64()), (Figure::AfterKill, silence.as_secs_f64())]))
}

/// Killed in a steady stream, dead for a while, and started: how long until no more is behind than at worst before the kill.
///
/// What a contender doubles counts as moved; it makes this figure of one that doubles a little too good.
async fn catch_up(bench: &Bench, contender: Contender, job: &Job, feed: &Feed) -> Outcome {
    let mut command = contender.prepare(job, &bench.ground).await?;
    let log = bench.log(job, contender);
    let mut worker = Worker::start(&mut command, &log)?;
    // It has started, and is through with what waited for it.
    wait_for(job, &mut worker, feed.sent() + BACKLOG_RATE, ASKED).await?;
    let (mut usual, since) = (0, Instant::now());
    while since.elapsed() < STEADY {
        usual = usual.max(behind(job, feed).await);
        tokio::time::sleep(ASKED).await;
    }
    worker.kill()?;
    tokio::time::sleep(DEAD).await;
    let mut worker = Worker::start(&mut command, &log)?;
    while behind(job, feed).await > usual {
        if let Some(status) = worker.has_ended() {
            return Err(format!("it has ended ({status}) after a kill\n{}", worker.log_tail()).into());
        }
        if worker.started.elapsed() > LEVEL_AT_MOST {
            return Err(format!("still behind {LEVEL_AT_MOST:?} after a start\n{}", worker.log_tail()).into());
        }
        tokio::time::sleep(ASKED).await;
    }
    let caught_up = worker.started.elapsed();
    worker.stop(Duration::from_secs(20))?;
    Ok(Row::from([(Figure::CaughtUp, caught_up.as_secs_f64())]))
}

/// How many records were sent that the target has not taken. What was sent is looked at first: a look takes its time.
async fn behind(job: &Job, feed: &Feed) -> u64 {
    let sent = feed.sent();
    sent.saturating_sub(job.target.taken().await)
}
