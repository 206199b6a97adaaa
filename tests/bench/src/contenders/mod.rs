//! Who is measured. Each gets the same job and becomes a process.

pub(crate) mod bridge;
pub(crate) mod own;
pub(crate) mod peers;

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use bridge_tests::Result;
use bridge_tests::rabbit::QueueKind;
use bridge_tests::stack::Stack;
use serde::{Deserialize, Serialize};

use crate::events::Form;
use crate::target::Target;

/// The contenders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// Our bridge as it is released, exactly once.
    Bridge,
    /// What an able user writes in an afternoon: rdkafka, the `pulsar` crate, at least once.
    PlainLoop,
    /// Apache Pulsar IO's source, at least once (its default).
    PulsarIo,
    /// The same, effectively once, with deduplication on the target.
    PulsarIoOnce,
    /// A limit: reads the source, and does nothing with it.
    ReadOnly,
    /// The same limit by RabbitMQ's own load generator.
    PerfTest,
    /// A limit: Pulsar's own load generator, reading nothing.
    WriteOnly,
}

impl Contender {
    /// All of them, in the order in which they are shown.
    pub(crate) const ALL: [Self; 7] = [
        Self::Bridge,
        Self::PlainLoop,
        Self::PulsarIo,
        Self::PulsarIoOnce,
        Self::ReadOnly,
        Self::PerfTest,
        Self::WriteOnly,
    ];

    /// Its name on the command line and in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::PlainLoop => "plain-loop",
            Self::PulsarIo => "pulsar-io",
            Self::PulsarIoOnce => "pulsar-io-once",
            Self::ReadOnly => "read-only",
            Self::PerfTest => "perf-test",
            Self::WriteOnly => "write-only",
        }
    }

    /// What it is.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Bridge => "our bridge, exactly once",
            Self::PlainLoop => "plain loop (rdkafka or lapin, pulsar crate), at least once",
            Self::PulsarIo => "Pulsar IO, at least once",
            Self::PulsarIoOnce => "Pulsar IO, effectively once",
            Self::ReadOnly => "limit: reading only, as our bridge reads",
            Self::PerfTest => "limit: RabbitMQ PerfTest, reading only",
            Self::WriteOnly => "limit: pulsar-perf, writing only",
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let known = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or_else(|| format!("no contender '{text}': {known}"))
    }
}

/// Where the records are.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// A Kafka topic.
    Kafka {
        /// Its name.
        topic: String,
        /// How many partitions it has.
        partitions: u32,
    },
    /// A RabbitMQ queue.
    Rabbit {
        /// Its name.
        queue: String,
        /// What it is.
        kind: QueueKind,
    },
}

/// What a contender is to do.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// A name that nothing else has: of the group, and of what is written for it.
    pub(crate) name: String,
    /// Where the records are.
    pub(crate) origin: Origin,
    /// What they are.
    pub(crate) form: Form,
    /// How many there are to be moved.
    pub(crate) records: u64,
    /// Pulsar's address, or that of a relay before it.
    pub(crate) pulsar: String,
    /// Where they go.
    pub(crate) target: Target,
    /// Further settings of our bridge.
    pub(crate) settings: Vec<(String, String)>,
}

/// What is there for all: servers, binaries, and a place to write to.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The servers.
    pub(crate) stack: Stack,
    /// The released binaries.
    pub(crate) binaries: PathBuf,
    /// The program of the contenders that are written for the benchmark.
    pub(crate) own_contenders: PathBuf,
    /// Where the archives of Pulsar IO are.
    pub(crate) pulsar_io: Option<PathBuf>,
    /// Where the jars of RabbitMQ's PerfTest are.
    pub(crate) perf_test: Option<PathBuf>,
    /// Where configurations and logs are written.
    pub(crate) directory: PathBuf,
}

impl Contender {
    /// Prepares the target and what else the contender needs, and says how it is started.
    pub(crate) async fn prepare(self, job: &Job, ground: &Ground) -> Result<Command> {
        match self {
            Self::Bridge => bridge::prepare(job, ground),
            Self::ReadOnly => own::reader(job, ground),
            Self::PerfTest => peers::perf_test(job, ground),
            _ => {
                job.target.create(self == Self::PulsarIoOnce).await?;
                match self {
                    Self::PlainLoop => own::plain_loop(job, ground),
                    Self::WriteOnly => peers::pulsar_perf(job, ground),
                    _ => peers::pulsar_io(job, ground, self == Self::PulsarIoOnce),
                }
            }
        }
    }

    /// Whether it can do the job at all.
    pub(crate) fn can(self, job: &Job) -> bool {
        let is_kafka = matches!(job.origin, Origin::Kafka { .. });
        match self {
            Self::Bridge | Self::PlainLoop | Self::ReadOnly => true,
            // Over AMQP it tells a stream no offset, and would wait for what comes next.
            Self::PerfTest => matches!(job.origin, Origin::Rabbit { kind, .. } if kind != QueueKind::Stream),
            Self::PulsarIo | Self::PulsarIoOnce => match job.origin {
                Origin::Kafka { .. } => matches!(job.form, Form::Sized(_) | Form::ConfluentSame),
                // It knows no stream offsets either.
                Origin::Rabbit { kind, .. } => kind != QueueKind::Stream,
            },
            Self::WriteOnly => is_kafka && matches!(job.form, Form::Sized(_)),
        }
    }
}
