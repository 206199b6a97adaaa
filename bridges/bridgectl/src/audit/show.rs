//! `bridgectl operations`: what the operations log says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bridge_common::config::unix_ms_of_rfc3339;
use bridge_common::pulsar::{Client, ClientConfig, ReaderStart};
use bridge_common::shutdown::Exit;
use clap::Args;
use serde_json::{Value, json};

use crate::topic::Pass;
use crate::{streams, terminal};

#[derive(Debug, Args)]
pub(crate) struct OperationsArguments {
    /// Of these streams only
    #[arg(value_name = "STREAM")]
    streams: Vec<String>,
    /// Of this verb only (`setup`, `checkpoint set`, `pause`, ...)
    #[arg(long, value_name = "VERB")]
    verb: Option<String>,
    /// Since this time (RFC 3339), or for so long (`90s`, `15m`, `2h`, `7d`)
    #[arg(long, value_name = "TIME", value_parser = terminal::parse_time)]
    since: Option<u64>,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Directory of default.toml and the streams' own files
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    /// Write one JSON document, with the entries as they are
    #[arg(long)]
    json: bool,
}

/// Runs the verb. Reads only.
pub(crate) async fn run(arguments: &OperationsArguments) -> Exit {
    let streams = match streams::load(&arguments.config, &arguments.streams) {
        Ok(streams) => streams,
        Err(problem) => return streams::wrong(&arguments.streams.join(" "), arguments.json, &problem),
    };
    // Usually all streams have one log.
    let mut logs = BTreeMap::new();
    for (config, _) in &streams {
        logs.entry((config.operations_topic().to_string(), config.pulsar.url.clone())).or_insert(&config.pulsar);
    }
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for ((topic, _), pulsar) in logs {
        match read(&topic, &ClientConfig::of(pulsar)).await {
            Ok(found) => entries.extend(found),
            Err(problem) => {
                eprintln!("bridgectl: {problem}");
                problems.push(problem);
            }
        }
    }
    let exit = if problems.is_empty() { Exit::Clean } else { Exit::Fault };
    let operations = chosen(operations(entries), arguments);
    if arguments.json {
        // Without the problems an empty list would say that nothing was done.
        let document = json!({ "version": 1, "operations": operations, "problems": problems });
        terminal::say(&format!("{document:#}\n"));
    } else {
        terminal::say(&table(&operations));
    }
    exit
}

async fn read(topic: &str, settings: &ClientConfig) -> Result<Vec<Value>, String> {
    let client = Client::new(settings.clone()).map_err(|error| error.to_string())?;
    let mut pass = Pass::begin(&client, topic, ReaderStart::Earliest).await?;
    let mut found = Vec::new();
    while let Some(entry) = pass.next().await? {
        // What somebody else wrote there is none of ours.
        if let Ok(batch) = entry.batch() {
            let values =
                batch.messages().filter_map(|message| serde_json::from_slice::<Value>(message.ok()?.value).ok());
            found.extend(values.filter(|value| value["operation"].is_string()));
        }
    }
    Ok(found)
}

/// Each operation once, in the order in which they began: the outcome where there is one, with the time of the intent as
/// `began`.
fn operations(entries: Vec<Value>) -> Vec<Value> {
    let mut operations: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut began: BTreeMap<String, String> = BTreeMap::new();
    for mut entry in entries {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let (id, at) = (text("operation"), text("at"));
        let began = began.entry(id.clone()).or_insert(at).clone();
        entry["began"] = began.clone().into();
        operations.insert((began, id), entry);
    }
    operations.into_values().collect()
}

fn chosen(mut operations: Vec<Value>, arguments: &OperationsArguments) -> Vec<Value> {
    operations.retain(|operation| {
        let is_one_of = |wanted: &[String], field: &str| {
            wanted.is_empty() || wanted.iter().any(|one| operation[field] == one.as_str())
        };
        let began = operation["began"].as_str().and_then(unix_ms_of_rfc3339);
        is_one_of(&arguments.streams, "stream")
            && is_one_of(arguments.verb.as_slice(), "verb")
            && arguments.since.is_none_or(|since| began.is_some_and(|began| began >= since))
    });
    let beyond = operations.len().saturating_sub(arguments.limit);
    operations.split_off(beyond)
}

fn table(operations: &[Value]) -> String {
    let mut lines = vec![["BEGAN", "WHO", "VERB", "STREAM", "RESULT", "ARGUMENTS"].map(str::to_owned).to_vec()];
    for operation in operations {
        let text = |field: &str| operation[field].as_str().unwrap_or_default().to_owned();
        let who = match (text("who"), text("account")) {
            (who, account) if who == account => who,
            (who, account) => format!("{who} ({account})"),
        };
        let result = match operation["result"].as_str() {
            Some("failed") => format!("failed: {}", operation["detail"].as_str().unwrap_or_default()),
            Some(result) => result.to_owned(),
            None => "no end is known".to_owned(),
        };
        let cells = [text("began"), who, text("verb"), text("stream"), result, short(&operation["arguments"])];
        // Whoever may write to the topic writes no line of ours.
        lines.push(cells.iter().map(|cell| terminal::one_line(cell)).collect());
    }
    terminal::table(&lines)
}

/// One line, however much there is.
fn short(arguments: &Value) -> String {
    const CHARS: usize = 120;
    let text = arguments.to_string();
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}... (--json shows all)", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(operation: &str, at: &str, more: Value) -> Value {
        let mut entry = json!({ "operation": operation, "at": at, "who": "ada", "account": "r@h", "verb": "pause", "stream": "s", "arguments": {} });
        for (field, value) in more.as_object().into_iter().flatten() {
            entry[field] = value.clone();
        }
        entry
    }

    #[test]
    fn an_operation_is_one_line_and_one_without_an_end_says_so() {
        let entries = vec![
            entry("a", "2026-01-01T00:00:00.000Z", json!({ "phase": "intent" })),
            entry("b", "2026-01-01T00:00:01.000Z", json!({ "phase": "intent" })),
            entry("a", "2026-01-01T00:00:02.000Z", json!({ "phase": "outcome", "result": "done" })),
        ];
        let found = operations(entries);
        assert_eq!(found.len(), 2);
        assert_eq!((&found[0]["operation"], &found[0]["began"]), (&json!("a"), &json!("2026-01-01T00:00:00.000Z")));
        let text = table(&found);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("ada (r@h)") && lines[1].contains("done"), "{text}");
        assert!(lines[2].contains("no end is known"), "{text}");
    }

    #[test]
    fn an_entry_is_one_line_whatever_it_says() {
        let forged = "x\n2026-01-01T00:00:00.000Z  ada  pause\u{1b}[1A";
        let mut entry =
            json!({ "operation": "a", "arguments": { forged: forged }, "result": "failed", "detail": forged });
        for field in ["at", "who", "account", "verb", "stream"] {
            entry[field] = forged.into();
        }
        let text = table(&operations(vec![entry]));
        assert!(text.lines().count() == 2 && !text.contains('\u{1b}'), "{text}");
    }
}
