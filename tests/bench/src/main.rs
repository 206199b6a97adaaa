//! The benchmark: our bridges beside their peers and the limits, on the same servers, one after the other. `tests/bench/run`
//! starts it with servers and binaries.

mod account;
mod contenders;
mod events;
mod figures;
mod load;
mod process;
mod report;
mod results;
mod scenarios;
mod target;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bridge_tests::Result;
use bridge_tests::stack::{Stack, repository};
use clap::{Parser, Subcommand};

use contenders::{Contender, Ground, plain_loop, readers};
use scenarios::catalogue::{self, Scenario};
use scenarios::{Bench, Scale};

#[derive(Parser)]
#[command(name = "bridge-bench", about = "Measures the bridges beside their peers; see tests/bench/run")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure, on the servers of STACK_DIR
    Run(RunArguments),
    /// Write the table and the chart from what was measured before
    Report {
        /// Where the results are
        #[arg(long)]
        out: PathBuf,
    },
    /// Show the scenarios
    List,
    /// Be a contender that is not a program of its own
    #[command(subcommand)]
    Worker(WorkerVerb),
}

#[derive(clap::Args)]
struct RunArguments {
    /// Scenarios or groups of them, with commas; all, where none is named
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Contenders, with commas
    #[arg(long, value_delimiter = ',', default_values_t = Contender::ALL)]
    contenders: Vec<Contender>,
    /// How often each has its turn
    #[arg(long)]
    rounds: Option<u32>,
    /// How much
    #[arg(long, value_enum, default_value = "normal")]
    scale: Scale,
    /// The directory of the released binaries
    #[arg(long)]
    binaries: PathBuf,
    /// The directory of Pulsar IO's archives
    #[arg(long)]
    pulsar_io: Option<PathBuf>,
    /// Where the results go
    #[arg(long)]
    out: PathBuf,
}

#[derive(Subcommand)]
enum WorkerVerb {
    /// From Kafka into Pulsar as an able user writes it
    PlainLoop { brokers: String, topic: String, group: String, pulsar: String, target: String, form: String },
    /// Read a Kafka topic
    ReadKafka { brokers: String, topic: String, partitions: i32, records: u64 },
    /// Read a RabbitMQ queue
    ReadRabbit { url: String, queue: String, kind: String, records: u64 },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        // What has been started ends with us: a worker is killed when it is dropped.
        Verb::Run(arguments) => tokio::select! {
            done = run(arguments) => done,
            () = interrupted() => Err("interrupted".into()),
        },
        Verb::Report { out } => report::write(&out),
        Verb::List => {
            catalogue::ALL.iter().for_each(|scenario| tell(format_args!("{:<14} {}", scenario.name, scenario.group)));
            Ok(())
        }
        Verb::Worker(worker) => work(worker).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bridge-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C, or whoever else asks for the end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Tells how far it is. Nobody may be listening any more, which is no reason to leave workers behind.
pub(crate) fn tell(what: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{what}");
}

async fn work(verb: WorkerVerb) -> Result<()> {
    match verb {
        WorkerVerb::PlainLoop { brokers, topic, group, pulsar, target, form } => {
            plain_loop::run(&brokers, &topic, &group, &pulsar, &target, &form).await
        }
        WorkerVerb::ReadKafka { brokers, topic, partitions, records } => {
            tokio::task::block_in_place(|| readers::read_kafka(&brokers, &topic, partitions, records))
        }
        WorkerVerb::ReadRabbit { url, queue, kind, records } => {
            readers::read_rabbit(&url, &queue, &kind, records).await
        }
    }
}

async fn run(arguments: RunArguments) -> Result<()> {
    let chosen = choose(&arguments.only)?;
    std::fs::create_dir_all(&arguments.out)?;
    let directory = repository().join("target/bench");
    // Logs and configurations of the run before.
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory)?;
    let stack = Stack::up_with(&servers(&chosen))?;
    let ground = Ground { stack, binaries: arguments.binaries, pulsar_io: arguments.pulsar_io, directory };
    let rounds = arguments.rounds.unwrap_or(match arguments.scale {
        Scale::Smoke | Scale::Quick => 1,
        Scale::Normal | Scale::Full => 3,
    });
    let bench = Bench {
        ground,
        brokers: broker_pids()?,
        scale: arguments.scale,
        rounds,
        contenders: arguments.contenders,
        out: arguments.out,
    };
    let mut failed = 0;
    for (at, scenario) in chosen.iter().enumerate() {
        tell(format_args!("[{}/{}] {}", at + 1, chosen.len(), scenario.name));
        match scenario.run(&bench).await {
            Ok(results) => {
                failed += results.failures();
                results.write(&bench.out)?;
            }
            Err(error) => {
                failed += 1;
                tell(format_args!("    FAILED: {error}"));
            }
        }
    }
    report::write(&bench.out)?;
    if failed == 0 { Ok(()) } else { Err(format!("{failed} runs have failed: see above").into()) }
}

/// The scenarios that these names mean.
fn choose(names: &[String]) -> Result<Vec<Scenario>> {
    for name in names {
        if !catalogue::ALL.iter().any(|scenario| scenario.name == name || scenario.group == name) {
            let known: Vec<_> = catalogue::ALL.iter().map(|scenario| scenario.name).collect();
            return Err(format!("no scenario '{name}': {}", known.join(", ")).into());
        }
    }
    let is_chosen = |scenario: &Scenario| {
        names.is_empty() || names.iter().any(|name| name == scenario.name || name == scenario.group)
    };
    Ok(catalogue::ALL.into_iter().filter(is_chosen).collect())
}

fn servers(chosen: &[Scenario]) -> Vec<&'static str> {
    let mut servers: Vec<_> = chosen.iter().flat_map(|scenario| scenario.servers()).copied().collect();
    servers.sort_unstable();
    servers.dedup();
    servers
}

/// The main processes of the servers that are up, by `deploy/local/stack status`.
fn broker_pids() -> Result<Vec<u32>> {
    let script: &Path = &repository().join("deploy/local/stack");
    // Those that are not up make it fail, and are none of our business.
    let output = Command::new(script).arg("status").output()?;
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let pids = table.lines().filter(|line| line.contains(" ready ")).filter_map(|line| line.split_whitespace().nth(2));
    Ok(pids.filter_map(|pid| pid.parse().ok()).collect())
}
