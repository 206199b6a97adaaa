//! What must become of a source record, worked out a second time and by other means than the bridge's: `serde_json` and
//! `apache_avro`'s tree of values. Slow and plain on purpose.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use apache_avro::Schema;
use apache_avro::schema::RecordField;
use apache_avro::types::Value;
use serde_json::value::RawValue;

use crate::Result;

/// The digest of all that must be equal in a message: enough that chance never makes two records alike.
pub type Digest = u128;

/// What the target (or the dead-letter topic) must hold for a record, or does hold.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The body; `None` is a null value.
    pub body: Option<&'a [u8]>,
    /// The key as the source has it.
    pub key: Option<&'a [u8]>,
    /// Milliseconds since the epoch.
    pub event_time: u64,
}

/// Digests a message: its body, key, event time and properties. Properties of the same name count in their order; no
/// client sees an order between names.
pub fn digest(content: Content<'_>, mut properties: Vec<(&str, &[u8])>) -> Digest {
    properties.sort_by_key(|(name, _)| *name);
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        for part in [content.body, content.key] {
            hasher.write_usize(part.map_or(usize::MAX, <[u8]>::len));
            hasher.write(part.unwrap_or_default());
        }
        hasher.write_u64(content.event_time);
        for (name, value) in &properties {
            hasher.write_usize(name.len());
            hasher.write(name.as_bytes());
            hasher.write_usize(value.len());
            hasher.write(value);
        }
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// The properties that headers must become: a header as it is, or, where it repeats a name, has no value, or one that is
/// not UTF-8, `bridge.header.<place>.<form>.<name>`. Worked out apart from the bridge's own rule, by its documentation.
pub fn properties<'a>(headers: &[(&'a str, Option<&'a [u8]>)]) -> Vec<(Cow<'a, str>, Cow<'a, [u8]>)> {
    let mut properties = Vec::with_capacity(headers.len());
    for (place, (name, value)) in headers.iter().enumerate() {
        let taken = name.starts_with("bridge.") || headers[..place].iter().any(|(earlier, _)| earlier == name);
        let encoded = |form| Cow::Owned(format!("bridge.header.{place}.{form}.{name}"));
        properties.push(match value {
            None => (encoded("null"), Cow::Borrowed([].as_slice())),
            Some(value) if std::str::from_utf8(value).is_err() => (encoded("base64"), Cow::Owned(base64(value))),
            Some(value) if taken => (encoded("text"), Cow::Borrowed(*value)),
            Some(value) => (Cow::Borrowed(*name), Cow::Borrowed(*value)),
        });
    }
    properties
}

/// RFC 4648, padded.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let digits = [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize]);
        text.extend_from_slice(&digits[..=three.len()]);
        text.resize(text.len().next_multiple_of(4), b'=');
    }
    text
}

/// Digests bytes alone: what a dead letter keeps of its record.
pub fn digest_of_bytes(bytes: &[u8]) -> Digest {
    digest(Content { body: Some(bytes), key: None, event_time: 0 }, Vec::new())
}

/// The contract of a stream whose sources are JSON.
#[derive(Debug)]
pub struct Oracle {
    schema: Schema,
}

/// What stands in the place of an id that is derived from coordinates, when two messages are compared: only the bridge
/// knows a queue's coordinates. Never a text that an event has itself.
pub(crate) const DERIVED: &str = "<derived>";
/// More objects and arrays inside each other than this are refused.
const MAX_DEPTH: usize = 128;

/// Where a field's value comes from.
enum Origin {
    /// The member of the same name.
    Member,
    /// The exact JSON text of the member of the same name.
    JsonText,
    /// The member at this path, absent where the path ends early.
    Path(Vec<String>),
    /// The member of the same name, or, where that is absent or null, the record's coordinates.
    Coordinates,
}

type Members<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

impl Oracle {
    /// Reads the contract from its file.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("contract {}: {error}", path.display()))?;
        Self::parse(&text)
    }

    /// Reads the contract.
    pub fn parse(text: &str) -> Result<Self> {
        let schema = Schema::parse_str(text)?;
        let Schema::Record(record) = &schema else { return Err("the contract is not a record".into()) };
        if record.fields.iter().skip(1).any(|field| matches!(origin(field), Origin::Coordinates)) {
            // The reader of targets looks for it there.
            return Err("a field that is derived from coordinates must be the contract's first".into());
        }
        Ok(Self { schema })
    }

    /// Whether the first field may be derived from coordinates.
    pub fn derives(&self) -> bool {
        let Schema::Record(record) = &self.schema else { return false };
        record.fields.first().is_some_and(|field| matches!(origin(field), Origin::Coordinates))
    }

    /// The Avro bytes that the target must hold for this JSON, or why there can be none. `offset`: of a Kafka record.
    pub fn translate(&self, json: &[u8], offset: Option<u64>) -> std::result::Result<Vec<u8>, String> {
        if depth(json) > MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        let members: Members<'_> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let Schema::Record(record) = &self.schema else { return Err("the contract is not a record".to_owned()) };
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            let value = self.field(field, &members, offset).map_err(|error| format!("{}: {error}", field.name))?;
            fields.push((field.name.clone(), value));
        }
        apache_avro::to_avro_datum(&self.schema, Value::Record(fields)).map_err(|error| error.to_string())
    }

    fn field(
        &self,
        field: &RecordField,
        members: &Members<'_>,
        offset: Option<u64>,
    ) -> std::result::Result<Value, String> {
        let member = members.get(field.name.as_str()).map(|raw| raw.get());
        let found = match origin(field) {
            Origin::Member => member.map(str::to_owned),
            // Its text is the string; as JSON a string is written again.
            Origin::JsonText => member.map(|text| match text {
                "null" if matches!(field.schema, Schema::Union(_)) => text.to_owned(),
                _ => serde_json::Value::from(text).to_string(),
            }),
            Origin::Path(path) => {
                let (first, rest) = path.split_first().ok_or("an empty path")?;
                let first = members.get(first.as_str()).and_then(|raw| serde_json::from_str(raw.get()).ok());
                first.and_then(|value: serde_json::Value| at(&value, rest).map(ToString::to_string))
            }
            Origin::Coordinates => match member.filter(|text| *text != "null") {
                Some(text) => Some(text.to_owned()),
                None => Some(serde_json::Value::from(derived(offset)).to_string()),
            },
        };
        match found {
            Some(text) => {
                let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                value_of(&field.schema, &json)
            }
            None => match &field.default {
                Some(default) => value_of(&field.schema, default),
                None => Err("missing".to_owned()),
            },
        }
    }
}

/// What stands in a derived id's place: with the offset, where the source has offsets that anybody knows.
pub(crate) fn derived(offset: Option<u64>) -> String {
    offset.map_or_else(|| DERIVED.to_owned(), |offset| format!("{DERIVED}/{offset}"))
}

/// The value at a path of members.
fn at<'v>(value: &'v serde_json::Value, path: &[String]) -> Option<&'v serde_json::Value> {
    path.iter().try_fold(value, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// The text at a path such as `payload.job_id`: of a string itself, of another scalar its JSON.
pub fn text_at(json: &[u8], path: &str) -> Option<String> {
    let names: Vec<String> = path.split('.').map(str::to_owned).collect();
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    match at(&value, &names)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
        scalar => Some(scalar.to_string()),
    }
}

/// How many objects and arrays are inside each other at most, strings apart.
fn depth(json: &[u8]) -> usize {
    let (mut open, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What the contract's own attributes say of a field.
fn origin(field: &RecordField) -> Origin {
    let attribute = |name| field.custom_attributes.get(name);
    if attribute("derive").is_some() {
        return Origin::Coordinates;
    }
    if attribute("json").and_then(serde_json::Value::as_bool) == Some(true) {
        return Origin::JsonText;
    }
    match attribute("path").and_then(serde_json::Value::as_array) {
        Some(path) => Origin::Path(path.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()),
        None => Origin::Member,
    }
}

fn value_of(schema: &Schema, json: &serde_json::Value) -> std::result::Result<Value, String> {
    use serde_json::Value as Json;
    match (schema, json) {
        (Schema::Null, Json::Null) => Ok(Value::Null),
        (Schema::Boolean, Json::Bool(value)) => Ok(Value::Boolean(*value)),
        (Schema::String, Json::String(text)) => Ok(Value::String(text.clone())),
        (Schema::Int, Json::Number(number)) => number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .map(Value::Int)
            .ok_or_else(|| "out of the range of an int".to_owned()),
        (Schema::Long, Json::Number(number)) => {
            number.as_i64().map(Value::Long).ok_or_else(|| "out of the range of a long".to_owned())
        }
        (Schema::Double, Json::Number(number)) => {
            number.as_f64().filter(|value| value.is_finite()).map(Value::Double).ok_or_else(|| "no double".to_owned())
        }
        (Schema::Map(map), Json::Object(members)) => members
            .iter()
            .map(|(name, value)| Ok((name.clone(), value_of(&map.types, value)?)))
            .collect::<std::result::Result<_, String>>()
            .map(Value::Map),
        (Schema::Array(array), Json::Array(items)) => items
            .iter()
            .map(|item| value_of(&array.items, item))
            .collect::<std::result::Result<_, _>>()
            .map(Value::Array),
        (Schema::Union(union), json) => union
            .variants()
            .iter()
            .enumerate()
            .find_map(|(index, variant)| {
                let value = value_of(variant, json).ok()?;
                Some(Value::Union(index as u32, Box::new(value)))
            })
            .ok_or_else(|| "no branch of the union takes it".to_owned()),
        _ => Err("wrong type".to_owned()),
    }
}

#[cfg(test)]
mod tests;
