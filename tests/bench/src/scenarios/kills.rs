//! What a kill costs: how long nothing arrives, and what is lost, doubled and reordered in the end.

use std::process::Command;
use std::time::{Duration, Instant};

use bridge_tests::Result;

use super::throughput::wait_for;
use super::{Bench, Outcome};
use crate::account::{self, Ledger};
use crate::contenders::{Contender, Job, Origin};
use crate::figures::{Figure, Row};
use crate::process::Worker;

/// How many times a contender is killed in mid-run.
const KILLS: u64 = 3;
/// How often the broker is asked.
pub(crate) const ASKED: Duration = Duration::from_millis(4);
/// When nothing came for so long after a kill, all that the dead process had sent has come.
const AFTERMATH: Duration = Duration::from_millis(50);
/// So long after a kill a contender that still moves nothing has failed.
const SILENT_AT_MOST: Duration = Duration::from_secs(180);
/// Nothing has come for so long: the contender has done what it will do.
const STILL: Duration = Duration::from_secs(10);

/// The settings with which our bridge keeps its partitions over a kill, as a pod of a stateful set does.
pub(crate) fn static_member(job: &mut Job) {
    job.settings.push(("BRIDGE__KAFKA__INSTANCE_ID".to_owned(), job.name.clone()));
}

/// Three times kill -9 on the way through a full topic, started anew at once each time; then all is counted.
pub(crate) async fn run(bench: &Bench, contender: Contender, job: &Job) -> Outcome {
    let outcome = three_kills(bench, contender, job).await;
    job.target.delete().await;
    outcome
}

async fn three_kills(bench: &Bench, contender: Contender, job: &Job) -> Outcome {
    let mut command = contender.prepare(job, &bench.ground).await?;
    let log = bench.log(job, contender);
    let mut worker = Worker::start(&mut command, &log)?;
    let mut silences = Vec::new();
    for kill in 1..=KILLS {
        wait_for(job, &mut worker, job.records * kill / (KILLS + 1), ASKED).await?;
        let (next, silence) = kill_and_start(job, worker, &mut command, &log).await?;
        worker = next;
        silences.extend(silence.map(|silence| silence.as_secs_f64()));
    }
    until_still(job, &mut worker).await;
    worker.stop(Duration::from_secs(20))?;
    let Origin::Kafka { partitions, .. } = job.origin else { return Err("only for Kafka".into()) };
    let ledger = account::read(bench.ground.stack.pulsar(), &job.target, Ledger::new(partitions, job.records)).await?;
    let account = ledger.close();
    if account.strangers > 0 {
        return Err(format!("{} messages in the target are nobody's", account.strangers).into());
    }
    let mut row = Row::from([
        (Figure::Lost, account.lost as f64),
        (Figure::Doubled, account.doubled as f64),
        (Figure::Reordered, account.reordered as f64),
    ]);
    if let Some(longest) = silences.into_iter().reduce(f64::max) {
        row.insert(Figure::Silent, longest);
    }
    Ok(row)
}

/// SIGKILL, a new process at once, and how long it took from the kill until something new arrived; `None` where the dead one had done
/// all before it was hit, as happens with a small job.
pub(crate) async fn kill_and_start(
    job: &Job,
    mut worker: Worker,
    command: &mut Command,
    log: &std::path::Path,
) -> Result<(Worker, Option<Duration>)> {
    let killed = Instant::now();
    worker.kill()?;
    // What the dead one had on its way is not new: it lands first.
    let mut before = job.target.taken().await;
    let mut since = Instant::now();
    while since.elapsed() < AFTERMATH {
        tokio::time::sleep(ASKED).await;
        let now = job.target.taken().await;
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    let mut next = Worker::start(command, log)?;
    if job.records > 0 && before >= job.records {
        return Ok((next, None));
    }
    while job.target.taken().await <= before {
        if let Some(status) = next.has_ended() {
            return Err(format!("it has ended ({status}) after a kill\n{}", next.log_tail()).into());
        }
        if killed.elapsed() > SILENT_AT_MOST {
            return Err(format!("nothing has arrived for {SILENT_AT_MOST:?} after a kill\n{}", next.log_tail()).into());
        }
        tokio::time::sleep(ASKED).await;
    }
    Ok((next, Some(killed.elapsed())))
}

/// Waits until nothing comes any more.
async fn until_still(job: &Job, worker: &mut Worker) {
    let (mut taken, mut since) = (0, Instant::now());
    while since.elapsed() < STILL && worker.has_ended().is_none() {
        let now = job.target.taken().await;
        if now != taken {
            (taken, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
