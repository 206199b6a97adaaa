//! What identifies an event, and which topic it goes to.

use super::super::choices::*;
use super::super::sections::*;
use super::{Problem, in_range, refuse};

pub(super) fn check_dedupe(config: &Config) -> Result<(), Problem> {
    if config.dedupe.key.as_deref() == Some("header:") {
        return refuse("dedupe.key", "\"header:\" names no header: write header:<name>");
    }
    if let Some(field) = config.dedupe.key.as_deref().filter(|key| *key != "message-id" && !key.starts_with("header:"))
    {
        if let Err(error) = crate::translate::JsonPath::parse(field.strip_prefix("json:").unwrap_or(field)) {
            return refuse("dedupe.key", format!("{error}: write a field of the JSON, or header:<name>"));
        }
        check_looks_into_json("dedupe.key", field, config)?;
    }
    in_range("dedupe.window_seconds", config.dedupe.window_seconds, 1, 86_400)?;
    in_range("dedupe.window_records", config.dedupe.window_records, 1_000, 50_000_000)
}

/// A field of the JSON body is never found in a body that is none: the setting would do nothing, without a word.
fn check_looks_into_json(key: &str, field: &str, config: &Config) -> Result<(), Problem> {
    match config.source.iter().find(|(_, source)| source.format() != Format::Json) {
        None => Ok(()),
        Some((name, _)) => refuse(
            key,
            format!("\"{field}\" is a field of a JSON body, and the values of source.{name} are not JSON (its format)"),
        ),
    }
}

pub(super) fn check_routes(config: &Config) -> Result<(), Problem> {
    if config.route.len() > 32 {
        return refuse("route", format!("{} routes: 32 at most", config.route.len()));
    }
    for (name, route) in &config.route {
        let key = format!("route.{name}");
        if config.is_mirror() {
            return refuse(&key, "looks into JSON, and contract.mode = \"mirror\" is for Avro values: leave one out");
        }
        if let Err(error) = crate::translate::JsonPath::parse(&route.field) {
            return refuse(&format!("{key}.field"), error.to_string());
        }
        check_looks_into_json(&format!("{key}.field"), &route.field, config)?;
        if route.equals.is_empty() {
            return refuse(&format!("{key}.equals"), "is empty: name at least one text");
        }
        if route.topic == config.dead_letter_topic() || route.topic == config.checkpoint_topic() {
            return refuse(&format!("{key}.topic"), "is a topic of the bridge itself: choose another");
        }
    }
    Ok(())
}
