//! The streams that a verb is about: their configurations and contracts.

use std::path::Path;

use bridge_common::cli;
use bridge_common::config::{self, Config};
use bridge_common::shutdown::Exit;
use serde_json::json;

use crate::terminal;

/// The contracts of all streams, by their names: compiled in, so that a container needs no files but the configuration.
static CONTRACTS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/contracts.rs"));

/// The configurations of these streams, or of all where none is named, each with its contract. Everything is read and checked
/// before the first server is asked.
pub(crate) fn load(directory: &Path, names: &[String]) -> Result<Vec<(Config, Option<String>)>, String> {
    let names = match names {
        [] => config::streams_in(directory).map_err(|error| error.to_string())?,
        names => names.to_vec(),
    };
    if names.is_empty() {
        return Err(format!("{}: there is no stream's file, only default.toml is not enough", directory.display()));
    }
    names.iter().map(|name| load_with_contract(directory, name)).collect()
}

/// The configuration of one stream. A name that is none gets the nearest one that is.
pub(crate) fn load_one(directory: &Path, name: &str) -> Result<Config, String> {
    let streams = config::streams_in(directory).unwrap_or_default();
    if !streams.is_empty() && !streams.iter().any(|stream| stream == name) {
        let known: Vec<&str> = streams.iter().map(String::as_str).collect();
        let meant = config::nearest(name, &known).map(|near| format!(" Did you mean {near}?")).unwrap_or_default();
        let known = known.join(", ");
        return Err(format!("{}: no stream is called {name}.{meant} There are: {known}", directory.display()));
    }
    config::load(directory, name, cli::environment()).map_err(|error| error.to_string())
}

/// The configuration of one stream, and its contract.
pub(crate) fn load_with_contract(directory: &Path, name: &str) -> Result<(Config, Option<String>), String> {
    let config = load_one(directory, name)?;
    let contract = contract_of(&config)?;
    Ok((config, contract))
}

/// The contract by the same rule as in the bridges: `contract.file` where it is set, the compiled one otherwise. `None`
/// where nothing is translated, so that the target has no schema.
fn contract_of(config: &Config) -> Result<Option<String>, String> {
    if !config.has_contract() {
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

/// How a verb about one stream ends: done; done, and what it found needs a person; or not done, which is said, and where a
/// program listens, in a JSON document, too.
pub(crate) fn ended(stream: &str, as_json: bool, done: Result<bool, String>) -> Exit {
    match done {
        Ok(true) => Exit::Clean,
        Ok(false) => Exit::Fault,
        Err(problem) => failed(stream, as_json, &problem),
    }
}

/// A verb about one stream could not be carried out.
pub(crate) fn failed(stream: &str, as_json: bool, problem: &str) -> Exit {
    eprintln!("bridgectl: {stream}: {problem}");
    if as_json {
        terminal::say(&failure(stream, problem));
    }
    Exit::Fault
}

/// The configuration, or what the command line asks of it, is wrong: nothing was begun.
pub(crate) fn wrong(stream: &str, as_json: bool, problem: &str) -> Exit {
    eprintln!("bridgectl: {problem}");
    if as_json {
        terminal::say(&failure(stream, problem));
    }
    Exit::Config
}

/// A stable format: what every verb writes with --json in the place of its own document, when it has none. On one line, since
/// some write a document a line.
fn failure(stream: &str, problem: &str) -> String {
    format!("{}\n", json!({ "version": 1, "stream": stream, "error": problem }))
}
