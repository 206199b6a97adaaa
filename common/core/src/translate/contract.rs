//! The contract of a stream: the Avro schema that the target promises, with what a bridge needs to know besides.
//!
//! A contract is an Avro schema, a record at the top, and these attributes of ours, which Avro's parsers ignore:
//! - `"json": true` on a field of type string, or nullable string (or inside the type, `{"type": "string", "json":
//!   true}`): the field takes any JSON value, as its exact source text.
//! - `"path": ["payload", "job_id"]` on a field: its value is taken from inside another member of the same JSON object.
//! - `"derive": "coordinates"` on a string field of the top record: where the JSON has no such member, or null, the field is
//!   made from the record's place in its source, `<cluster>/<topic>/<partition>/<offset>`: the same after every restart, for
//!   no two records the same ([`crate::record::Coordinates`]).

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use serde_json::Value;

use super::error::ContractError;

/// A contract that is legal Avro with a record at the top.
#[derive(Debug, Clone)]
pub struct Contract {
    name: String,
    schema: Schema,
    schema_json: String,
    fingerprint: String,
    pub(super) source: Value,
}

impl Contract {
    /// Reads a contract file. Errors: not JSON; not an Avro schema by apache-avro's parser; no record at the top.
    /// Whether JSON can be translated to it is the plan's matter ([`super::JsonPlan::compile`]).
    pub fn parse(json: &str) -> Result<Self, ContractError> {
        let source: Value = serde_json::from_str(json).map_err(|error| ContractError::NotJson(error.to_string()))?;
        let schema = Schema::parse(&source).map_err(|error| ContractError::NotAvro(error.to_string()))?;
        let Schema::Record(record) = &schema else {
            return Err(ContractError::field("the top", "is not a record; a stream's contract is one"));
        };
        let name = record.name.fullname(None);
        let mut plain = source.clone();
        remove_our_attributes(&mut plain);
        plain.sort_all_objects();
        let fingerprint = schema.fingerprint::<Rabin>().bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { name, schema, schema_json: plain.to_string(), fingerprint, source })
    }

    /// The record's full name: `com.example.Event`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema as plain Avro JSON, for Pulsar and for everybody's clients: our attributes removed, docs and defaults
    /// kept, always the same text for the same contract.
    pub fn schema_json(&self) -> &str {
        &self.schema_json
    }

    /// The schema as apache-avro sees it.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Avro's own fingerprint (CRC-64-AVRO of the parsing canonical form), 16 hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// Removes `json`, `path` and `derive` from a schema, only where schemas stand: never inside a default or a doc.
fn remove_our_attributes(schema: &mut Value) {
    match schema {
        Value::Array(branches) => branches.iter_mut().for_each(remove_our_attributes),
        Value::Object(attributes) => {
            ["json", "path", "derive"].iter().for_each(|ours| drop(attributes.remove(*ours)));
            for inner in ["type", "items", "values"] {
                attributes.get_mut(inner).into_iter().for_each(remove_our_attributes);
            }
            if let Some(Value::Array(fields)) = attributes.get_mut("fields") {
                fields.iter_mut().for_each(remove_our_attributes);
            }
        }
        _ => {}
    }
}
