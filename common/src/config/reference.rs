//! `config/REFERENCE.md`: every key with its type, default, environment variable and meaning, from the schema.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::schema::json_schema;

const HEAD: &str = "\
# Configuration reference

Made from the types that the bridges read, by `bridgectl config reference`; do not edit. For editors there is
[`schema.json`](schema.json) (`bridgectl config schema`), which every stream's file names in its first line.

A bridge reads `default.toml`, then `<stream>.toml`, then the environment; later wins, key by key. Unknown keys and
unknown `BRIDGE__` variables are refused. Relative paths are relative to the directory of these files. An environment
variable is `BRIDGE__` and the key's path in capitals, with `__` for each dot. A unit is the last part of a key's name, and
values are numbers without a unit.
";

/// The whole text of `config/REFERENCE.md`.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    let schema = json_schema();
    for (name, section) in properties(&schema) {
        write_table(&mut text, &name, &section);
    }
    text
}

fn properties(schema: &Value) -> BTreeMap<String, Value> {
    let all = schema["properties"].as_object().into_iter().flatten();
    all.map(|(name, schema)| (name.clone(), schema.clone())).collect()
}

/// One table of the configuration, and then those within it.
fn write_table(text: &mut String, path: &str, schema: &Value) {
    if let Some(kinds) = schema["oneOf"].as_array() {
        for kind in kinds {
            let constant = kind["properties"]["kind"]["const"].as_str().unwrap_or_default();
            heading(text, &format!("`[{path}]` with `kind = \"{constant}\"`"), kind);
            write_body(text, path, kind);
        }
        return;
    }
    if let Some(of_any_name) = named_tables(schema) {
        return write_table(text, &format!("{path}.<name>"), of_any_name);
    }
    if let Some(items) = listed_tables(schema) {
        heading(text, &format!("`[[{path}]]`"), schema);
        return write_body(text, path, items);
    }
    heading(text, &format!("`[{path}]`"), schema);
    write_body(text, path, schema);
}

fn heading(text: &mut String, title: &str, schema: &Value) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\n## {title}\n\n");
    let described = schema["description"].as_str().unwrap_or_default();
    if !described.is_empty() && !described.starts_with("`[") {
        let _ = write!(text, "{described}\n\n");
    }
}

fn write_body(text: &mut String, path: &str, schema: &Value) {
    let (tables, keys): (Vec<_>, Vec<_>) = properties(schema).into_iter().partition(|(_, schema)| is_table(schema));
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    if !keys.is_empty() {
        *text += "| key | type | default | meaning | environment |\n|---|---|---|---|---|\n";
    }
    for (key, schema) in &keys {
        let default = match &schema["default"] {
            Value::Null if required.contains(&key.as_str().into()) => "**required**".to_owned(),
            Value::Null => String::new(),
            default => format!("`{default}`"),
        };
        let (kind, meaning) = (kind(schema), meaning(schema));
        let _ = writeln!(text, "| `{key}` | {kind} | {default} | {meaning} | {} |", variable(path, key));
    }
    for (key, schema) in &tables {
        write_table(text, &format!("{path}.{key}"), schema);
    }
}

fn is_table(schema: &Value) -> bool {
    schema["properties"].is_object() || named_tables(schema).is_some() || listed_tables(schema).is_some()
}

/// Tables by names of the user's choice.
fn named_tables(schema: &Value) -> Option<&Value> {
    let of_any_name = &schema["additionalProperties"];
    (of_any_name["properties"].is_object() || of_any_name["oneOf"].is_array()).then_some(of_any_name)
}

/// Tables in a list: `[[...]]`.
fn listed_tables(schema: &Value) -> Option<&Value> {
    schema["items"]["properties"].is_object().then_some(&schema["items"])
}

/// The type in words, or all texts that are allowed.
fn kind(schema: &Value) -> String {
    if let Some(constant) = schema["const"].as_str() {
        return format!("`\"{constant}\"`");
    }
    if let Some(texts) = schema["enum"].as_array() {
        return texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ");
    }
    for choices in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[choices].as_array() {
            let mut kinds: Vec<String> = choices.iter().map(kind).collect();
            kinds.dedup();
            return kinds.join(if choices.iter().any(|choice| choice["const"].is_null()) { " or " } else { ", " });
        }
    }
    match schema["type"].as_str() {
        Some("string") => "text".to_owned(),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some("number") => "number".to_owned(),
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") => format!("table of {}", kind(&schema["additionalProperties"])),
        _ => "text, number or boolean".to_owned(),
    }
}

/// The description, and that of every allowed text which has one.
fn meaning(schema: &Value) -> String {
    let mut text = schema["description"].as_str().unwrap_or_default().replace('|', "\\|");
    for choice in schema["oneOf"].as_array().into_iter().flatten() {
        if let (Some(name), Some(about)) = (choice["const"].as_str(), choice["description"].as_str()) {
            let _ = write!(text, "<br>`{name}`: {about}");
        }
    }
    text
}

/// Lists of tables, and keys within tables of any shape, cannot be set by the environment.
fn variable(path: &str, key: &str) -> String {
    if path.ends_with(".bind") || path == "setup.unroutable" {
        return String::new();
    }
    let path = path.replace('.', "__").to_ascii_uppercase().replace("<NAME>", "\\<NAME\\>");
    format!("`BRIDGE__{}__{}`", path.replace('\\', ""), key.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Compares, or with `UPDATE_REFERENCE` set writes anew.
    fn is_as_generated(file: &str, text: &str, same: impl Fn(&str) -> bool) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(file);
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            fs::write(&path, text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            same(&there),
            "config/{file} is not what the configuration's types say: run `UPDATE_REFERENCE=1 cargo test -p bridge-common \
             --lib reference`, and commit what changed"
        );
    }

    #[test]
    fn the_reference_that_ships_is_that_of_the_types() {
        let text = reference();
        is_as_generated("REFERENCE.md", &text, |there| there == text);
    }

    #[test]
    fn the_schema_that_ships_is_that_of_the_types() {
        let schema = json_schema();
        let text = format!("{schema:#}\n");
        is_as_generated("schema.json", &text, |there| {
            serde_json::from_str::<Value>(there).is_ok_and(|it| it == schema)
        });
    }

    #[test]
    fn every_key_has_a_meaning_and_every_section_is_there() {
        let text = reference();
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            let meaning = line.split(" | ").nth(3).unwrap_or_default();
            assert!(!meaning.trim().is_empty(), "a doc comment is missing: {line}");
        }
        for section in
            ["[kafka.tls]", "[source.<name>]` with `kind = \"poll\"", "[[source.<name>.bind]]", "[route.<name>]"]
        {
            assert!(text.contains(section), "{section} is missing");
        }
    }

    #[test]
    fn every_stream_names_the_schema_for_editors() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        for stream in super::super::streams_in(&directory).unwrap() {
            let text = fs::read_to_string(directory.join(format!("{stream}.toml"))).unwrap();
            assert!(
                text.starts_with("#:schema schema.json\n"),
                "{stream}.toml: its first line must be `#:schema schema.json`"
            );
        }
    }
}
