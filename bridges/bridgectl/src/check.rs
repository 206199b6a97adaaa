//! `bridgectl check`: what every bridge's own `check` says, for the whole fleet at once.

use std::path::PathBuf;

use bridge_common::check::{self, Finding, Report};
use bridge_common::shutdown::Exit;
use clap::Args;
use tokio::task::JoinSet;

use crate::streams;

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The streams to check, by the names of their files in the configuration; all where none is named
    #[arg(value_name = "STREAM")]
    streams: Vec<String>,
    /// Directory of default.toml and the streams' own files
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    /// Write one JSON document
    #[arg(long)]
    json: bool,
}

/// Runs the verb: all streams at once, so that a server that does not answer is waited for once.
pub(crate) async fn run(arguments: &CheckArguments) -> Exit {
    let streams = match streams::load(&arguments.config, &arguments.streams) {
        Ok(streams) => streams,
        Err(problem) => return streams::wrong(&arguments.streams.join(" "), arguments.json, &problem),
    };
    let mut checks = JoinSet::new();
    for (index, (config, contract)) in streams.into_iter().enumerate() {
        checks.spawn(async move {
            let findings = check::check(&config, contract.as_deref()).await;
            (index, config.stream.name, findings)
        });
    }
    let mut found = checks.join_all().await;
    found.sort_by_key(|(index, ..)| *index);
    let mut report = Report::default();
    for (_, stream, findings) in found {
        let broken = |why| vec![Finding::error("contract", "contract", why, "Correct it")];
        report.add(&stream, findings.unwrap_or_else(broken));
    }
    report.print(arguments.json);
    report.exit()
}
