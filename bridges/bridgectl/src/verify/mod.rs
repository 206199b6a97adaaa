//! `bridgectl verify`: shows whether the target holds what the source holds, by readers of its own. What the bridge says of
//! itself (its checkpoints, its metrics, its group's offsets) is not looked at.
//!
//! ```text
//!   Kafka ──> source.rs: translated again by the present contract ──> digest ──┐
//!                                                                              ├──> compare.rs, one per source partition (pure)
//!   Pulsar ─> target.rs: taken apart, by producer name and sequence id ─> digest ┘          │
//!                                                                              report.rs, page.rs <┘
//! ```

mod ahead;
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
mod report;
mod reread;
mod reread_page;
mod source;
mod table;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bridge_common::shutdown::Exit;
use bridge_common::source::SourceError;
use clap::Args;

pub(crate) use compare::Comparison;
pub(crate) use desk::{Desk, Part, blocking, open_topic};
pub(crate) use engine::{Settings, compare};
pub(crate) use progress::watch;
pub(crate) use range::RangeArguments;
use report::Report;

use crate::{streams, terminal};

/// Where the evidence of migrations is collected.
const OUTPUT: &str = "test-output/benchmark-results";

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The stream, by the name of its file in the configuration
    stream: String,
    #[command(flatten)]
    range: RangeArguments,
    /// Seconds that records may be on their way; what comes later is missing until it comes
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    lag_seconds: u64,
    /// Go on comparing what comes, until interrupted
    #[arg(long, conflicts_with_all = ["until", "offsets", "reread"])]
    follow: bool,
    /// Seconds between the reports of --follow
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "follow", value_parser = clap::value_parser!(u64).range(1..=86_400))]
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
        Err(problem) => return streams::wrong(&arguments.stream, arguments.json, &problem),
    };
    let done = async {
        let desk = Arc::new(Desk::open(config, contract, &arguments.range).await?);
        match (arguments.reread, arguments.follow) {
            (true, _) => reread::run(&desk, arguments).await,
            (_, true) => follow::run(&desk, arguments).await,
            _ => once(&desk, arguments).await,
        }
    };
    streams::ended(&arguments.stream, arguments.json, done.await)
}

impl VerifyArguments {
    fn settings(&self) -> Settings {
        let lag = Duration::from_secs(self.lag_seconds);
        Settings { named: self.named, lag, follows: self.follow }
    }
}

/// Compares the range, once; whether there is parity.
async fn once(desk: &Arc<Desk>, arguments: &VerifyArguments) -> Result<bool, String> {
    let summary = compare(desk, &arguments.settings(), &watch).await?.summary(desk);
    let queues = queues::look(desk, &summary.keys.tallies).await;
    let report = Report::new(desk, summary, queues, arguments);
    let json = report.json();
    // Where it cannot be kept the comparison still holds: it is said once, and whole.
    let kept = keep(&arguments.output, &file_name(desk), &files(&report, &json));
    terminal::say(&match arguments.json {
        true => format!("{json:#}\n"),
        false => table::text(&report),
    });
    say_where(kept);
    Ok(report.is_parity())
}

/// Says beside the report where it is kept, or why it is not.
fn say_where(kept: Result<String, String>) {
    match kept {
        Ok(paths) => eprintln!("kept: {paths}"),
        Err(problem) => eprintln!("NOT KEPT: {problem}"),
    }
}

/// Of a report's files.
fn file_name(desk: &Desk) -> String {
    format!("verify-{}-{}", desk.config.stream.name, file_time(desk.now_ms))
}

fn files(report: &Report, json: &serde_json::Value) -> [(&'static str, String); 2] {
    [("json", format!("{json:#}\n")), ("html", page::html(report))]
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
    text.chars().filter(|letter| !"-:.".contains(*letter)).collect()
}

/// Writes what is kept, each file at once, and gives where.
fn keep(directory: &Path, name: &str, files: &[(&str, String)]) -> Result<String, String> {
    let path = |kind: &str| directory.join(format!("{name}.{kind}"));
    let written = std::fs::create_dir_all(directory).and_then(|()| {
        files.iter().try_for_each(|(kind, text)| {
            // Whoever reads it meanwhile sees the one before, or this one.
            let fresh = path(&format!("{kind}.new"));
            std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, path(kind)))
        })
    });
    written
        .map_err(|error| format!("{}: cannot be written: {error}. Name another by --output", directory.display()))?;
    let paths: Vec<String> = files.iter().map(|(kind, _)| path(kind).display().to_string()).collect();
    Ok(paths.join(" "))
}
