//! From a contract's schema to the plan's nodes. apache-avro has already checked that the schema is legal; what is
//! checked here is what JSON asks for besides.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::error::ContractError;
use super::number::DECIMAL_DIGITS_MAX;
use super::plan::{DecimalPlan, EnumPlan, FieldPlan, Node, NodeId, Origin, RecordPlan, Tap, UnionPlan};
use super::scan::Kind;

/// A default that is still to be encoded: the record, the field's number, its value, and the field's path for errors.
pub(super) struct PendingDefault {
    pub(super) record: NodeId,
    pub(super) field: usize,
    pub(super) value: Value,
    pub(super) path: String,
}

/// Where the compiler stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    namespace: &'a str,
    /// For errors, from the record's name on.
    path: &'a str,
    /// For drift, from the top record's fields on.
    wire: &'a str,
    /// Whether a string here takes any JSON value.
    json: bool,
}

#[derive(Default)]
pub(super) struct Compiler {
    pub(super) nodes: Vec<Node>,
    pub(super) defaults: Vec<PendingDefault>,
    names: HashMap<String, NodeId>,
}

impl Compiler {
    /// Compiles the contract's top record and gives its node.
    pub(super) fn top(&mut self, schema: &Value) -> Result<NodeId, ContractError> {
        let name = schema.get("name").and_then(Value::as_str).unwrap_or("the top");
        let path = name.rsplit('.').next().unwrap_or(name);
        self.schema(schema, Place { namespace: "", path, wire: "", json: false })
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn schema(&mut self, schema: &Value, place: Place<'_>) -> Result<NodeId, ContractError> {
        match schema {
            Value::String(name) => self.named(name, place),
            Value::Array(branches) => self.union(branches, place),
            Value::Object(attributes) => self.object(attributes, place),
            _ => Err(ContractError::field(place.path, "is no schema")),
        }
    }

    /// A primitive type, or a type that was defined before.
    fn named(&mut self, name: &str, place: Place<'_>) -> Result<NodeId, ContractError> {
        let node = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" if place.json => Node::JsonText,
            "string" => Node::String,
            _ => {
                let known = self.names.get(&full_name(name, place.namespace)).or_else(|| self.names.get(name));
                return known.copied().ok_or_else(|| {
                    ContractError::field(place.path, format!("names the type {name}, which is not defined before it"))
                });
            }
        };
        Ok(self.push(node))
    }

    fn object(&mut self, attributes: &Map<String, Value>, place: Place<'_>) -> Result<NodeId, ContractError> {
        let json = place.json || flag(attributes, place.path)?;
        let place = Place { json, ..place };
        let inner = |key: &str| attributes.get(key).unwrap_or(&Value::Null);
        let id = match inner("type") {
            Value::String(kind) => match kind.as_str() {
                "record" | "error" => return self.record(attributes, place),
                "enum" => self.enumeration(attributes, place)?,
                "fixed" => {
                    let size = inner("size").as_u64().unwrap_or(0) as usize;
                    self.define(attributes, place, Node::Fixed(size))
                }
                "array" => {
                    let items = self.schema(inner("items"), Place { json: false, ..place })?;
                    self.push(Node::Array(items))
                }
                "map" => {
                    let values = self.schema(inner("values"), Place { json: false, ..place })?;
                    self.push(Node::Map(values))
                }
                name => self.named(name, place)?,
            },
            nested => self.schema(nested, place)?,
        };
        self.logical(id, attributes, place.path)?;
        Ok(id)
    }

    /// Registers a named type under its full name and its aliases.
    fn define(&mut self, attributes: &Map<String, Value>, place: Place<'_>, node: Node) -> NodeId {
        let id = self.push(node);
        self.names.insert(own_name(attributes, place.namespace), id);
        id
    }

    /// Turns a primitive into its logical type. Unknown logical types are ignored, as Avro says; known ones on a wrong
    /// type, or with wrong attributes, are refused, since a reader would see numbers where the contract promises dates.
    fn logical(&mut self, id: NodeId, attributes: &Map<String, Value>, path: &str) -> Result<(), ContractError> {
        let Some(logical) = attributes.get("logicalType").and_then(Value::as_str) else { return Ok(()) };
        let node = match (logical, &self.nodes[id]) {
            ("date", Node::Int) => Node::Date,
            ("time-millis", Node::Int) => Node::Time(1_000),
            ("time-micros", Node::Long) => Node::Time(1_000_000),
            ("timestamp-millis", Node::Long) => Node::Timestamp(1_000, false),
            ("timestamp-micros", Node::Long) => Node::Timestamp(1_000_000, false),
            ("timestamp-nanos", Node::Long) => Node::Timestamp(1_000_000_000, false),
            ("local-timestamp-millis", Node::Long) => Node::Timestamp(1_000, true),
            ("local-timestamp-micros", Node::Long) => Node::Timestamp(1_000_000, true),
            ("local-timestamp-nanos", Node::Long) => Node::Timestamp(1_000_000_000, true),
            ("uuid", Node::String) => Node::Uuid,
            ("uuid", Node::Fixed(16)) => Node::UuidFixed,
            ("decimal", Node::Bytes) => Node::Decimal(decimal(attributes, None, path)?),
            ("decimal", Node::Fixed(size)) => Node::Decimal(decimal(attributes, Some(*size), path)?),
            ("duration", Node::Fixed(12)) => return Ok(()),
            ("big-decimal", _) => {
                return Err(ContractError::field(path, "logical type big-decimal is not supported; use decimal"));
            }
            (
                "date"
                | "time-millis"
                | "time-micros"
                | "timestamp-millis"
                | "timestamp-micros"
                | "timestamp-nanos"
                | "local-timestamp-millis"
                | "local-timestamp-micros"
                | "local-timestamp-nanos"
                | "uuid"
                | "decimal"
                | "duration",
                other,
            ) => {
                let reason = format!("logical type {logical} does not go with {}", other.name());
                return Err(ContractError::field(path, reason));
            }
            _ => return Ok(()),
        };
        self.nodes[id] = node;
        Ok(())
    }

    fn enumeration(&mut self, attributes: &Map<String, Value>, place: Place<'_>) -> Result<NodeId, ContractError> {
        let symbols: Vec<String> = strings(attributes.get("symbols"))
            .ok_or_else(|| ContractError::field(place.path, "an enum needs symbols, an array of strings"))?;
        let default = match attributes.get("default") {
            None => None,
            Some(name) => Some(
                symbols
                    .iter()
                    .position(|symbol| Some(symbol.as_str()) == name.as_str())
                    .ok_or_else(|| ContractError::field(place.path, "the enum's default is none of its symbols"))?,
            ),
        };
        Ok(self.define(attributes, place, Node::Enum(EnumPlan { symbols, default })))
    }

    /// A union's branches by the kind of JSON value they take. JSON does not say which of two records it means, so a
    /// union may have one branch that takes objects; of several that take numbers or strings the first that can hold
    /// the value is meant. A branch of JSON text takes what no other does.
    fn union(&mut self, branches: &[Value], place: Place<'_>) -> Result<NodeId, ContractError> {
        let mut union = UnionPlan::default();
        let mut texts = Vec::new();
        for (number, branch) in branches.iter().enumerate() {
            let id = self.schema(branch, place)?;
            match &self.nodes[id] {
                Node::JsonText => texts.push((number, id)),
                node => node.kinds().iter().for_each(|kind| union.by_kind[*kind as usize].push((number, id))),
            }
        }
        if union.by_kind[Kind::Object as usize].len() > 1 {
            let reason = "a union may have one branch that takes a JSON object (a record or a map): \
                          JSON does not say which of several it means";
            return Err(ContractError::field(place.path, reason));
        }
        let has_null = !union.by_kind[Kind::Null as usize].is_empty();
        for text in texts {
            for kind in Node::JsonText.kinds().iter().filter(|kind| **kind != Kind::Null || !has_null) {
                union.by_kind[*kind as usize].push(text);
            }
        }
        Ok(self.push(Node::Union(union)))
    }

    fn record(&mut self, attributes: &Map<String, Value>, place: Place<'_>) -> Result<NodeId, ContractError> {
        let id = self.define(attributes, place, Node::Unfinished);
        let full = own_name(attributes, place.namespace);
        let namespace = full.rsplit_once('.').map_or("", |(namespace, _)| namespace);
        let place = Place { namespace, json: false, ..place };
        let mut record = RecordPlan {
            path: place.wire.to_owned(),
            fields: Vec::new(),
            by_name: Vec::new(),
            taps: Vec::new(),
            tapped: 0,
        };
        for field in attributes.get("fields").and_then(Value::as_array).into_iter().flatten() {
            self.field(id, &mut record, field, place)?;
        }
        record.by_name.sort();
        if let Some(pair) = record.by_name.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(ContractError::field(place.path, format!("two fields or aliases are named {}", pair[0].0)));
        }
        for (tap, Tap { name, .. }) in record.taps.iter().enumerate() {
            // A path may start at a field, by its name or an alias of it.
            let member = record.by_name.iter().find(|(known, _)| known == name);
            if let Some((_, field)) = member {
                record.fields[*field].origin = Origin::Member(Some(tap));
            }
        }
        self.nodes[id] = Node::Record(record);
        Ok(id)
    }

    fn field(
        &mut self,
        id: NodeId,
        record: &mut RecordPlan,
        field: &Value,
        place: Place<'_>,
    ) -> Result<(), ContractError> {
        let name = field.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let path = format!("{}.{name}", place.path);
        let Some(attributes) = field.as_object() else {
            return Err(ContractError::field(&path, "a field is an object"));
        };
        if attributes.contains_key("logicalType") {
            let reason = "logicalType belongs inside the type: {\"type\": \"long\", \"logicalType\": ...}";
            return Err(ContractError::field(&path, reason));
        }
        let json = flag(attributes, &path)?;
        let dot = if place.wire.is_empty() { "" } else { "." };
        let wire = format!("{}{dot}{name}", place.wire);
        let inner = Place { path: &path, wire: &wire, json, ..place };
        let node = self.schema(attributes.get("type").unwrap_or(&Value::Null), inner)?;
        if json && !self.takes_text(node) {
            return Err(ContractError::field(&path, "json is for strings and nullable strings"));
        }
        let is_derived = derived(attributes, &path)?;
        if is_derived && !(matches!(self.nodes[node], Node::String) && place.wire.is_empty()) {
            return Err(ContractError::field(&path, "derive is for plain strings of the top record"));
        }
        let number = record.fields.len();
        let origin = match attributes.get("path") {
            None => {
                let aliases = strings(attributes.get("aliases")).unwrap_or_default();
                record.by_name.extend(aliases.into_iter().map(|alias| (alias, number)));
                record.by_name.push((name.clone(), number));
                Origin::Member(None)
            }
            Some(steps) => {
                let steps = strings(Some(steps)).filter(|steps| !steps.is_empty()).ok_or_else(|| {
                    ContractError::field(&path, "path is an array of names, such as [\"payload\", \"job_id\"]")
                })?;
                add_tap(&mut record.taps, &steps, record.tapped);
                record.tapped += 1;
                Origin::Path(record.tapped - 1)
            }
        };
        if let Some(value) = attributes.get("default") {
            self.defaults.push(PendingDefault { record: id, field: number, value: value.clone(), path });
        }
        record.fields.push(FieldPlan { name, node, default: None, origin, is_derived });
        Ok(())
    }

    fn takes_text(&self, node: NodeId) -> bool {
        match &self.nodes[node] {
            Node::JsonText => true,
            Node::Union(union) => {
                union.by_kind.iter().flatten().any(|(_, branch)| matches!(self.nodes[*branch], Node::JsonText))
            }
            _ => false,
        }
    }
}

fn add_tap(taps: &mut Vec<Tap>, steps: &[String], number: usize) {
    let Some((first, rest)) = steps.split_first() else { return };
    let place = taps.iter().position(|tap| tap.name == *first).unwrap_or_else(|| {
        taps.push(Tap { name: first.clone(), ..Tap::default() });
        taps.len() - 1
    });
    if rest.is_empty() {
        taps[place].ends.push(number);
    } else {
        add_tap(&mut taps[place].steps, rest, number);
    }
}

fn flag(attributes: &Map<String, Value>, path: &str) -> Result<bool, ContractError> {
    match attributes.get("json") {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| ContractError::field(path, "json is true or false")),
    }
}

/// Whether the field says `"derive": "coordinates"`.
fn derived(attributes: &Map<String, Value>, path: &str) -> Result<bool, ContractError> {
    let refuse = |reason| Err(ContractError::field(path, reason));
    match attributes.get("derive").map(Value::as_str) {
        None => Ok(false),
        Some(Some("coordinates")) => match ["path", "default"].iter().find(|other| attributes.contains_key(**other)) {
            Some(other) => refuse(format!("derive and {other} exclude each other: leave one out")),
            None => Ok(true),
        },
        Some(_) => refuse("derive can be \"coordinates\" only".to_owned()),
    }
}

fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    value?.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

/// The full name of the type that these attributes define.
fn own_name(attributes: &Map<String, Value>, enclosing: &str) -> String {
    let text = |key: &str| attributes.get(key).and_then(Value::as_str);
    full_name(text("name").unwrap_or_default(), text("namespace").unwrap_or(enclosing))
}

fn decimal(attributes: &Map<String, Value>, size: Option<usize>, path: &str) -> Result<DecimalPlan, ContractError> {
    let number = |key: &str| attributes.get(key).and_then(Value::as_u64).map(|value| value as usize);
    let precision = number("precision").unwrap_or(0);
    let scale = if attributes.contains_key("scale") { number("scale") } else { Some(0) };
    // What a fixed of so many bytes holds: floor(log10(2^(8n - 1) - 1)).
    let room = size.map_or(DECIMAL_DIGITS_MAX, |size| ((8 * size).saturating_sub(1) as f64 * 2f64.log10()) as usize);
    let most = room.min(DECIMAL_DIGITS_MAX);
    match scale {
        Some(scale) if (1..=most).contains(&precision) && scale <= precision => {
            Ok(DecimalPlan { precision, scale, size })
        }
        _ => Err(ContractError::field(
            path,
            format!("a decimal here needs a precision from 1 to {most} and a scale from 0 to the precision"),
        )),
    }
}
