//! The target's schemas against the contract.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility as Compatibility;
use serde_json::Value;

use super::super::facts::{SchemaFacts, Told, TopicFacts};
use super::super::finding::Finding;
use super::topic::subject;

/// What the configuration wants of the target's schema.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    /// The contract's plain Avro schema; `None` with `contract.mode = "mirror"`, where the writers' schemas are kept.
    pub contract: Option<String>,
    /// How the broker is to check new versions, by Pulsar's name.
    pub strategy: &'static str,
    /// The stream, for the advice.
    pub stream: String,
}

/// Judges the schemas of one target.
pub(crate) fn schema(facts: &TopicFacts, promise: &Promise) -> Vec<Finding> {
    let (check, on) = ("pulsar.schema", subject(facts));
    let mut found = match &facts.schema {
        None => return Vec::new(),
        Some(Err(why)) => vec![Finding::untold(check, &on, format!("its schema: {why}"))],
        Some(Ok(schemas)) => match (&promise.contract, schemas.versions.last()) {
            (None, Some((_, kind, _))) if kind != "AVRO" => vec![other_kind(&on, kind)],
            (None, _) => vec![Finding::ok(check, &on, format!("{} versions of its schema", schemas.versions.len()))],
            (Some(_), None) => vec![Finding::warning(
                check,
                &on,
                "has no schema yet: the bridge sets it when it starts, if it may",
                format!("Run `bridgectl setup {}`", promise.stream),
            )],
            (Some(contract), Some(newest)) => against(&on, schemas, newest, contract),
        },
    };
    found.extend(strategy(facts, promise));
    found
}

fn other_kind(on: &str, kind: &str) -> Finding {
    let found = format!("has a schema of the type {kind}, and what is published is Avro");
    Finding::error("pulsar.schema", on, found, "Choose another target")
}

fn against(on: &str, schemas: &SchemaFacts, newest: &(i64, String, String), contract: &str) -> Vec<Finding> {
    let check = "pulsar.schema";
    let (_, kind, text) = newest;
    if kind != "AVRO" {
        return vec![other_kind(on, kind)];
    }
    let takes = match &schemas.takes_contract {
        Ok(takes) => *takes,
        // The broker does not say: by Avro's own rules, with its newest version.
        Err(_) => can_read(text, contract).is_ok(),
    };
    if !takes {
        return vec![Finding::error(
            check,
            on,
            format!("its schema does not take the contract: {}", difference(text, contract)),
            "Change the contract so that readers of either can read the other, or choose another target",
        )];
    }
    let has_it = schemas.versions.iter().any(|(_, kind, text)| kind == "AVRO" && is_same(text, contract));
    let is = if has_it { "the contract is a version of its schema" } else { "its schema takes the contract" };
    let mut found = vec![Finding::ok(check, on, is)];
    found.extend(history(on, schemas, contract));
    found
}

/// Whoever replays the topic reads all of its versions with the newest.
fn history(on: &str, schemas: &SchemaFacts, contract: &str) -> Option<Finding> {
    let unreadable = schemas.versions.iter().filter(|(_, kind, _)| kind == "AVRO");
    let mut unreadable = unreadable.filter_map(|(number, _, text)| Some((number, can_read(text, contract).err()?)));
    let (number, why) = unreadable.next()?;
    Some(Finding::warning(
        "pulsar.schema-history",
        on,
        format!("version {number} of its schema cannot be read by the contract: {why}"),
        "Whoever replays the topic fails there: give the contract the defaults or aliases that are missing",
    ))
}

fn strategy(facts: &TopicFacts, promise: &Promise) -> Option<Finding> {
    let check = "pulsar.schema-compatibility";
    let there = facts.policies.get("schemaCompatibilityStrategy")?.as_ref().ok()?.as_str()?;
    (there != promise.strategy).then(|| {
        Finding::warning(
            check,
            subject(facts),
            format!("new versions of its schema are checked by {there}, where {} is wanted", promise.strategy),
            format!("Run `bridgectl setup {}`, or set setup.schema_compatibility = \"{there}\"", promise.stream),
        )
    })
}

/// Whether what was written under one schema can be read under the other; `Err`: why not.
fn can_read(writer: &str, reader: &str) -> Told<()> {
    let parsed = |text: &str| Schema::parse_str(text).map_err(|error| error.to_string());
    Compatibility::can_read(&parsed(writer)?, &parsed(reader)?).map_err(|error| error.to_string())
}

/// Whether two schemas are the same but for their words, as the broker sees it.
fn is_same(a: &str, b: &str) -> bool {
    match (Schema::parse_str(a), Schema::parse_str(b)) {
        (Ok(a), Ok(b)) => a.canonical_form() == b.canonical_form(),
        _ => false,
    }
}

/// What two record schemas have that the other has not, by the names of their fields.
pub(crate) fn difference(stored: &str, contract: &str) -> String {
    let (stored, contract) = (parsed(stored), parsed(contract));
    let (theirs, ours) = (fields(&stored), fields(&contract));
    let mut found = Vec::new();
    let names = [&stored, &contract].map(|schema| schema["name"].as_str().unwrap_or("no record").to_owned());
    if names[0] != names[1] {
        found.push(format!("the topic's record is {}, the contract's {}", names[0], names[1]));
    }
    for (name, kind) in &theirs {
        match ours.get(name) {
            None => found.push(format!("field {name} is in the topic's schema only")),
            Some(other) if other != kind => {
                found.push(format!("field {name} is {kind} in the topic's schema and {other} in the contract"));
            }
            Some(_) => {}
        }
    }
    let new = ours.keys().filter(|name| !theirs.contains_key(*name));
    found.extend(new.map(|name| format!("field {name} is in the contract only")));
    if found.is_empty() {
        "their fields are alike, their defaults or nested types are not".into()
    } else {
        found.join("; ")
    }
}

fn parsed(schema: &str) -> Value {
    serde_json::from_str(schema).unwrap_or_default()
}

fn fields(schema: &Value) -> BTreeMap<String, String> {
    let fields = schema["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let field = |field: &Value| Some((field["name"].as_str()?.to_owned(), field["type"].to_string()));
    fields.iter().filter_map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_names_fields_and_types() {
        let stored =
            r#"{"type":"record","name":"A","fields":[{"name":"x","type":"int"},{"name":"y","type":"string"}]}"#;
        let contract =
            r#"{"type":"record","name":"A","fields":[{"name":"x","type":"long"},{"name":"z","type":"string"}]}"#;
        assert_eq!(
            difference(stored, contract),
            "field x is \"int\" in the topic's schema and \"long\" in the contract; field y is in the topic's schema \
             only; field z is in the contract only"
        );
    }
}
