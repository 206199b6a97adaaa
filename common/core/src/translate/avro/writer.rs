//! The schema that a body was written by: one text that holds every named type that it uses.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::types::{Types, full_name, namespace_of, own_name, short_name};

/// The longest schema text that is read, references included.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;

/// Types that are no names: these stand for themselves.
const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// Why a text cannot be a writer's schema. Says what is wrong, with names of the schema, which are no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Not JSON.
    #[error("the schema is not JSON: {0}")]
    NotJson(String),
    /// JSON, but no Avro schema.
    #[error("not an Avro schema: {0}")]
    NotAvro(String),
    /// More than this build reads.
    #[error("the schema is too large: {0}")]
    TooLarge(String),
}

/// A writer's schema, read and checked once.
#[derive(Debug)]
pub struct WriterSchema {
    pub(super) types: Types,
    json: Arc<str>,
}

impl WriterSchema {
    /// Reads a schema. `references`: the texts of the schemas that define the names that it uses, in any order.
    ///
    /// # Errors
    /// See [`SchemaError`]; the same texts always give the same.
    pub fn parse(schema: &str, references: &[String]) -> Result<Self, SchemaError> {
        let bytes = references.iter().fold(schema.len(), |sum, text| sum.saturating_add(text.len()));
        if bytes > SCHEMA_BYTES_MAX {
            return Err(SchemaError::TooLarge(format!("{bytes} bytes, more than {SCHEMA_BYTES_MAX}")));
        }
        let mut source = read(schema)?;
        let mut json: Arc<str> = schema.into();
        if !references.is_empty() {
            let mut expansion = Expansion::default();
            for reference in references {
                expansion.learn(&read(reference)?, "");
            }
            source = expansion.expand(&source, "", 0).map_err(SchemaError::NotAvro)?;
            json = source.to_string().into();
        }
        let types = Types::read(&source).map_err(SchemaError::NotAvro)?;
        Ok(Self { types, json })
    }

    /// The schema's JSON: as it was registered, or with the referenced types written out where they are first used.
    pub fn json(&self) -> &Arc<str> {
        &self.json
    }
}

fn read(text: &str) -> Result<Value, SchemaError> {
    // The registry keeps a primitive schema as a bare word, too.
    if PRIMITIVES.contains(&text.trim()) {
        return Ok(Value::String(text.trim().to_owned()));
    }
    serde_json::from_str(text).map_err(|error| SchemaError::NotJson(error.to_string()))
}

/// How deep expanded types may be inside each other: serde_json's own limit, so that readers of the text can follow.
const EXPANSION_DEPTH_MAX: u32 = 120;

/// Writes referenced types out where they are first used.
#[derive(Default)]
struct Expansion {
    /// What references define, with the namespace that the definition stands in.
    known: HashMap<String, (Value, String)>,
    written: HashSet<String>,
}

impl Expansion {
    /// Notes every named type of a referenced schema. JSON's own nesting bounds the recursion.
    fn learn(&mut self, schema: &Value, namespace: &str) {
        match schema {
            Value::Array(branches) => branches.iter().for_each(|branch| self.learn(branch, namespace)),
            Value::Object(attributes) => {
                let mut namespace = namespace.to_owned();
                if is_named(attributes)
                    && let Ok(full) = own_name(attributes, &namespace)
                {
                    self.known.insert(full.clone(), (schema.clone(), namespace));
                    namespace = namespace_of(&full).to_owned();
                }
                for inner in ["type", "items", "values"] {
                    attributes.get(inner).into_iter().for_each(|inner| self.learn(inner, &namespace));
                }
                for field in attributes.get("fields").and_then(Value::as_array).into_iter().flatten() {
                    field.get("type").into_iter().for_each(|inner| self.learn(inner, &namespace));
                }
            }
            _ => {}
        }
    }

    /// The schema with every name in full, and every type written out once.
    fn expand(&mut self, schema: &Value, namespace: &str, depth: u32) -> Result<Value, String> {
        if depth > EXPANSION_DEPTH_MAX {
            return Err(format!("types more than {EXPANSION_DEPTH_MAX} deep inside each other"));
        }
        match schema {
            Value::String(name) => self.name(name, namespace, depth),
            Value::Array(branches) => branches.iter().map(|branch| self.expand(branch, namespace, depth + 1)).collect(),
            Value::Object(attributes) if is_named(attributes) => self.definition(attributes, namespace, depth),
            Value::Object(attributes) => {
                let mut expanded = attributes.clone();
                for key in ["type", "items", "values"] {
                    if let Some(inner) = attributes.get(key)
                        && !(key == "type" && matches!(inner.as_str(), Some("array" | "map")))
                    {
                        expanded.insert(key.to_owned(), self.expand(inner, namespace, depth + 1)?);
                    }
                }
                Ok(Value::Object(expanded))
            }
            other => Ok(other.clone()),
        }
    }

    fn name(&mut self, name: &str, namespace: &str, depth: u32) -> Result<Value, String> {
        if PRIMITIVES.contains(&name) {
            return Ok(Value::String(name.to_owned()));
        }
        let full = full_name(name, namespace);
        let is_there = |full: &str| self.written.contains(full) || self.known.contains_key(full);
        let full = if is_there(&full) { full } else { name.to_owned() };
        if self.written.contains(&full) {
            return Ok(Value::String(full));
        }
        let (definition, inside) = self.known.get(&full).cloned().ok_or_else(|| format!("there is no type {name}"))?;
        self.expand(&definition, &inside, depth)
    }

    fn definition(&mut self, attributes: &Map<String, Value>, namespace: &str, depth: u32) -> Result<Value, String> {
        let full = own_name(attributes, namespace)?;
        if !self.written.insert(full.clone()) {
            return Ok(Value::String(full));
        }
        let inside = namespace_of(&full);
        let mut expanded = attributes.clone();
        expanded.insert("name".to_owned(), short_name(&full).into());
        expanded.insert("namespace".to_owned(), inside.into());
        if let Some(Value::Array(fields)) = expanded.get_mut("fields") {
            for field in fields {
                if let Some(kind) = field.get("type").cloned() {
                    field["type"] = self.expand(&kind, inside, depth + 1)?;
                }
            }
        }
        Ok(Value::Object(expanded))
    }
}

fn is_named(attributes: &Map<String, Value>) -> bool {
    let kind = attributes.get("type").and_then(Value::as_str);
    matches!(kind, Some("record" | "error" | "enum" | "fixed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_written_out_where_they_are_first_used() {
        let schema = r#"{"type":"record","name":"Event","namespace":"a","fields":[
            {"name":"inner","type":"b.Inner"},{"name":"outer","type":["null","b.Outer"]},{"name":"again","type":"b.Inner"}]}"#;
        let outer = r#"{"type":"record","name":"Outer","namespace":"b","fields":[
            {"name":"inner","type":{"type":"record","name":"Inner","fields":[{"name":"self","type":["null","Inner"]}]}},
            {"name":"list","type":{"type":"array","items":"c.Leaf"}}]}"#;
        let leaf = r#"{"type":"fixed","name":"c.Leaf","size":4}"#;
        let parsed = WriterSchema::parse(schema, &[outer.to_owned(), leaf.to_owned()]).unwrap();
        let expanded: Value = serde_json::from_str(parsed.json()).unwrap();
        let inner = &expanded["fields"][0]["type"];
        assert_eq!((&inner["name"], &inner["namespace"]), (&json!("Inner"), &json!("b")));
        assert_eq!(inner["fields"][0]["type"], json!(["null", "b.Inner"]));
        let outer = &expanded["fields"][1]["type"][1];
        assert_eq!(outer["fields"][0]["type"], json!("b.Inner"));
        let leaf = json!({"type": "fixed", "name": "Leaf", "namespace": "c", "size": 4});
        assert_eq!(outer["fields"][1]["type"]["items"], leaf);
        assert_eq!(expanded["fields"][2]["type"], json!("b.Inner"));
        apache_avro::Schema::parse_str(parsed.json()).expect("one schema by itself, for everybody");
    }

    #[test]
    fn what_is_no_schema_is_refused_in_words() {
        let refused = |schema: &str| WriterSchema::parse(schema, &[]).unwrap_err().to_string();
        assert!(refused("{").starts_with("the schema is not JSON"));
        assert_eq!(refused(r#""Unknown""#), "not an Avro schema: there is no type Unknown");
        assert_eq!(refused(r#"[["int"]]"#), "not an Avro schema: a union stands directly in a union");
        assert!(refused(&" ".repeat(SCHEMA_BYTES_MAX + 1)).contains("too large"));
        let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(5_000), "}".repeat(5_000));
        assert!(refused(&deep).contains("recursion limit"));
        let missing = WriterSchema::parse(r#"["a.B"]"#, &[r#"{"type":"fixed","name":"B","size":1}"#.to_owned()]);
        assert_eq!(missing.unwrap_err().to_string(), "not an Avro schema: there is no type a.B");
    }

    #[test]
    fn illegal_names_do_not_panic_as_they_do_in_apache_avro() {
        let schema = r#"{"type":"record","name":"Event","namespace":"com.cosmic-horizons","fields":[
            {"name":"e","type":{"type":"enum","name":"T y","symbols":["job.submitted"]}}]}"#;
        assert!(WriterSchema::parse(schema, &[]).is_ok());
    }
}
