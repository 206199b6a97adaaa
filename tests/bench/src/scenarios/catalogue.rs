//! The scenarios by name, and how much of each is done at which scale.

use bridge_tests::Result;
use bridge_tests::rabbit::QueueKind;

use super::{Bench, Scale, fleet, kills, latency, rabbit, starts, throughput};
use crate::contenders::Contender;
use crate::contenders::bridge::binary;
use crate::events::Form;
use crate::figures::{Figure, Row};
use crate::load::Source;
use crate::results::Results;

/// Partitions of the topics whose throughput is measured.
const PARTITIONS: u32 = 4;
/// What most scenarios move.
const BYTES: Form = Form::Sized(280);

/// What a scenario does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From Kafka, as fast as it goes.
    Kafka(Form),
    /// From RabbitMQ, as fast as it goes.
    Rabbit(QueueKind),
    /// At steady rates.
    Latency,
    /// From a start, and from a kill, to the first message.
    Start,
    /// Three kills in mid-run, and the account.
    Kills,
    /// With more and fewer partitions.
    Partitions,
    /// With small and large records.
    Sizes,
    /// A long backlog.
    Backlog,
    /// All five bridges together.
    Fleet,
    /// The binaries.
    Binaries,
}

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name on the command line and in the results.
    pub(crate) name: &'static str,
    /// What can be named instead, for several.
    pub(crate) group: &'static str,
    /// What it is.
    pub(crate) title: &'static str,
    kind: Kind,
}

const fn scenario(name: &'static str, group: &'static str, title: &'static str, kind: Kind) -> Scenario {
    Scenario { name, group, title, kind }
}

/// All of them, in the order in which they run.
pub(crate) const ALL: [Scenario; 15] = [
    scenario("kafka-bytes", "throughput", "Kafka, bytes as they are, 280 B", Kind::Kafka(BYTES)),
    scenario("json-to-avro", "throughput", "Kafka, JSON of 280 B to the Avro contract", Kind::Kafka(Form::Event)),
    scenario("json-large", "throughput", "Kafka, JSON of 447 B to the Avro contract", Kind::Kafka(Form::LargeEvent)),
    scenario(
        "avro-same",
        "throughput",
        "Kafka, the events of 280 B as Confluent Avro of 248 B under the contract's own schema",
        Kind::Kafka(Form::ConfluentSame),
    ),
    scenario(
        "avro-evolved",
        "throughput",
        "Kafka, the events of 280 B as Confluent Avro of 219 B under another schema, resolved to the contract",
        Kind::Kafka(Form::ConfluentEvolved),
    ),
    scenario(
        "rabbit-quorum",
        "rabbitmq",
        "RabbitMQ, quorum queue, JSON of 280 B to the Avro contract (Pulsar IO copies the bytes)",
        Kind::Rabbit(QueueKind::Quorum),
    ),
    scenario(
        "rabbit-stream",
        "rabbitmq",
        "RabbitMQ, stream, JSON of 280 B to the Avro contract",
        Kind::Rabbit(QueueKind::Stream),
    ),
    scenario(
        "latency",
        "latency",
        "Latency at steady rates, from the source's timestamp to the receipt and to a consumer of the target",
        Kind::Latency,
    ),
    scenario(
        "start",
        "start",
        "From the start to the first message, from kill -9 to the first new one, from a start on a backlog to its end",
        Kind::Start,
    ),
    scenario("kills", "kills", "Three times kill -9 in mid-run: what became of the records", Kind::Kills),
    scenario("partitions", "growth", "Growth with partitions", Kind::Partitions),
    scenario("sizes", "growth", "Growth with the size of a record", Kind::Sizes),
    scenario("backlog", "growth", "A long backlog: memory stays flat", Kind::Backlog),
    scenario("fleet", "fleet", "Five bridges together, a thousand events a second each", Kind::Fleet),
    scenario("binaries", "binaries", "Size of the binaries and images", Kind::Binaries),
];

impl Scenario {
    /// The servers that it needs.
    pub(crate) fn servers(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Kafka(Form::ConfluentSame | Form::ConfluentEvolved) => &["pulsar", "kafka", "registry"],
            Kind::Rabbit(_) => &["pulsar", "rabbitmq"],
            Kind::Binaries => &[],
            _ => &["pulsar", "kafka"],
        }
    }

    /// Runs it.
    pub(crate) async fn run(&self, bench: &Bench) -> Result<Results> {
        let mut results = Results::new(self.name, self.title, bench);
        match self.kind {
            Kind::Kafka(form) => kafka(bench, &mut results, form).await?,
            Kind::Rabbit(kind) => queue(bench, &mut results, kind).await?,
            Kind::Latency => rates(bench, &mut results).await?,
            Kind::Start => starts(bench, &mut results).await?,
            Kind::Kills => three_kills(bench, &mut results).await?,
            Kind::Partitions => partitions(bench, &mut results).await?,
            Kind::Sizes => sizes(bench, &mut results).await?,
            Kind::Backlog => backlog(bench, &mut results).await?,
            Kind::Fleet => {
                results.about =
                    "each with its own Kafka topic as the portal has it, JSON to Avro; all processes together"
                        .to_owned();
                let outcome = fleet::run(bench).await;
                bench.note(&mut results, Contender::Bridge, "", outcome)?;
            }
            Kind::Binaries => binaries(bench, &mut results)?,
        }
        Ok(results)
    }
}

/// How many records a contender is given, so that it works for several seconds.
fn records(scale: Scale, contender: Contender) -> u64 {
    let (smoke, quick, normal) = match contender {
        Contender::Bridge | Contender::ReadOnly | Contender::PerfTest => (20_000, 2_000_000, 4_000_000),
        Contender::WriteOnly => (20_000, 1_000_000, 3_000_000),
        Contender::PlainLoop => (20_000, 400_000, 1_000_000),
        Contender::PulsarIo | Contender::PulsarIoOnce => (20_000, 150_000, 300_000),
    };
    match scale {
        Scale::Smoke => smoke,
        Scale::Quick => quick,
        Scale::Normal | Scale::Full => normal,
    }
}

async fn kafka(bench: &Bench, results: &mut Results, form: Form) -> Result<()> {
    let (source, bytes) = bench.kafka_source(form, PARTITIONS, records(bench.scale, Contender::Bridge)).await?;
    results.about = format!("{PARTITIONS} partitions, {bytes:.0} B a record on average, a key, no headers");
    bench.warm_up(&source, form).await?;
    for round in 0..bench.rounds {
        for contender in bench.order(&Contender::ALL, round) {
            let job = bench.job(&source, form, records(bench.scale, contender));
            if contender != Contender::PulsarIoOnce && contender.can(&job) {
                let outcome = throughput::run(bench, contender, &job).await;
                bench.note(results, contender, "", outcome)?;
            }
        }
    }
    Ok(())
}

async fn queue(bench: &Bench, results: &mut Results, kind: QueueKind) -> Result<()> {
    let records = match bench.scale {
        Scale::Smoke => 5_000,
        Scale::Quick => 100_000,
        Scale::Normal | Scale::Full => 250_000,
    };
    results.about = format!("{records} persistent messages that wait in one queue, 1 target partition");
    for round in 0..bench.rounds {
        for contender in bench.order(&Contender::ALL, round) {
            let job = rabbit::job(bench, kind, records);
            if contender != Contender::PulsarIoOnce && contender.can(&job) {
                let outcome = rabbit::run(bench, contender, &job).await;
                bench.note(results, contender, "", outcome)?;
            }
        }
    }
    Ok(())
}

async fn rates(bench: &Bench, results: &mut Results) -> Result<()> {
    let rates: &[u64] = match bench.scale {
        Scale::Smoke => &[500],
        Scale::Quick => &[1_000, 10_000],
        Scale::Normal | Scale::Full => &[1_000, 10_000, 100_000],
    };
    results.about = format!(
        "{PARTITIONS} partitions, JSON of 280 B to the Avro contract (Pulsar IO, which cannot: bytes of 280 B); reading only: to \
         a consumer of the source"
    );
    if bench.scale >= Scale::Normal {
        let (source, _) = bench.kafka_source(Form::Event, PARTITIONS, records(bench.scale, Contender::Bridge)).await?;
        bench.warm_up(&source, Form::Event).await?;
    }
    let among = [Contender::Bridge, Contender::PlainLoop, Contender::PulsarIo, Contender::ReadOnly];
    for round in 0..bench.rounds {
        for rate in rates {
            for contender in bench.order(&among, round) {
                // Above what it can, it would only fall behind.
                if contender == Contender::PulsarIo && *rate > 10_000 {
                    continue;
                }
                let form = if contender == Contender::PulsarIo { BYTES } else { Form::Event };
                let outcome = latency::run(bench, contender, form, PARTITIONS, *rate).await;
                bench.note(results, contender, &format!("{rate}/s"), outcome)?;
            }
        }
    }
    Ok(())
}

async fn starts(bench: &Bench, results: &mut Results) -> Result<()> {
    results.about = format!(
        "{PARTITIONS} partitions, bytes of 280 B, {}/s; the backlog is of {} s at {}/s, which goes on; our bridge is a static \
         member of its group, the others are as they are",
        starts::RATE,
        starts::DEAD.as_secs(),
        starts::BACKLOG_RATE
    );
    for round in 0..bench.rounds.max(2) {
        for contender in bench.order(&[Contender::Bridge, Contender::PlainLoop, Contender::PulsarIo], round) {
            // Its 45 s of silence are told once.
            if contender == Contender::Bridge || (round == 0 && bench.scale >= Scale::Normal) {
                let outcome = starts::run(bench, contender, BYTES, PARTITIONS).await;
                bench.note(results, contender, "", outcome)?;
            }
        }
    }
    Ok(())
}

async fn three_kills(bench: &Bench, results: &mut Results) -> Result<()> {
    let held = match bench.scale {
        Scale::Smoke => 40_000,
        Scale::Quick => 1_000_000,
        Scale::Normal | Scale::Full => 2_000_000,
    };
    results.about = format!("{PARTITIONS} partitions, a backlog of 280 B records, each started anew at once");
    let among = [Contender::Bridge, Contender::PlainLoop, Contender::PulsarIo, Contender::PulsarIoOnce];
    for round in 0..bench.rounds {
        for contender in bench.order(&among, round) {
            let is_slow = !matches!(contender, Contender::Bridge);
            if is_slow && (bench.scale < Scale::Normal || round > 0) {
                continue;
            }
            let records = if is_slow { 400_000 } else { held };
            let (source, _) = bench.kafka_source(BYTES, PARTITIONS, records).await?;
            let mut job = bench.job(&source, BYTES, records);
            kills::static_member(&mut job);
            let outcome = kills::run(bench, contender, &job).await;
            bench.note(results, contender, &format!("{records} records"), outcome)?;
        }
    }
    Ok(())
}

async fn partitions(bench: &Bench, results: &mut Results) -> Result<()> {
    let counts: &[u32] = match bench.scale {
        Scale::Smoke | Scale::Full => &[1, 10, 100],
        Scale::Quick | Scale::Normal => &[1, 10],
    };
    results.about = "bytes of 280 B".to_owned();
    for count in counts {
        let records = records(bench.scale, Contender::Bridge) / 2;
        let (source, _) = bench.kafka_source(BYTES, *count, records).await?;
        variant(bench, results, &source, BYTES, &format!("{count} partitions")).await?;
    }
    Ok(())
}

async fn sizes(bench: &Bench, results: &mut Results) -> Result<()> {
    let sizes: &[usize] = match bench.scale {
        Scale::Smoke | Scale::Full => &[100, 1 << 10, 10 << 10, 100 << 10, 1 << 20],
        Scale::Quick | Scale::Normal => &[100, 1 << 10, 10 << 10],
    };
    let least = if bench.scale == Scale::Smoke { 50 } else { 1_000 };
    results.about = format!("{PARTITIONS} partitions, bytes as they are");
    for size in sizes {
        // About as many bytes of each.
        let most = records(bench.scale, Contender::Bridge);
        let records = (most * 280 / *size as u64).clamp(least, most);
        let form = Form::Sized(*size);
        let (source, _) = bench.kafka_source(form, PARTITIONS, records).await?;
        variant(bench, results, &source, form, &format!("{size} B")).await?;
    }
    Ok(())
}

async fn backlog(bench: &Bench, results: &mut Results) -> Result<()> {
    results.about =
        format!("{PARTITIONS} partitions, bytes of 280 B: peak memory of the bridge by length of the backlog");
    let lengths: &[u64] = match bench.scale {
        Scale::Full => &[1_000_000, 4_000_000, 10_000_000],
        Scale::Normal => &[1_000_000, 4_000_000],
        Scale::Quick => &[500_000, 2_000_000],
        Scale::Smoke => &[10_000, 40_000],
    };
    for length in lengths {
        let (source, _) = bench.kafka_source(BYTES, PARTITIONS, *length).await?;
        variant(bench, results, &source, BYTES, &format!("{length} records")).await?;
    }
    Ok(())
}

/// Our bridge once through this source.
async fn variant(bench: &Bench, results: &mut Results, source: &Source, form: Form, label: &str) -> Result<()> {
    for _ in 0..bench.rounds {
        let job = bench.job(source, form, source.records);
        let outcome = throughput::run(bench, Contender::Bridge, &job).await;
        bench.note(results, Contender::Bridge, label, outcome)?;
    }
    Ok(())
}

fn binaries(bench: &Bench, results: &mut Results) -> Result<()> {
    results.about =
        "binaries as `cargo build --release -p` makes them; images where `--image-sizes` tells them".to_owned();
    for name in ["job-lifecycle-bridge", "notifications-bridge", "broker-metrics-bridge"] {
        let bytes = std::fs::metadata(binary(&bench.ground, name)?)?.len();
        bench.note(results, Contender::Bridge, name, Ok(Row::from([(Figure::BinarySize, bytes as f64 / 1e6)])))?;
    }
    let Some(file) = &bench.image_sizes else { return Ok(()) };
    for line in std::fs::read_to_string(file)?.lines().filter(|line| !line.trim().is_empty()) {
        let wrong = || format!("{}: '{line}' is no name and size in bytes", file.display());
        let (name, bytes) = line.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
        let bytes: f64 = bytes.trim().parse().map_err(|_| wrong())?;
        let label = format!("image {name}");
        bench.note(results, Contender::Bridge, &label, Ok(Row::from([(Figure::ImageSize, bytes / 1e6)])))?;
    }
    Ok(())
}
