//! `bridgectl replay`: publishes records of the source of truth once more. `--missing`: what a comparison does not find in the
//! target, into it, marked. `--to`: a window, to another topic.
//!
//! Neither touches the bridge's own lanes. What is missing goes under the names of repairs (`<name>/repair/replay-<from>-<to>`, one
//! for each thousand offsets), which an opening knows as its own: also when a checkpoint is set back, nothing is published
//! again. A run that was killed is simply begun anew: it finds what is there, waits until what was pushed under a name is seen,
//! and publishes the rest.

mod elsewhere;
mod missing;
mod publish;
mod read;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_common::config::TopicName;
use bridge_common::shutdown::Exit;
use clap::Args;
use serde_json::Value;

use crate::audit::LogOptions;
use crate::streams;
use crate::terminal;
use crate::verify::{Desk, RangeArguments, blocking};

#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// The stream, by the name of its file in the configuration
    stream: String,
    /// Publish what the target lacks, into the target
    #[arg(long, conflicts_with = "to", required_unless_present = "to")]
    missing: bool,
    /// Publish the whole range to this topic, in the order of each source partition
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic)]
    to: Option<TopicName>,
    /// With --missing: also publish what lies before everything that the target still holds; retention may have removed it
    #[arg(long, conflicts_with = "to")]
    trimmed: bool,
    /// With --to: the name of this replay. One that was killed goes on under its name; another name publishes once more
    #[arg(long, value_name = "NAME", value_parser = parse_id, requires = "to")]
    id: Option<String>,
    #[command(flatten)]
    range: RangeArguments,
    /// Records per second at most; 0: as fast as it goes
    #[arg(long, value_name = "RECORDS", default_value_t = 2_000)]
    rate: u64,
    /// Say what would be published, and publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write one JSON document
    #[arg(long)]
    json: bool,
    /// Directory of default.toml and the streams' own files
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    #[command(flatten)]
    log: LogOptions,
}

/// Runs the verb.
pub(crate) async fn run(arguments: &ReplayArguments) -> Exit {
    let (config, contract) = match streams::load_with_contract(&arguments.config, &arguments.stream) {
        Ok(found) => found,
        Err(problem) => return streams::wrong(&arguments.stream, arguments.json, &problem),
    };
    let done = async {
        let desk = Arc::new(Desk::open(config, contract, &arguments.range).await?);
        if desk.parts.is_empty() {
            return Err("it has no source that can be read again: only Kafka topics keep their records".to_owned());
        }
        match &arguments.to {
            None => missing::run(&desk, arguments).await,
            Some(topic) => elsewhere::run(&desk, arguments, &topic.to_string()).await.map(|()| Exit::Clean),
        }
    };
    done.await.unwrap_or_else(|problem| streams::failed(&arguments.stream, arguments.json, &problem))
}

fn parse_topic(text: &str) -> Result<TopicName, String> {
    text.parse()
}

/// A part of a producer's name.
fn parse_id(text: &str) -> Result<String, String> {
    let is_good = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    match !text.is_empty() && text.len() <= 64 && text.chars().all(is_good) {
        true => Ok(text.to_owned()),
        false => Err("write up to 64 letters, digits, \"-\", \"_\" and \".\"".to_owned()),
    }
}

/// Asks beside the runtime's own thread: connections live on meanwhile, and with them the names that are held.
async fn ask(what: String, yes: bool) -> Result<(), String> {
    blocking(move || terminal::confirm(&what, yes)).await
}

/// Says what was done.
fn say(arguments: &ReplayArguments, document: &Value, text: &str) {
    terminal::say(&match arguments.json {
        true => format!("{document:#}\n"),
        false => format!("{text}\n"),
    });
}

/// Keeps to a number of records a second.
#[derive(Debug)]
struct Pace {
    rate: u64,
    began: Instant,
    records: u64,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, began: Instant::now(), records: 0 }
    }

    /// How many of so many are published at a time, so that the rate holds within a second, too.
    fn slice(&self, most: usize) -> usize {
        match self.rate {
            0 => most,
            rate => most.min(usize::try_from(rate.div_ceil(5)).unwrap_or(most)),
        }
    }

    /// So many were published: waits until they may have been.
    async fn published(&mut self, records: u64) {
        self.records += records;
        if self.rate > 0 {
            let due = Duration::from_secs_f64(self.records as f64 / self.rate as f64);
            tokio::time::sleep(due.saturating_sub(self.began.elapsed())).await;
        }
    }
}
