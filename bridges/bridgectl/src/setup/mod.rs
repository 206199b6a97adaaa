//! `bridgectl setup`: looks at what is there, plans what is missing, and does it.

mod apply;
mod difference;
mod plan;
mod report;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::BTreeSet;
use std::path::PathBuf;

use bridge_common::admin::Admin;
use bridge_common::config::{Config, Source};
use bridge_common::shutdown::Exit;
use clap::Args;
use serde_json::{Value, json};

use crate::audit::{self, LogOptions, Operation};
use crate::{rabbitmq, streams};
use plan::{Plan, plan};
use wanted::{Wanted, wanted};

#[derive(Debug, Args)]
pub(crate) struct SetupArguments {
    /// The streams to set up, by the names of their files in the configuration; with --dry-run all where none is named
    #[arg(value_name = "STREAM", required_unless_present_any = ["all", "dry_run"], conflicts_with = "all")]
    streams: Vec<String>,
    /// All streams of the configuration
    #[arg(long)]
    all: bool,
    /// Directory of default.toml and the streams' own files
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    log: LogOptions,
}

/// Runs the verb. Every configuration is read and checked before the first server is asked.
pub(crate) async fn run(arguments: &SetupArguments) -> Exit {
    let streams = match prepare(arguments) {
        Ok(streams) => streams,
        Err(problem) => return streams::wrong(&arguments.streams.join(" "), arguments.json, &problem),
    };
    let mut whole = report::Report::default();
    let mut seen = BTreeSet::new();
    for (config, wanted) in &streams {
        match set_up(config, wanted, arguments).await {
            Ok((mut plan, rabbitmq)) => {
                // Streams share namespaces and the checkpoint topic: what two dry runs would both do is shown once.
                plan.changes.retain(|change| seen.insert(format!("{} {change}", config.pulsar.admin_url)));
                whole.add(&config.stream.name, plan, rabbitmq);
            }
            Err(error) => {
                let problem = format!("{}: {error}", config.stream.name);
                eprintln!("bridgectl: {problem}");
                whole.problems.push(problem);
            }
        }
    }
    whole.print(arguments.json, arguments.dry_run);
    whole.exit()
}

fn prepare(arguments: &SetupArguments) -> Result<Vec<(Config, Wanted)>, String> {
    // What changes something names its streams, or says --all.
    let streams = streams::load(&arguments.config, &arguments.streams)?.into_iter();
    let wanted = streams.map(|(config, contract)| {
        let wanted = wanted(&config, contract.as_deref())?;
        Ok((config, wanted))
    });
    wanted.collect()
}

/// Brings what one stream needs to what is wanted, and gives what that took (or would take, in a dry run). Pulsar first, so
/// that a queue that starts to fill has somewhere to go.
async fn set_up(
    config: &Config,
    wanted: &Wanted,
    arguments: &SetupArguments,
) -> Result<(Plan, Option<rabbitmq::Plan>), String> {
    let admin = Admin::new(&config.pulsar).map_err(|error| error.to_string())?;
    let of_pulsar = plan(wanted, &apply::observe(&admin, wanted).await.map_err(|error| error.to_string())?);
    let of_rabbitmq = set_up_rabbitmq(config, true).await?;
    if arguments.dry_run {
        return Ok((of_pulsar, of_rabbitmq));
    }
    // The log's own topic comes first: what follows is written there.
    let log = config.operations_topic();
    let (first, rest): (Vec<_>, Vec<_>) =
        of_pulsar.changes.iter().partition(|change| change.is_about(&log.full_namespace(), &log));
    for change in first {
        apply::carry_out(&admin, change).await.map_err(|error| error.to_string())?;
    }
    let changes: Vec<Value> = of_pulsar.changes.iter().map(plan::Change::to_json).collect();
    let queues = of_rabbitmq.iter().flat_map(|plan| &plan.changes).map(rabbitmq::Change::to_json);
    let changes: Vec<Value> = changes.into_iter().chain(queues).collect();
    let work = async {
        for change in rest {
            apply::carry_out(&admin, change).await.map_err(|error| error.to_string())?;
        }
        // Brokers learn of topic policies a moment after they are set: the plan must come out empty in the end.
        apply::wait_until_in_effect(&admin, wanted).await.map_err(|error| error.to_string())?;
        set_up_rabbitmq(config, false).await?;
        Ok(json!({ "changed": changes.len() }))
    };
    if changes.is_empty() {
        work.await?;
    } else {
        let operation = Operation::new("setup", &config.stream.name, json!({ "changes": changes }));
        audit::record(config, &arguments.log, operation, work).await?;
    }
    Ok((of_pulsar, of_rabbitmq))
}

/// `None` where the stream has nothing in RabbitMQ.
async fn set_up_rabbitmq(config: &Config, dry_run: bool) -> Result<Option<rabbitmq::Plan>, String> {
    let sources: Vec<_> = config.source.values().filter_map(Source::rabbitmq).collect();
    if sources.is_empty() && config.setup.unroutable.is_empty() {
        return Ok(None);
    }
    rabbitmq::set_up(&config.rabbitmq, sources, &config.setup.unroutable, dry_run).await.map(Some)
}
