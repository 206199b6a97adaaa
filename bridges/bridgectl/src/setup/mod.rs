//! `bridgectl setup`: looks at what is there, plans what is missing, and does it.

mod apply;
mod plan;
mod report;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::BTreeSet;

use bridge_common::admin::{Admin, AdminError};
use bridge_common::cli;
use bridge_common::config::{self, Config, Source};
use bridge_common::shutdown::Exit;

use crate::{SetupArguments, rabbitmq};
use plan::{Plan, plan};
use wanted::{Wanted, wanted};

/// The contracts of all streams, by their names: compiled in, so that a container needs no files but the configuration.
static CONTRACTS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/contracts.rs"));

/// Runs the verb. Every configuration is read and checked before the first server is asked.
pub(crate) async fn run(arguments: &SetupArguments) -> Exit {
    let streams = match prepare(arguments) {
        Ok(streams) => streams,
        Err(problem) => {
            eprintln!("bridgectl: {problem}");
            return Exit::Config;
        }
    };
    let mut whole = report::Report::default();
    let mut seen = BTreeSet::new();
    for (config, wanted) in &streams {
        match set_up_all(config, wanted, arguments.dry_run).await {
            Ok((mut plan, rabbitmq)) => {
                // Streams share namespaces and the checkpoint topic: what two dry runs would both do is shown once.
                plan.changes.retain(|change| seen.insert(format!("{} {change}", config.pulsar.admin_url)));
                whole.add(&config.stream.name, plan, rabbitmq);
            }
            Err(error) => {
                eprintln!("bridgectl: {}: {error}", config.stream.name);
                whole.failed = true;
            }
        }
    }
    whole.print(arguments.json, arguments.dry_run);
    whole.exit()
}

fn prepare(arguments: &SetupArguments) -> Result<Vec<(Config, Wanted)>, String> {
    let names = if arguments.all {
        config::streams_in(&arguments.config).map_err(|error| error.to_string())?
    } else {
        arguments.streams.clone()
    };
    if names.is_empty() {
        return Err(format!(
            "{}: there is no stream's file, only default.toml is not enough",
            arguments.config.display()
        ));
    }
    let mut streams = Vec::new();
    for name in names {
        let config = config::load(&arguments.config, &name, cli::environment()).map_err(|error| error.to_string())?;
        let contract = contract_of(&config)?;
        let wanted = wanted(&config, contract.as_deref())?;
        streams.push((config, wanted));
    }
    Ok(streams)
}

/// The contract by the same rule as in the bridges: `contract.file` where it is set, the compiled one otherwise. `None`
/// where nothing is translated, so that the target has no schema.
fn contract_of(config: &Config) -> Result<Option<String>, String> {
    if !wanted::translates(config) {
        return Ok(None);
    }
    if let Some(file) = &config.contract.file {
        let unreadable = |error| format!("contract.file: {}: cannot be read: {error}", file.display());
        return std::fs::read_to_string(file).map(Some).map_err(unreadable);
    }
    let name = config.stream.name.as_str();
    match CONTRACTS.iter().find(|(stream, _)| *stream == name) {
        Some((_, contract)) => Ok(Some((*contract).to_owned())),
        None => {
            Err(format!("no contract is compiled in for the stream {name}: set contract.file in its configuration"))
        }
    }
}

/// Pulsar first, so that a queue that starts to fill has somewhere to go.
async fn set_up_all(config: &Config, wanted: &Wanted, dry_run: bool) -> Result<(Plan, Option<rabbitmq::Plan>), String> {
    let plan = set_up(config, wanted, dry_run).await.map_err(|error| error.to_string())?;
    let sources: Vec<_> = config.source.values().filter_map(Source::rabbitmq).collect();
    if sources.is_empty() && config.setup.unroutable.is_empty() {
        return Ok((plan, None));
    }
    let rabbitmq = rabbitmq::set_up(&config.rabbitmq, sources, &config.setup.unroutable, dry_run).await?;
    Ok((plan, Some(rabbitmq)))
}

/// Brings one stream's part of Pulsar to what is wanted, and gives what that took. Brokers learn of topic policies a moment
/// after they are set: the plan must come out empty in the end, or that is an error.
async fn set_up(config: &Config, wanted: &Wanted, dry_run: bool) -> Result<Plan, AdminError> {
    let admin = Admin::new(&config.pulsar)?;
    let first = plan(wanted, &apply::observe(&admin, wanted).await?);
    if dry_run {
        return Ok(first);
    }
    for change in &first.changes {
        apply::carry_out(&admin, change).await?;
    }
    apply::wait_until_in_effect(&admin, wanted).await?;
    Ok(first)
}
