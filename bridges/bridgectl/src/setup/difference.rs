//! What of a value differs, line by line: a policy's parts, a schema's fields. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// The parts of a policy that change; nothing where it has no parts, or was not set before.
pub(super) fn policy(from: Option<&Value>, to: &Value) -> Vec<String> {
    let (Some(Value::Object(from)), Value::Object(to)) = (from, to) else { return Vec::new() };
    let differs = to.iter().filter(|(name, value)| from.get(*name) != Some(value));
    differs.map(|(name, value)| format!("~ {name}: {} -> {value}", from.get(name).unwrap_or(&Value::Null))).collect()
}

/// The fields that a schema gains, loses or changes against the one before. Fields below the top are named by their path.
pub(super) fn schema(from: &str, to: &str) -> Vec<String> {
    let fields = |text: &str| {
        let mut all = BTreeMap::new();
        collect(&serde_json::from_str(text).unwrap_or_default(), "", &mut all);
        all
    };
    let (from, to) = (fields(from), fields(to));
    let gained =
        to.iter().filter(|(path, _)| !from.contains_key(*path)).map(|(path, kind)| format!("+ field {path}: {kind}"));
    let lost =
        from.iter().filter(|(path, _)| !to.contains_key(*path)).map(|(path, kind)| format!("- field {path}: {kind}"));
    let changed = to.iter().filter_map(|(path, kind)| {
        let before = from.get(path).filter(|before| *before != kind)?;
        Some(format!("~ field {path}: {before} -> {kind}"))
    });
    gained.chain(changed).chain(lost).collect()
}

/// Each field by its path, with its type in short and its default.
fn collect(schema: &Value, path: &str, all: &mut BTreeMap<String, String>) {
    for field in schema["fields"].as_array().into_iter().flatten() {
        let name = field["name"].as_str().unwrap_or_default();
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let default = field.get("default").map(|default| format!(" = {default}")).unwrap_or_default();
        all.insert(path.clone(), format!("{}{default}", short(&field["type"])));
        let branches = field["type"].as_array().map_or(std::slice::from_ref(&field["type"]), Vec::as_slice);
        branches.iter().for_each(|branch| collect(branch, &path, all));
    }
}

/// A type in a word or a few.
fn short(kind: &Value) -> String {
    match kind {
        Value::String(name) => name.clone(),
        Value::Array(branches) => branches.iter().map(short).collect::<Vec<_>>().join(" or "),
        Value::Object(_) => match kind["logicalType"].as_str().or(kind["type"].as_str()) {
            Some("array") => format!("array of {}", short(&kind["items"])),
            Some("map") => format!("map of {}", short(&kind["values"])),
            Some("enum") => format!("enum {}", kind["symbols"]),
            Some("record") => format!("record {}", kind["name"].as_str().unwrap_or_default()),
            Some(other) => other.to_owned(),
            None => short(&kind["type"]),
        },
        _ => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_policy_only_what_changes_is_shown() {
        let from = json!({ "retentionTimeInMinutes": 60, "retentionSizeInMB": -1 });
        let to = json!({ "retentionTimeInMinutes": 600, "retentionSizeInMB": -1 });
        assert_eq!(policy(Some(&from), &to), ["~ retentionTimeInMinutes: 60 -> 600"]);
        assert!(policy(None, &to).is_empty() && policy(Some(&json!(true)), &json!(false)).is_empty());
    }

    #[test]
    fn a_schema_s_fields_are_gained_lost_and_changed() {
        let record = |fields: &str| format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
        let id = r#"{"name":"id","type":"string"}"#;
        let from = record(&format!(r#"{id},{{"name":"n","type":"int"}},{{"name":"old","type":"bytes"}}"#));
        let inner = r#"{"type":"record","name":"I","fields":[{"name":"x","type":{"type":"array","items":"long"}}]}"#;
        let more = r#"{"name":"more","type":["null","string"],"default":null}"#;
        let to =
            record(&format!(r#"{id},{{"name":"n","type":"long"}},{more},{{"name":"in","type":["null",{inner}]}}"#));
        assert_eq!(
            schema(&from, &to),
            [
                "+ field in: null or record I",
                "+ field in.x: array of long",
                "+ field more: null or string = null",
                "~ field n: int -> long",
                "- field old: bytes",
            ]
        );
        assert!(schema(&from, &from).is_empty());
    }
}
