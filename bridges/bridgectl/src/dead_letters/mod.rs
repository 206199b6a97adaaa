//! `bridgectl dead-letters`: what could not be mirrored, why, and once more after the contract or the code was corrected.

mod again;
mod known;
mod letter;
mod newest;
mod publish;
mod read;
mod redrive;
mod show;
mod source;
mod twins;

use std::path::PathBuf;

use bridge_common::config::Config;
use bridge_common::pulsar::{Client, ClientConfig};
use bridge_common::shutdown::Exit;
use clap::{Args, Subcommand};

use crate::audit::LogOptions;
use crate::{streams, terminal};
use letter::{Filter, Position, parse_cause};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The stream, by the name of its file in the configuration
    stream: String,
    #[command(subcommand)]
    verb: Verb,
    /// Directory of default.toml and the streams' own files
    #[arg(long, global = true, value_name = "DIR", default_value = "config")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show them in a table, the oldest first: where each comes from, when and why it was given up
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many, the newest
        #[arg(long, value_name = "N", default_value_t = show::LISTED)]
        limit: usize,
        /// Also those that were redriven
        #[arg(long)]
        all: bool,
        /// Write one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show them whole: cause, field, headers; with --body also what the records hold
    Show {
        /// Where they come from, as `list` shows it: `[<topic>/]<partition>/<offset>`
        #[arg(value_name = "POSITION", value_parser = Position::parse)]
        positions: Vec<Position>,
        #[command(flatten)]
        which: Which,
        /// At most so many, the newest
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// Also key and body of each, which may hold what not everybody may see
        #[arg(long)]
        body: bool,
        /// Write one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Write them as JSON, one a line, to standard output or a file
    Export {
        #[command(flatten)]
        which: Which,
        /// Also those that were redriven
        #[arg(long)]
        all: bool,
        /// Also key and body of each, which may hold what not everybody may see
        #[arg(long)]
        body: bool,
        /// The file; unset: standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Translate them again by the present contract, and publish each once: what still cannot be translated stays
    ///
    /// They arrive out of order, marked with `bridge.redriven`, and are hidden from `list` from then on. Bridges may run
    /// meanwhile. Killed at any moment, the same command goes on where it was, and nothing is published twice.
    Redrive {
        #[command(flatten)]
        which: Which,
        /// Translate only, and say what would become of each; publish nothing
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Write one JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        log: LogOptions,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
struct Which {
    /// Of these causes only, separated by commas: the first column of the README's table of causes
    #[arg(long = "cause", value_name = "CAUSE", value_delimiter = ',', value_parser = parse_cause)]
    causes: Vec<String>,
    /// That became dead letters at this time or later: RFC 3339, or how long ago (`90s`, `15m`, `2h`, `7d`)
    #[arg(long, value_name = "TIME", value_parser = terminal::parse_time)]
    since: Option<u64>,
    /// That became dead letters at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = terminal::parse_time)]
    until: Option<u64>,
    /// Of this source partition only
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// From this place only, as `list` shows it: `[<topic>/]<partition>/<offset>`; several times
    #[arg(long = "position", value_name = "POSITION", value_parser = Position::parse)]
    at: Vec<Position>,
}

impl Which {
    fn filter(&self, stream: &str) -> Filter {
        Filter {
            prefix: format!("bridge/{stream}/"),
            causes: self.causes.clone(),
            since_ms: self.since,
            until_ms: self.until,
            partition: self.partition,
            positions: self.at.clone(),
        }
    }
}

/// What the verbs work with.
struct Desk {
    config: Config,
    contract: Option<String>,
    client: Client,
    /// The dead-letter topic.
    topic: String,
}

/// How many dead letters of a stream are in its topic and not settled.
pub(crate) async fn unsettled(config: &Config, client: &Client) -> Result<u64, String> {
    let filter = Filter { prefix: format!("bridge/{}/", config.stream.name), ..Filter::default() };
    let topic = config.dead_letter_topic().to_string();
    Ok(read::learn(client, &topic, &filter, &mut |_, _, _| ()).await?.counts().0)
}

/// Runs the verb.
pub(crate) async fn run(arguments: &Arguments) -> Exit {
    let as_json = match &arguments.verb {
        Verb::List { json, .. } | Verb::Show { json, .. } | Verb::Redrive { json, .. } => *json,
        // Its lines are the dead letters.
        Verb::Export { .. } => false,
    };
    let desk = match open(arguments) {
        Ok(desk) => desk,
        Err(problem) => return streams::wrong(&arguments.stream, as_json, &problem),
    };
    let done = match &arguments.verb {
        Verb::List { which, limit, all, json } => {
            show::list(&desk, &which.filter(&arguments.stream), *limit, *all, *json).await.map(|()| true)
        }
        Verb::Show { positions, which, limit, body, json } => {
            let mut filter = which.filter(&arguments.stream);
            filter.positions.extend(positions.iter().cloned());
            show::show(&desk, &filter, *limit, *body, *json).await.map(|()| true)
        }
        Verb::Export { which, all, body, out } => {
            show::export(&desk, &which.filter(&arguments.stream), *all, *body, out.as_deref()).await.map(|()| true)
        }
        Verb::Redrive { which, dry_run: true, json, .. } => {
            redrive::dry_run(&desk, &which.filter(&arguments.stream), *json).await
        }
        Verb::Redrive { which, yes, json, log, .. } => redrive::run(&desk, which, *yes, *json, log).await,
    };
    streams::ended(&arguments.stream, as_json, done)
}

fn open(arguments: &Arguments) -> Result<Desk, String> {
    let (config, contract) = streams::load_with_contract(&arguments.config, &arguments.stream)?;
    let client = Client::new(ClientConfig::of(&config.pulsar)).map_err(|error| error.to_string())?;
    let topic = config.dead_letter_topic().to_string();
    Ok(Desk { config, contract, client, topic })
}
