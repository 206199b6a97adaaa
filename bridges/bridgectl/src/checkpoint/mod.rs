//! `bridgectl checkpoint`: shows the checkpoints of a stream, and changes them by hand.

mod change;
mod hold;
mod plan;
mod show;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use bridge_common::checkpoint::{self, Listed};
use bridge_common::config::Config;
use bridge_common::pulsar::{Client, ClientConfig};
use bridge_common::shutdown::Exit;
use clap::{Args, Subcommand};

pub(crate) use plan::Name;

use crate::audit::LogOptions;
use crate::streams;

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
    /// Show where every source partition stands. Reads only, also while bridges run
    Show {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the position of source partitions: what is read next when a bridge opens them
    ///
    /// Back: records are read again, and looked up in the target from its beginning; what is not there is published.
    /// Forward: records are skipped, which has to be confirmed by their number. Never behind the source's end.
    Set {
        #[command(flatten)]
        which: Which,
        /// The new position: the offset of the first record that is not mirrored yet
        #[arg(long, value_name = "OFFSET")]
        position: u64,
        /// Confirms that so many records in all are skipped; asked for on a terminal
        #[arg(long, value_name = "RECORDS")]
        skip: Option<u64>,
        /// Confirms that what lies below the position was mirrored, of partitions that have no checkpoint to say so
        #[arg(long)]
        mirrored: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Write JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        log: LogOptions,
    },
    /// Remove the checkpoints of source partitions
    ///
    /// A bridge that opens such a partition starts it as a new one, and stops where the target still knows it.
    Forget {
        #[command(flatten)]
        which: Which,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Write JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        log: LogOptions,
    },
}

/// Which source partitions.
#[derive(Debug, Args)]
struct Which {
    /// The partition, by its number
    #[arg(long, value_name = "N", required_unless_present_any = ["all", "name"])]
    partition: Option<u32>,
    /// All partitions that have a checkpoint
    #[arg(long, conflicts_with_all = ["partition", "name"])]
    all: bool,
    /// The partition, by its producer name as `/status` shows it: also where it has no checkpoint
    #[arg(long, conflicts_with = "partition")]
    name: Option<String>,
    /// Of this topic or queue only, where the stream has several
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
}

/// What the verbs work with.
struct Desk {
    config: Config,
    client: Client,
    /// The checkpoint topic.
    topic: String,
}

/// Runs the verb.
pub(crate) async fn run(arguments: &Arguments) -> Exit {
    let (Verb::Show { json: as_json } | Verb::Set { json: as_json, .. } | Verb::Forget { json: as_json, .. }) =
        arguments.verb;
    let desk = match open(arguments) {
        Ok(desk) => desk,
        Err(problem) => return streams::wrong(&arguments.stream, as_json, &problem),
    };
    let done = match &arguments.verb {
        Verb::Show { json } => show::run(&desk, *json).await,
        Verb::Set { which, position, skip, mirrored, yes, json, log } => {
            let asked = Asked { yes: *yes, skip: *skip, mirrored: *mirrored, json: *json };
            change::run(&desk, which, Some(*position), asked, log).await
        }
        Verb::Forget { which, yes, json, log } => {
            let asked = Asked { yes: *yes, skip: None, mirrored: false, json: *json };
            change::run(&desk, which, None, asked, log).await
        }
    };
    streams::ended(&arguments.stream, as_json, done.map(|()| true))
}

fn open(arguments: &Arguments) -> Result<Desk, String> {
    let config = streams::load_one(&arguments.config, &arguments.stream)?;
    let client = Client::new(ClientConfig::of(&config.pulsar)).map_err(|error| error.to_string())?;
    let topic = config.checkpoint_topic().to_string();
    Ok(Desk { config, client, topic })
}

impl Desk {
    /// What all names of this stream's partitions begin with.
    fn prefix(&self) -> String {
        format!("bridge/{}/", self.config.stream.name)
    }

    /// The newest entry of every partition of the stream.
    async fn list(&self) -> Result<BTreeMap<String, Listed>, String> {
        let listed = checkpoint::list(&self.client, &self.topic, &self.prefix()).await;
        listed.map_err(|error| error.to_string())
    }
}

/// What the operator has confirmed on the command line.
#[derive(Debug, Clone, Copy)]
struct Asked {
    yes: bool,
    skip: Option<u64>,
    /// That what no checkpoint speaks of was mirrored.
    mirrored: bool,
    /// Standard output is for one document.
    json: bool,
}

impl Asked {
    /// Whether to go on, where so many records are skipped and so many are taken as mirrored: as the command line says, or as the
    /// answer on the terminal does.
    fn confirm(self, skipped: u64, assumed: u64) -> Result<(), String> {
        if assumed > 0 && !self.mirrored && (self.yes || !std::io::stdin().is_terminal()) {
            return Err(format!(
                "nothing was changed: no checkpoint says that the {assumed} records below were mirrored, and none of them would be \
                 published any more; confirm with --yes --mirrored"
            ));
        }
        let confirms_skip = skipped == 0 || self.skip == Some(skipped);
        if let Some(skip) = self.skip.filter(|skip| *skip != skipped) {
            return Err(format!(
                "--skip {skip} was given, but {skipped} records would be skipped; nothing was changed"
            ));
        }
        if self.yes && confirms_skip {
            return Ok(());
        }
        if self.yes || !std::io::stdin().is_terminal() {
            return Err(match confirms_skip {
                true => "nothing was changed: confirm with --yes (there is no terminal to ask on)".to_owned(),
                false => format!(
                    "nothing was changed: {skipped} records would be skipped; confirm with --yes --skip {skipped}"
                ),
            });
        }
        let unconfirmed = if confirms_skip { 0 } else { skipped } + if self.mirrored { 0 } else { assumed };
        let (wanted, hint) = match unconfirmed {
            0 => ("yes".to_owned(), ""),
            records => (records.to_string(), " (the number of records that are not published any more)"),
        };
        eprint!("Type {wanted}{hint} to go on: ");
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        match read {
            Ok(_) if answer.trim() == wanted => Ok(()),
            _ => Err("not confirmed: nothing was changed".to_owned()),
        }
    }
}
