//! The benchmark's events as values, by apache-avro and serde_json: for the loop that translates them so, and for what makes
//! the events that are Avro from the start.

use apache_avro::types::Value as Avro;
use serde_json::Value;

/// The event as a record of a schema, by values; what it lacks is null, or made up.
pub fn avro_event(json: &[u8], schema: &Value) -> Result<Avro, serde_json::Error> {
    let event: Value = serde_json::from_slice(json)?;
    let text = |value: &Value| Avro::String(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let mut fields = Vec::new();
    for field in schema["fields"].as_array().into_iter().flatten() {
        let name = field["name"].as_str().unwrap_or_default();
        let found = if name == "job_id" { &event["payload"]["job_id"] } else { &event[name] };
        let value = match (name, found) {
            ("schema_version", found) => Avro::Int(found.as_i64().unwrap_or(1) as i32),
            ("attempt", _) => Avro::Long(3),
            ("region", _) => Avro::String("us-south-2".to_owned()),
            ("idempotency_key" | "parent_event_id" | "job_id" | "tags", Value::Null) => {
                Avro::Union(0, Box::new(Avro::Null))
            }
            ("tags", tags) => {
                let tags = tags.as_array().into_iter().flatten().map(text).collect();
                Avro::Union(1, Box::new(Avro::Array(tags)))
            }
            ("idempotency_key" | "parent_event_id" | "job_id", found) => Avro::Union(1, Box::new(text(found))),
            (_, found) => text(found),
        };
        fields.push((name.to_owned(), value));
    }
    Ok(Avro::Record(fields))
}
