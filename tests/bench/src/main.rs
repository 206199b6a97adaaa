//! The benchmark: our bridges beside their peers and the limits, on the same servers, one after the other. `tests/bench/run`
//! starts it with servers and binaries.

mod account;
mod contenders;
mod events;
mod figures;
mod interrupt;
mod load;
mod process;
mod relay;
mod report;
mod results;
mod scenarios;
mod target;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bridge_tests::Result;
use bridge_tests::stack::{Stack, repository, unique};
use clap::{Parser, Subcommand};

use contenders::{Contender, Ground};
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
    /// The program of the plain loops and readers
    #[arg(long)]
    own_contenders: PathBuf,
    /// The directory of Pulsar IO's archives
    #[arg(long)]
    pulsar_io: Option<PathBuf>,
    /// The directory of the jars of RabbitMQ's PerfTest
    #[arg(long)]
    perf_test: Option<PathBuf>,
    /// A file with the name of an image and its size in bytes on each line
    #[arg(long)]
    image_sizes: Option<PathBuf>,
    /// Where the results go
    #[arg(long)]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Run(arguments) => run_until_asked(arguments).await,
        Verb::Report { out } => report::write(&out),
        Verb::List => {
            catalogue::ALL.iter().for_each(|scenario| tell(format_args!("{:<14} {}", scenario.name, scenario.group)));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bridge-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells how far it is. Nobody may be listening any more, which is no reason to leave workers behind.
pub(crate) fn tell(what: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{what}");
}

/// How long what was interrupted may take to end by itself.
const ENDING: Duration = Duration::from_secs(10);

/// Measures on a task of its own: what blocks in it (loading, feeding) does not keep us from hearing that it is to end.
async fn run_until_asked(arguments: RunArguments) -> Result<()> {
    let out = arguments.out.clone();
    let mut running = tokio::spawn(run(arguments));
    tokio::select! {
        done = &mut running => return done?,
        () = interrupt::asked() => {}
    }
    tell("interrupted: what was started is stopped; what was measured is kept");
    // Dropped at its next await: its workers are killed, servers of its own stopped.
    running.abort();
    let _ = tokio::time::timeout(ENDING, running).await;
    report::write(&out)?;
    Err("interrupted".into())
}

/// The directory of this run alone, for configurations and logs. Those of runs that have ended are removed.
fn directory() -> Result<PathBuf> {
    let all = repository().join("target/bench");
    std::fs::create_dir_all(&all)?;
    for entry in std::fs::read_dir(&all)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("run-").and_then(|rest| rest.split('-').next()).unwrap_or_default();
        if !pid.is_empty() && !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let directory = all.join(unique("run"));
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

async fn run(arguments: RunArguments) -> Result<()> {
    let chosen = choose(&arguments.only)?;
    std::fs::create_dir_all(&arguments.out)?;
    let stack = Stack::up_with(&servers(&chosen))?;
    let ground = Ground {
        stack,
        binaries: arguments.binaries,
        own_contenders: arguments.own_contenders,
        pulsar_io: arguments.pulsar_io,
        perf_test: arguments.perf_test,
        directory: directory()?,
    };
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
        image_sizes: arguments.image_sizes,
        is_warm: AtomicBool::new(false),
    };
    let mut failed = 0;
    for (at, scenario) in chosen.iter().enumerate() {
        tell(format_args!("[{}/{}] {}", at + 1, chosen.len(), scenario.name));
        match scenario.run(&bench).await {
            Ok(results) => {
                failed += results.failures();
            }
            Err(error) => {
                interrupt::check()?;
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
