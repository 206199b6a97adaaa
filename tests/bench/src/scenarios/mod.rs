//! What is measured. A scenario makes its source once, then every contender has its turn, round by round, in alternating
//! order.

pub(crate) mod catalogue;
mod fleet;
mod kills;
mod latency;
mod rabbit;
mod starts;
mod throughput;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use bridge_tests::Result;
use bridge_tests::stack::unique;

use crate::contenders::{Contender, Ground, Job, Origin};
use crate::events::{Bodies, Form, writer_schema};
use crate::figures::{Figure, Row};
use crate::interrupt;
use crate::load::Source;
use crate::results::{Entry, Results};
use crate::target::Target;

/// Passes before anything is measured.
const WARM_UP_AT_MOST: u32 = 6;
/// Servers are warm where a pass is faster than the best before by less than this.
const WARM: f64 = 1.05;

/// What a run gives.
pub(crate) type Outcome = Result<Row>;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Scale {
    /// A few thousand records: whether all of it works, no figures.
    Smoke,
    /// Under five minutes in all.
    Quick,
    /// What RESULTS.md shows.
    Normal,
    /// That, and the long forms.
    Full,
}

/// What all scenarios work with.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Servers and binaries.
    pub(crate) ground: Ground,
    /// The processes of the brokers.
    pub(crate) brokers: Vec<u32>,
    /// How much.
    pub(crate) scale: Scale,
    /// How often.
    pub(crate) rounds: u32,
    /// Who.
    pub(crate) contenders: Vec<Contender>,
    /// Where the results go.
    pub(crate) out: PathBuf,
    /// A file with the sizes of images.
    pub(crate) image_sizes: Option<PathBuf>,
    /// Whether the servers have been warmed up.
    pub(crate) is_warm: AtomicBool,
}

impl Bench {
    /// Where a contender's words go.
    pub(crate) fn log(&self, job: &Job, contender: Contender) -> PathBuf {
        self.ground.directory.join(format!("{}-{contender}.log", job.name))
    }

    /// Tells how far it is.
    pub(crate) fn say(&self, what: impl std::fmt::Display) {
        crate::tell(format_args!("    {what}"));
    }

    /// A Kafka topic with so many records, filled unless it is there, and the mean size of a record.
    pub(crate) async fn kafka_source(&self, form: Form, partitions: u32, records: u64) -> Result<(Source, f64)> {
        let name = match form {
            Form::Sized(bytes) => format!("bytes-{bytes}"),
            Form::Event => "json".to_owned(),
            Form::LargeEvent => "json-large".to_owned(),
            Form::ConfluentSame => "confluent-same".to_owned(),
            Form::ConfluentEvolved => "confluent-evolved".to_owned(),
        };
        let topic = format!("bench-{name}-{partitions}-{records}");
        let schema_id = match form {
            Form::Sized(_) | Form::Event | Form::LargeEvent => 0,
            Form::ConfluentSame | Form::ConfluentEvolved => self.register(&name, form).await?,
        };
        let mut bodies = Bodies::new(form, schema_id)?;
        let source = Source { brokers: self.ground.stack.kafka().to_owned(), topic, partitions, records };
        source.fill(&mut bodies).await?;
        Ok((source, bodies.mean_bytes()))
    }

    async fn register(&self, name: &str, form: Form) -> Result<u32> {
        let url = format!("{}/subjects/{name}-value/versions", self.ground.stack.registry());
        let schema = serde_json::json!({"schema": writer_schema(form)?.to_string()});
        let answer = bridge_tests::http::send(reqwest::Method::POST, &url, &schema).await?;
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        Ok(answer["id"].as_u64().ok_or("the registry gave no id")? as u32)
    }

    /// Servers that were just started compile as they run: the first contenders would measure that. Our bridge goes through the
    /// source, unmeasured, until it is no faster than the last time; once for a run.
    pub(crate) async fn warm_up(&self, source: &Source, form: Form) -> Result<()> {
        if self.scale < Scale::Normal || self.is_warm.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let mut best = 0.0;
        for pass in 1..=WARM_UP_AT_MOST {
            let job = self.job(source, form, source.records);
            let row = throughput::run(self, Contender::Bridge, &job).await?;
            let rate = row[&Figure::Rate];
            self.say(format!("warming up, {pass}: {}", Figure::Rate.show(rate)));
            if rate < best * WARM {
                break;
            }
            best = rate.max(best);
        }
        Ok(())
    }

    /// A job from this topic into a fresh target.
    pub(crate) fn job(&self, source: &Source, form: Form, records: u64) -> Job {
        let name = unique("bench");
        Job {
            pulsar: self.ground.stack.pulsar().to_owned(),
            target: Target::new(self.ground.stack.pulsar_admin(), &name, source.partitions),
            origin: Origin::Kafka { topic: source.topic.clone(), partitions: source.partitions },
            name,
            form,
            records,
            settings: Vec::new(),
        }
    }

    /// The contenders of a round: every second time the other way round.
    pub(crate) fn order(&self, among: &[Contender], round: u32) -> Vec<Contender> {
        let mut chosen: Vec<_> = among.iter().copied().filter(|one| self.contenders.contains(one)).collect();
        if round % 2 == 1 {
            chosen.reverse();
        }
        chosen
    }

    /// Notes a run, shows it, and writes it down. Fails where the benchmark is to end.
    pub(crate) fn note(
        &self,
        results: &mut Results,
        contender: Contender,
        label: &str,
        outcome: Outcome,
    ) -> Result<()> {
        interrupt::check()?;
        match &outcome {
            Ok(row) => {
                let shown: Vec<_> =
                    row.iter().map(|(figure, value)| format!("{} {}", figure.show(*value), figure.title())).collect();
                self.say(format!("{contender:<14} {label} {}", shown.join(" · ")));
            }
            Err(error) => self.say(format!("{contender:<14} {label} FAILED: {error}")),
        }
        results.add(Entry::key(contender, label), outcome);
        results.write(&self.out)
    }
}
