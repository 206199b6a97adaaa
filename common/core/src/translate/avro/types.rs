//! An Avro schema as a flat list of types, named types linked by their place: what writers and contracts are compared by.
//!
//! Read from the schema's JSON by ourselves, not by apache-avro: writer schemas come from outside, and its parser panics
//! on illegal names (`Name::parse` unwraps), which would end the process. Names are therefore taken as they are. Its
//! parsed form also forgets whether a UUID is a string or a fixed.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The place of a type in the list.
pub(super) type TypeId = usize;

/// Primitive types always stand first in the list, in this order.
const PRIMITIVES: [(&str, Type); 8] = [
    ("null", Type::Null),
    ("boolean", Type::Boolean),
    ("int", Type::Int),
    ("long", Type::Long),
    ("float", Type::Float),
    ("double", Type::Double),
    ("bytes", Type::Bytes),
    ("string", Type::String),
];
/// The place of `string`.
pub(super) const STRING: TypeId = 7;
/// The most types that one schema may have.
const TYPES_MAX: usize = 20_000;

/// One type.
#[derive(Debug, Clone)]
pub(super) enum Type {
    /// Stands for a record while its fields are read; never in a finished list.
    Unfinished,
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(TypeName, usize),
    Enum(EnumType),
    Array(TypeId),
    Map(TypeId),
    Record(RecordType),
    Union(Vec<TypeId>),
}

/// What a named type is called, in full.
#[derive(Debug, Clone)]
pub(super) struct TypeName {
    pub(super) full: String,
    pub(super) aliases: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct EnumType {
    pub(super) name: TypeName,
    pub(super) symbols: Vec<String>,
    /// The symbol that stands for unknown ones.
    pub(super) default: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct RecordType {
    pub(super) name: TypeName,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) id: TypeId,
    pub(super) default: Option<Value>,
    /// A contract's field that JSON bodies fill from elsewhere (`"path"`): absent is null, if it can be.
    pub(super) derived: bool,
}

/// A logical type that gives the bytes another meaning: its name, and a decimal's precision and scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logical {
    pub(super) name: String,
    pub(super) precision: u64,
    pub(super) scale: u64,
}

/// A whole schema.
#[derive(Debug, Clone)]
pub(super) struct Types {
    list: Vec<Type>,
    logical: HashMap<TypeId, Logical>,
    /// Types whose values take no bytes at all.
    empty: Vec<bool>,
    pub(super) top: TypeId,
}

impl Types {
    /// Reads a schema that holds all its named types. Errors say what is wrong with it.
    pub(super) fn read(schema: &Value) -> Result<Self, String> {
        let list = PRIMITIVES.iter().map(|(_, primitive)| primitive.clone()).collect();
        let mut reader = Reader { list, logical: HashMap::new(), names: HashMap::new() };
        let top = reader.schema(schema, "")?;
        let empty = empty_types(&reader.list);
        Ok(Self { list: reader.list, logical: reader.logical, empty, top })
    }

    #[inline]
    pub(super) fn get(&self, id: TypeId) -> &Type {
        &self.list[id]
    }

    pub(super) fn logical(&self, id: TypeId) -> Option<&Logical> {
        self.logical.get(&id)
    }

    /// Whether values of this type take no bytes.
    #[inline]
    pub(super) fn is_empty(&self, id: TypeId) -> bool {
        self.empty[id]
    }
}

/// Which types take no bytes: null, fixed of size 0, records of nothing else. A record that is endless is none of them;
/// reading one ends at the depth limit.
fn empty_types(list: &[Type]) -> Vec<bool> {
    let mut empty = vec![false; list.len()];
    loop {
        let mut changed = false;
        for (id, one) in list.iter().enumerate().rev() {
            let now = match one {
                Type::Null | Type::Fixed(_, 0) => true,
                Type::Record(record) => record.fields.iter().all(|field| empty[field.id]),
                _ => false,
            };
            changed |= now != empty[id];
            empty[id] = now;
        }
        if !changed {
            return empty;
        }
    }
}

struct Reader {
    list: Vec<Type>,
    logical: HashMap<TypeId, Logical>,
    names: HashMap<String, TypeId>,
}

impl Reader {
    fn push(&mut self, one: Type) -> Result<TypeId, String> {
        if self.list.len() >= TYPES_MAX {
            return Err(format!("the schema has more than {TYPES_MAX} types"));
        }
        self.list.push(one);
        Ok(self.list.len() - 1)
    }

    fn schema(&mut self, schema: &Value, namespace: &str) -> Result<TypeId, String> {
        match schema {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(attributes) => self.object(attributes, namespace),
            _ => Err("a schema is a text, an array or an object".to_owned()),
        }
    }

    fn named(&self, name: &str, namespace: &str) -> Result<TypeId, String> {
        if let Some(primitive) = PRIMITIVES.iter().position(|(known, _)| *known == name) {
            return Ok(primitive);
        }
        let found = self.names.get(&full_name(name, namespace)).or_else(|| self.names.get(name));
        found.copied().ok_or_else(|| format!("there is no type {name}"))
    }

    fn union(&mut self, branches: &[Value], namespace: &str) -> Result<TypeId, String> {
        let ids: Vec<_> = branches.iter().map(|branch| self.schema(branch, namespace)).collect::<Result<_, _>>()?;
        if ids.iter().any(|id| matches!(self.list[*id], Type::Union(_))) {
            return Err("a union stands directly in a union".to_owned());
        }
        self.push(Type::Union(ids))
    }

    fn object(&mut self, attributes: &Map<String, Value>, namespace: &str) -> Result<TypeId, String> {
        let name = match attributes.get("type") {
            Some(Value::String(name)) => name.as_str(),
            Some(inner) => return self.schema(inner, namespace),
            None => return Err("an object without type".to_owned()),
        };
        let inner = |key: &str| attributes.get(key).ok_or_else(|| format!("{name} without {key}"));
        let id = match name {
            "array" => {
                let items = self.schema(inner("items")?, namespace)?;
                self.push(Type::Array(items))?
            }
            "map" => {
                let values = self.schema(inner("values")?, namespace)?;
                self.push(Type::Map(values))?
            }
            "record" | "error" => return self.record(attributes, namespace),
            "enum" => return self.enumeration(attributes, namespace),
            "fixed" => {
                let size = inner("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("a fixed's size is a number from 0")?;
                let name = type_name(attributes, namespace)?;
                self.define(name.full.clone(), Type::Fixed(name, size))?
            }
            other => {
                let id = self.named(other, namespace)?;
                // A copy, to hang the logical type on.
                let is_logical = id < PRIMITIVES.len() && logical(attributes, &self.list[id]).is_some();
                if is_logical { self.push(self.list[id].clone())? } else { return Ok(id) }
            }
        };
        if let Some(logical) = logical(attributes, &self.list[id]) {
            self.logical.insert(id, logical);
        }
        Ok(id)
    }

    fn define(&mut self, name: String, one: Type) -> Result<TypeId, String> {
        let id = self.push(one)?;
        if self.names.contains_key(&name) {
            return Err(format!("two types are named {name}"));
        }
        self.names.insert(name, id);
        Ok(id)
    }

    fn enumeration(&mut self, attributes: &Map<String, Value>, namespace: &str) -> Result<TypeId, String> {
        let symbols = texts(attributes.get("symbols")).ok_or("an enum's symbols are an array of texts")?;
        let default = match attributes.get("default") {
            None => None,
            Some(default) => Some(
                symbols
                    .iter()
                    .position(|symbol| Some(symbol.as_str()) == default.as_str())
                    .ok_or("an enum's default is none of its symbols")?,
            ),
        };
        let name = type_name(attributes, namespace)?;
        self.define(name.full.clone(), Type::Enum(EnumType { name, symbols, default }))
    }

    fn record(&mut self, attributes: &Map<String, Value>, namespace: &str) -> Result<TypeId, String> {
        let name = type_name(attributes, namespace)?;
        let id = self.define(name.full.clone(), Type::Unfinished)?;
        let namespace = namespace_of(&name.full).to_owned();
        let given = attributes.get("fields").and_then(Value::as_array).ok_or("a record's fields are an array")?;
        let mut fields: Vec<Field> = Vec::with_capacity(given.len());
        for field in given {
            let name = field.get("name").and_then(Value::as_str).ok_or("a field has no name")?;
            let kind = field.get("type").ok_or_else(|| format!("field {name} has no type"))?;
            let id = self.schema(kind, &namespace).map_err(|problem| format!("{name}: {problem}"))?;
            fields.push(Field {
                name: name.to_owned(),
                aliases: texts(field.get("aliases")).unwrap_or_default(),
                id,
                default: field.get("default").cloned(),
                derived: field.get("path").is_some(),
            });
        }
        self.list[id] = Type::Record(RecordType { name, fields });
        Ok(id)
    }
}

/// The attribute's logical type, where it goes with the type under it; otherwise it means nothing, says Avro.
fn logical(attributes: &Map<String, Value>, base: &Type) -> Option<Logical> {
    let name = attributes.get("logicalType")?.as_str()?;
    let fits = match (name, base) {
        ("date" | "time-millis", Type::Int) => true,
        ("time-micros", Type::Long) => true,
        ("decimal", Type::Bytes | Type::Fixed(..)) => true,
        (_, Type::Long) => name.starts_with("timestamp-") || name.starts_with("local-timestamp-"),
        _ => false,
    };
    let number = |key: &str| attributes.get(key).and_then(Value::as_u64).unwrap_or(0);
    fits.then(|| Logical { name: name.to_owned(), precision: number("precision"), scale: number("scale") })
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    value?.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A name as it is meant inside `namespace`.
pub(super) fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

/// The part before the last dot.
pub(super) fn namespace_of(full: &str) -> &str {
    full.rsplit_once('.').map_or("", |(namespace, _)| namespace)
}

/// The part after the last dot.
pub(super) fn short_name(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

/// The full name of the type that these attributes define.
pub(super) fn own_name(attributes: &Map<String, Value>, namespace: &str) -> Result<String, String> {
    let text = |key: &str| attributes.get(key).and_then(Value::as_str);
    let name = text("name").filter(|name| !name.is_empty()).ok_or("a record, enum or fixed has no name")?;
    Ok(full_name(name, text("namespace").unwrap_or(namespace)))
}

fn type_name(attributes: &Map<String, Value>, namespace: &str) -> Result<TypeName, String> {
    let full = own_name(attributes, namespace)?;
    let aliases = texts(attributes.get("aliases")).unwrap_or_default();
    let aliases = aliases.iter().map(|alias| full_name(alias, namespace_of(&full))).collect();
    Ok(TypeName { full, aliases })
}

impl Type {
    /// What the type is called in errors.
    pub(super) fn describe(&self) -> String {
        let named = |kind: &str, name: &TypeName| format!("{kind} {}", name.full);
        match self {
            Self::Unfinished => "a record".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Boolean => "boolean".to_owned(),
            Self::Int => "int".to_owned(),
            Self::Long => "long".to_owned(),
            Self::Float => "float".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Bytes => "bytes".to_owned(),
            Self::String => "string".to_owned(),
            Self::Fixed(name, size) => format!("{} of {size} bytes", named("fixed", name)),
            Self::Enum(one) => named("enum", &one.name),
            Self::Array(_) => "array".to_owned(),
            Self::Map(_) => "map".to_owned(),
            Self::Record(record) => named("record", &record.name),
            Self::Union(_) => "union".to_owned(),
        }
    }
}
