//! The datum of a contract's field that a writer does not have.

use serde_json::Value;

use super::super::number::{integer, put_bytes, put_long};
use super::types::{Field, Type, TypeId, Types};

/// The longest default, and the most values in one: a record's default may rest on its fields', so short texts can
/// become long data.
const DEFAULT_BYTES_MAX: usize = 1 << 20;
const DEFAULT_VALUES_MAX: u32 = 100_000;
/// How deep a default may be.
const DEFAULT_DEPTH_MAX: u32 = 128;

/// What stands for a field that is absent: its default; null for a field that JSON fills from elsewhere. Errors: it has
/// neither, or the default is none of its type.
pub(super) fn absent(types: &Types, field: &Field) -> Result<Vec<u8>, String> {
    let null = || null_branch(types, field.id).filter(|_| field.derived).map(|_| &Value::Null);
    let Some(value) = field.default.as_ref().or_else(null) else {
        return Err("the writer's schema has no such field, and the contract has no default for it".to_owned());
    };
    let mut encoder = Encoder { types, out: Vec::new(), values_left: DEFAULT_VALUES_MAX };
    encoder.value(field.id, value, 0).map_err(|problem| format!("the contract's default does not fit: {problem}"))?;
    Ok(encoder.out)
}

fn null_branch(types: &Types, id: TypeId) -> Option<usize> {
    match types.get(id) {
        Type::Union(branches) => branches.iter().position(|branch| matches!(types.get(*branch), Type::Null)),
        _ => None,
    }
}

struct Encoder<'a> {
    types: &'a Types,
    out: Vec<u8>,
    values_left: u32,
}

impl Encoder<'_> {
    fn value(&mut self, id: TypeId, value: &Value, depth: u32) -> Result<(), String> {
        self.values_left = self.values_left.checked_sub(1).ok_or("too many values")?;
        if depth > DEFAULT_DEPTH_MAX || self.out.len() > DEFAULT_BYTES_MAX {
            return Err("too deep, or too long".to_owned());
        }
        match (self.types.get(id), value) {
            (Type::Null, Value::Null) => {}
            (Type::Boolean, Value::Bool(value)) => self.out.push(u8::from(*value)),
            (Type::Int, Value::Number(number)) => {
                let value = whole(number).and_then(|value| i32::try_from(value).ok()).ok_or("not an int")?;
                put_long(&mut self.out, i64::from(value));
            }
            (Type::Long, Value::Number(number)) => put_long(&mut self.out, whole(number).ok_or("not a long")?),
            (Type::Float, value) => {
                let value = float(value).ok_or("not a float")? as f32;
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            (Type::Double, value) => {
                let value = float(value).ok_or("not a double")?;
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            (Type::String, Value::String(text)) => put_bytes(&mut self.out, text.as_bytes()),
            (Type::Bytes, Value::String(text)) => put_bytes(&mut self.out, &characters(text)?),
            (Type::Fixed(_, size), Value::String(text)) => {
                let bytes = characters(text)?;
                if bytes.len() != *size {
                    return Err(format!("not {size} bytes"));
                }
                self.out.extend_from_slice(&bytes);
            }
            (Type::Enum(one), Value::String(text)) => {
                let number = one.symbols.iter().position(|symbol| symbol == text).ok_or("none of the symbols")?;
                put_long(&mut self.out, number as i64);
            }
            (Type::Array(items), Value::Array(values)) => {
                self.count(values.len());
                for value in values {
                    self.value(*items, value, depth + 1)?;
                }
                self.out.push(0);
            }
            (Type::Map(inner), Value::Object(values)) => {
                self.count(values.len());
                for (key, value) in values {
                    put_bytes(&mut self.out, key.as_bytes());
                    self.value(*inner, value, depth + 1)?;
                }
                self.out.push(0);
            }
            (Type::Record(record), Value::Object(values)) => {
                for field in &record.fields {
                    let value = values.get(&field.name).or(field.default.as_ref());
                    let value = value.ok_or_else(|| format!("{} is missing", field.name))?;
                    self.value(field.id, value, depth + 1)?;
                }
            }
            (Type::Union(branches), value) => self.union(branches, value, depth)?,
            (one, _) => return Err(format!("not of type {}", one.describe())),
        }
        Ok(())
    }

    /// The first branch that the default fits: the first of all by older versions of Avro, any since 1.12.
    fn union(&mut self, branches: &[TypeId], value: &Value, depth: u32) -> Result<(), String> {
        let start = self.out.len();
        for (number, branch) in branches.iter().enumerate() {
            put_long(&mut self.out, number as i64);
            if self.value(*branch, value, depth + 1).is_ok() {
                return Ok(());
            }
            self.out.truncate(start);
        }
        Err("of none of the union's types".to_owned())
    }

    fn count(&mut self, count: usize) {
        if count > 0 {
            put_long(&mut self.out, count as i64);
        }
    }
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    integer(number.to_string().as_bytes(), "a whole number").ok()
}

/// JSON has no words for what is no number; Avro's parsers take these.
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "INF" | "Infinity" => Some(f64::INFINITY),
            "-INF" | "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Bytes are written as characters up to U+00FF.
fn characters(text: &str) -> Result<Vec<u8>, String> {
    text.chars().map(|one| u8::try_from(one).map_err(|_| "characters above U+00FF".to_owned())).collect()
}
