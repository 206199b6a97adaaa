//! `bridgectl verify`: shows whether the target holds what the source holds, by readers of its own. What the bridge says of
//! itself (its checkpoints, its metrics, its group's offsets) is not looked at.
//!
//! ```text
//!   Kafka ──> source.rs: translated again by the present contract ──> digest ──┐
//!                                                                              ├──> compare.rs, one per source partition (pure)
//!   Pulsar ─> target.rs: taken apart, by producer name and sequence id ─> digest ┘          │
//!                                                                              report.rs, page.rs <┘
//! ```

mod beyond;
mod bits;
mod compare;
mod content;
mod desk;
mod engine;
mod facts;
mod follow;
mod keys;
mod lanes;
mod names;
mod order;
mod others;
mod page;
mod progress;
mod queues;
mod range;
mod reader;
mod report;
mod reread;
mod source;
mod table;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bridge_common::shutdown::Exit;
use bridge_common::source::SourceError;
use clap::Args;

pub(crate) use compare::Comparison;
pub(crate) use desk::{Desk, Part, blocking};
pub(crate) use engine::{Settings, compare};
pub(crate) use progress::watch;
pub(crate) use range::RangeArguments;
pub(crate) use reader::EntryReader;
use report::Report;

use crate::streams;

/// Where the evidence of migrations is collected.
const OUTPUT: &str = "test-output/benchmark-results";

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The stream, by the name of its file in the configuration
    stream: String,
    #[command(flatten)]
    range: RangeArguments,
    /// Seconds that records may be on their way; what comes later is missing until it comes
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    lag_seconds: u64,
    /// Go on comparing what comes, until interrupted
    #[arg(long, conflicts_with_all = ["until", "offsets", "reread"])]
    follow: bool,
    /// Seconds between the reports of --follow
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "follow")]
    every: u64,
    /// Read the target several times instead, from the same time and the same message, and show that each gives the same
    #[arg(long, conflicts_with = "offsets")]
    reread: bool,
    /// Take records before the first that is in the target as never mirrored, where the configuration says start = "latest"
    #[arg(long)]
    accept_before_start: bool,
    /// How many faults of each kind are named
    #[arg(long, value_name = "N", default_value_t = 20)]
    named: usize,
    /// Write one JSON document (with --follow one a line)
    #[arg(long)]
    json: bool,
    /// Where the page and the JSON document are kept
    #[arg(long, value_name = "DIR", default_value = OUTPUT)]
    output: PathBuf,
    /// Directory of default.toml and the streams' own files
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
}

/// Runs the verb.
pub(crate) async fn run(arguments: &VerifyArguments) -> Exit {
    let (config, contract) = match streams::load_with_contract(&arguments.config, &arguments.stream) {
        Ok(found) => found,
        Err(problem) => {
            eprintln!("bridgectl: {problem}");
            return Exit::Config;
        }
    };
    let done = async {
        let desk = Arc::new(Desk::open(config, contract, &arguments.range).await?);
        match (arguments.reread, arguments.follow) {
            (true, _) => reread::run(&desk, arguments).await,
            (_, true) => follow::run(&desk, arguments).await,
            _ => once(&desk, arguments).await,
        }
    };
    streams::ended(&arguments.stream, done.await)
}

impl VerifyArguments {
    fn settings(&self) -> Settings {
        let lag = Duration::from_secs(self.lag_seconds);
        Settings { named: self.named, lag, follows: self.follow }
    }
}

/// Compares the range, once; whether there is parity.
async fn once(desk: &Arc<Desk>, arguments: &VerifyArguments) -> Result<bool, String> {
    let outcome = compare(desk, &arguments.settings(), &watch).await?;
    let queues = queues::look(desk, &outcome.keys).await;
    let report = Report::new(desk, &outcome, queues, arguments);
    let json = report.json();
    if arguments.json {
        println!("{json:#}");
    } else {
        print!("{}", table::text(&report));
    }
    let name = format!("verify-{}-{}", report.stream, file_time(desk.now_ms));
    keep(&arguments.output, &name, &[("json", format!("{json:#}\n")), ("html", page::html(&report))])?;
    Ok(report.is_parity())
}

/// What Kafka says: here nothing is tried again for ever.
pub(crate) fn words(error: &SourceError) -> String {
    match error {
        SourceError::Unavailable { what, reason } => {
            format!("{what}: {reason}: are the brokers up, and the address right?")
        }
        error => error.to_string(),
    }
}

/// A time as it stands in a file's name.
pub(crate) fn file_time(time_ms: u64) -> String {
    let text = bridge_common::config::rfc3339(time_ms);
    text.chars().filter(|letter| !"-:".contains(*letter)).take_while(|letter| *letter != '.').collect::<String>() + "Z"
}

/// Writes what is kept, and says where.
fn keep(directory: &std::path::Path, name: &str, files: &[(&str, String)]) -> Result<(), String> {
    let written = std::fs::create_dir_all(directory).and_then(|()| {
        files.iter().try_for_each(|(kind, text)| std::fs::write(directory.join(format!("{name}.{kind}")), text))
    });
    written
        .map_err(|error| format!("{}: cannot be written: {error}. Name another by --output", directory.display()))?;
    let paths: Vec<String> =
        files.iter().map(|(kind, _)| format!("{}.{kind}", directory.join(name).display())).collect();
    eprintln!("kept: {}", paths.join(" "));
    Ok(())
}
