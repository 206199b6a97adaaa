//! All five bridges on one machine, each with the events of its own stream, at a thousand a second.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bridge_tests::Result;
use bridge_tests::generator::{Generator, Settings, create_topic, delete_topic};
use bridge_tests::stack::{repository, unique};
use bridge_tests::streams::Stream;

use super::{Bench, Outcome, Scale};
use crate::contenders::bridge::binary;
use crate::figures::{Figure, Row};
use crate::process::{Usage, Worker};
use crate::target::Target;

/// What each bridge is fed with.
const STREAMS: [Stream; 5] =
    [Stream::JobLifecycle, Stream::JobMetrics, Stream::Notifications, Stream::AuditTrail, Stream::SystemHealth];
/// Events per second of each.
const RATE: u64 = 1_000;

struct Member {
    stream: Stream,
    topic: String,
    target: Target,
    worker: Option<Worker>,
}

/// Starts all, feeds all, and measures what they use together once they run.
pub(crate) async fn run(bench: &Bench) -> Outcome {
    let mut members = Vec::new();
    for stream in STREAMS {
        members.push(Member::new(bench, stream).await?);
    }
    let outcome = measure(bench, &mut members).await;
    for member in members {
        if let Some(worker) = member.worker {
            worker.stop(Duration::from_secs(20))?;
        }
        member.target.delete().await;
        delete_topic(bench.ground.stack.kafka(), &member.topic).await?;
    }
    outcome
}

async fn measure(bench: &Bench, members: &mut [Member]) -> Outcome {
    for member in members.iter_mut() {
        member.start(bench)?;
    }
    let time = if bench.scale >= Scale::Normal { Duration::from_secs(30) } else { Duration::from_secs(10) };
    let feeds = members.iter().map(|member| {
        let settings = Settings::of(member.stream).to_kafka(bench.ground.stack.kafka(), &member.topic);
        Generator::start(Settings { rate: Some(RATE), ..settings })
    });
    let feeds: Vec<Generator> = feeds.collect();
    // All of them have moved their first records, and run steadily.
    for member in members.iter_mut() {
        member.moved(2 * RATE).await?;
    }
    let (before, at) = (sum(members), Instant::now());
    tokio::time::sleep(time).await;
    let (after, seconds) = (sum(members), at.elapsed().as_secs_f64());
    for (feed, member) in feeds.into_iter().zip(members.iter()) {
        let report = tokio::task::block_in_place(|| feed.stop())?;
        let rate = report.acknowledged as f64 / report.took.as_secs_f64();
        bench.say(format!("{}: fed with {rate:.0} events/s", member.stream));
        if rate < 0.95 * RATE as f64 {
            return Err(format!("{} was fed with {rate:.0} events/s only, of {RATE}", member.stream).into());
        }
    }
    let cpu = after.cpu_seconds - before.cpu_seconds;
    Ok(Row::from([
        (Figure::CpuOfCore, cpu / seconds * 100.0),
        (Figure::PeakRss, after.peak_rss_bytes as f64 / f64::from(1 << 20)),
        (Figure::Seconds, seconds),
    ]))
}

fn sum(members: &[Member]) -> Usage {
    let used = members.iter().filter_map(|member| member.worker.as_ref()).map(Worker::usage);
    used.fold(Usage::default(), |sum, used| Usage {
        cpu_seconds: sum.cpu_seconds + used.cpu_seconds,
        peak_rss_bytes: sum.peak_rss_bytes + used.peak_rss_bytes,
    })
}

impl Member {
    async fn new(bench: &Bench, stream: Stream) -> Result<Self> {
        let topic = unique(&format!("bench-fleet-{stream}"));
        let stack = &bench.ground.stack;
        create_topic(stack.kafka(), &topic, stream.partitions()).await?;
        let target = Target::new(stack.pulsar_admin(), &topic, 3);
        let directory = bench.ground.directory.join(&topic);
        std::fs::create_dir_all(&directory)?;
        std::fs::copy(repository().join("config/default.toml"), directory.join("default.toml"))?;
        let name = stream.bridge();
        let text = format!(
            "[stream]\nname = \"{name}\"\n[http]\nlisten = \"127.0.0.1:0\"\n[kafka]\nbrokers = \"{}\"\n\
             [pulsar]\nurl = \"{}\"\nadmin_url = \"{}\"\n\
             [source.kafka]\nkind = \"kafka\"\ntopic = \"{topic}\"\nstart = \"earliest\"\n\
             [target]\ntopic = \"{}\"\n[setup]\npartitions = {}\n",
            stack.kafka(),
            stack.pulsar(),
            stack.pulsar_admin(),
            target.topic,
            target.partitions
        );
        std::fs::write(directory.join(name).with_extension("toml"), text)?;
        let mut setup = Command::new(binary(&bench.ground, "bridgectl")?);
        let output = setup.args(["setup", name, "--config"]).arg(&directory).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(format!("bridgectl setup: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(Self { stream, topic, target, worker: None })
    }

    fn start(&mut self, bench: &Bench) -> Result<()> {
        let mut command = Command::new(binary(&bench.ground, &format!("{}-bridge", self.stream.bridge()))?);
        let directory = bench.ground.directory.join(&self.topic);
        command.args(["run", "--config"]).arg(&directory);
        self.worker = Some(Worker::start(&mut command, &directory.join("log"))?);
        Ok(())
    }

    /// Waits until the target has taken so many.
    async fn moved(&mut self, records: u64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.target.taken().await < records {
            let worker = self.worker.as_mut().ok_or("it was not started")?;
            if let Some(status) = worker.has_ended() {
                return Err(format!("{} has ended: {status}\n{}", self.stream, worker.log_tail()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("{} moves nothing\n{}", self.stream, worker.log_tail()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}
