//! The configuration's JSON Schema, for editors: derived from the types that are read, and so from the same doc comments.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::{
    Config, IdempotencyKey, KafkaSource, KeyFrom, PollSource, RabbitmqSource, Secret, Source, Start, TopicName,
};

/// The JSON Schema of a stream's file.
pub fn json_schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        // Editors show the description of the place where a type stands, not of the type.
        settings.inline_subschemas = true;
        // Serde's own annotations are what is read.
        settings.meta_schema = Some("http://json-schema.org/draft-07/schema#".into());
    });
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    tidy(&mut schema);
    schema["title"] = json!("Configuration of a stream bridge");
    schema
}

/// TOML has no null, and the width of an integer is nothing that an editor knows.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(map) => {
            map.remove("format");
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            without_null(map);
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            map.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

fn without_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            map.remove("anyOf");
            for (key, value) in only {
                map.entry(key).or_insert(value);
            }
        }
    }
}

/// A list, or one text with commas.
pub(super) fn list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, { "type": "string" }] })
}

impl JsonSchema for Source {
    fn schema_name() -> Cow<'static, str> {
        "Source".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kinds = [
            ("kafka", KafkaSource::json_schema(generator)),
            ("rabbitmq", RabbitmqSource::json_schema(generator)),
            ("poll", PollSource::json_schema(generator)),
        ];
        let kinds = kinds.map(|(kind, schema)| {
            let mut schema = schema.to_value();
            schema["properties"]["kind"] = json!({ "const": kind, "description": "What kind of source it is." });
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            schema["required"] = [vec![json!("kind")], required].concat().into();
            schema
        });
        json_schema!({ "oneOf": kinds })
    }
}

impl JsonSchema for Start {
    fn schema_name() -> Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let offsets = json!({
            "type": "object", "additionalProperties": { "type": "integer" }, "description": "Partition = offset."
        });
        json_schema!({ "anyOf": [{ "type": "string" }, offsets] })
    }
}

/// A text of a form of its own.
macro_rules! text_of_its_own_form {
    ($($kind:ty, $name:literal, $schema:tt;)*) => {$(
        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

text_of_its_own_form! {
    TopicName, "TopicName", { "type": "string", "pattern": "^persistent://[^/]+/[^/]+/[^/]+$" };
    Secret, "Secret", { "type": "string" };
    IdempotencyKey, "IdempotencyKey", { "type": "string", "pattern": "^(message-id|header:.+|json:.+)$" };
    KeyFrom, "KeyFrom", { "type": "string", "pattern": "^(routing-key|header:.+)$" };
}
