//! `bridgectl status`: one table for all bridges, from their HTTP and from the brokers themselves, so that a dead bridge
//! shows as dead, with its lag.

mod ask;
mod facts;
mod figures;
mod page;
mod row;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bridge_common::config::rfc3339;
use bridge_common::shutdown::Exit;
use bridge_common::translate::DRIFT_PATHS_MAX;
use clap::Args;
use serde_json::{Value, json};

use crate::streams;
use crate::terminal::{self, now_ms};
use ask::Watched;
use facts::Facts;
pub(crate) use figures::Figures;
use row::Row;

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// The streams to look at, by the names of their files in the configuration; all where none is named
    #[arg(value_name = "STREAM")]
    streams: Vec<String>,
    /// Show it again and again, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Seconds over which rates and p99 are measured, and between two pictures of --watch
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Directory of default.toml and the streams' own files
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    /// Write one JSON document (with --watch one a line)
    #[arg(long)]
    json: bool,
    /// Write one HTML page instead, which needs nothing else; with --watch it is written again and again, and browsers reload it
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
}

/// Runs the verb. Changes nothing.
pub(crate) async fn run(arguments: &StatusArguments) -> Exit {
    let streams = streams::load(&arguments.config, &arguments.streams);
    let watched = streams.and_then(|streams| streams.into_iter().map(|(config, _)| Watched::new(config)).collect());
    let mut watched: Vec<Watched> = match watched {
        Ok(watched) => watched,
        Err(problem) => return streams::wrong(&arguments.streams.join(" "), arguments.json, &problem),
    };
    let pause = Duration::from_secs(arguments.seconds);
    watched = at_once(watched.into_iter().map(Watched::prepared)).await;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Who watches has seen enough.
            () = terminal::interrupted() => return Exit::Clean,
        }
        let looked = at_once(watched.into_iter().map(Watched::looked)).await;
        let (again, facts): (Vec<Watched>, Vec<Facts>) = looked.into_iter().unzip();
        watched = again;
        let picture = Picture::of(facts);
        if let Some(file) = &arguments.html {
            if let Err(problem) = picture.write_page(file, arguments) {
                eprintln!("bridgectl: {problem}");
                return Exit::Fault;
            }
        } else {
            picture.print(arguments);
        }
        if !arguments.watch {
            return picture.exit();
        }
    }
}

/// Does all of it at once, and gives what comes of it in its order.
async fn at_once<T, F>(work: impl Iterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = work.map(tokio::spawn).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.expect("looking does not panic, and nobody ends it"));
    }
    done
}

/// All bridges at one moment.
struct Picture {
    at_ms: u64,
    rows: Vec<(Row, Facts)>,
    /// Brokers that did not answer, each once.
    silent: BTreeSet<String>,
}

impl Picture {
    fn of(facts: Vec<Facts>) -> Self {
        let silent = facts.iter().flat_map(|facts| facts.silent.iter().cloned()).collect();
        Self { at_ms: now_ms(), rows: facts.into_iter().map(|facts| (Row::of(&facts), facts)).collect(), silent }
    }

    /// 0 when all is well, 1 otherwise.
    fn exit(&self) -> Exit {
        if self.is_well() { Exit::Clean } else { Exit::Fault }
    }

    fn is_well(&self) -> bool {
        self.silent.is_empty() && self.rows.iter().all(|(row, _)| row.is_well())
    }

    fn print(&self, arguments: &StatusArguments) {
        use std::io::IsTerminal;
        terminal::out(&match (arguments.json, arguments.watch) {
            (true, true) => format!("{}\n", self.json()),
            (true, false) => format!("{:#}\n", self.json()),
            // From the upper left corner, and nothing of before below it.
            (false, true) if std::io::stdout().is_terminal() => format!("\x1b[H\x1b[2J{}", self.text()),
            (false, true) => format!("{}\n", self.text()),
            (false, false) => self.text(),
        });
    }

    /// A browser never reads half a page: it is written beside the file, and takes its place.
    fn write_page(&self, file: &Path, arguments: &StatusArguments) -> Result<(), String> {
        let page = page::html(self, arguments.watch.then_some(arguments.seconds.max(5)));
        let mut beside = file.to_path_buf().into_os_string();
        beside.push(format!(".{}", std::process::id()));
        let written = std::fs::write(&beside, page).and_then(|()| std::fs::rename(&beside, file));
        written.map_err(|error| format!("cannot write {}: {error}", file.display()))
    }

    /// A format that others read: `version` 1, fields are only added.
    fn json(&self) -> Value {
        json!({
            "version": 1, "at": rfc3339(self.at_ms), "well": self.is_well(),
            "bridges": self.rows.iter().map(|(row, facts)| row.to_json(facts)).collect::<Vec<_>>(),
            "silent_brokers": self.silent,
        })
    }

    fn text(&self) -> String {
        let head = [
            "BRIDGE",
            "STATE",
            "REPLICAS",
            "IN/S",
            "OUT/S",
            "LAG",
            "BEHIND",
            "P99",
            "DEAD LETTERS",
            "DRIFT",
            "LAST ERROR",
        ];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(self.rows.iter().map(|(row, _)| cells(row)));
        let mut text = terminal::table(&lines);
        for (row, _) in &self.rows {
            for problem in &row.problems {
                text += &format!("! {}: {problem}\n", row.stream);
            }
        }
        for broker in &self.silent {
            text += &format!("! {broker}\n");
        }
        if self.rows.iter().any(|(row, _)| row.replicas.0 == 0) {
            text += "A dead bridge's lag is from its checkpoints to its sources' ends, its dead letters are those in its topic that are \
                     not settled; what is \"-\" only a bridge that runs can tell, or a broker that did not answer.\n";
        }
        text
    }
}

fn cells(row: &Row) -> Vec<String> {
    let or_dash = |shown: Option<String>| shown.unwrap_or_else(|| "-".to_owned());
    vec![
        row.stream.clone(),
        row.state.clone(),
        format!("{}/{}", row.replicas.0, row.replicas.1),
        or_dash(row.in_per_second.map(|rate| format!("{rate:.0}"))),
        or_dash(row.out_per_second.map(|rate| format!("{rate:.0}"))),
        or_dash(row.lag_records.map(|lag| lag.to_string())),
        or_dash(row.lag_seconds.map(duration)),
        or_dash(row.p99_seconds.map(duration)),
        or_dash(row.dead_letters.map(|count| count.to_string())),
        or_dash(row.drift_fields.map(drift)),
        or_dash(row.last_error.clone().map(|error| first_words(&error))),
    ]
}

/// A bridge counts the first fields one by one, and has met more where it has met so many.
fn drift(fields: usize) -> String {
    if fields >= DRIFT_PATHS_MAX { format!("{fields}+") } else { fields.to_string() }
}

/// A length of time in the unit that fits.
fn duration(seconds: f64) -> String {
    match seconds {
        ..0.0005 => "0".to_owned(),
        ..1.0 => format!("{:.0} ms", seconds * 1000.0),
        ..120.0 => format!("{seconds:.1} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

/// As much as a line of a table holds; `--json` has the rest.
fn first_words(text: &str) -> String {
    const CHARS: usize = 60;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
