//! Random pairs of schemas, one an evolution of the other, and random values of the writer's.
//!
//! Only evolutions that apache-avro resolves as Avro says; what it does otherwise is listed in `avro.rs`. Aliases are such
//! a thing: it ignores them when it resolves, so every pair has a third schema, the writer's under the contract's names,
//! which is what Avro says an alias means.

use std::collections::HashMap;

use apache_avro::types::Value as Avro;
use serde_json::{Value, json};

/// Small and reproducible: a failing seed is the whole case.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..8).for_each(|_| _ = random.next());
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 7
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        (1..items.len()).for_each(|place| items.swap(place, self.below(place + 1)));
    }
}

/// One schema three times: as its writer has it, the same under the contract's names, as the contract has it.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) writer: Value,
    pub(crate) renamed: Value,
    pub(crate) contract: Value,
}

impl Pair {
    fn same(schema: Value) -> Self {
        Self { writer: schema.clone(), renamed: schema.clone(), contract: schema }
    }
}

pub(crate) struct Pairs {
    pub(crate) random: Random,
    names: usize,
    spaced: bool,
    /// Named types that are open or finished, by their names in the writer's and in the contract's schema.
    known: Vec<(String, String)>,
}

impl Pairs {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), names: 0, spaced: seed.is_multiple_of(2), known: Vec::new() }
    }

    /// The top: a record.
    pub(crate) fn top(&mut self) -> Pair {
        self.record(0)
    }

    fn pair(&mut self, depth: usize) -> Pair {
        match self.random.below(if depth > 3 { 9 } else { 17 }) {
            0..=5 => self.primitive(),
            6 => self.fixed(),
            7 => self.enumeration(),
            8 => self.logical(),
            9 => self.wrapped(depth, "array", "items"),
            10 => self.wrapped(depth, "map", "values"),
            11 | 12 => self.nullable(depth),
            13 => self.union(depth),
            14 => self.again().unwrap_or_else(|| self.primitive()),
            _ => self.record(depth + 1),
        }
    }

    fn primitive(&mut self) -> Pair {
        const TYPES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
        let writer = self.random.pick(&TYPES);
        let contracts: &[&str] = match writer {
            "int" => &["int", "int", "long", "float", "double"],
            "long" => &["long", "long", "float", "double"],
            "float" => &["float", "double"],
            "string" => &["string", "string", "bytes"],
            "bytes" => &["bytes", "bytes", "string"],
            _ => &[writer],
        };
        let never: &[&str] = match writer {
            "null" => &["boolean", "long", "string"],
            "boolean" => &["null", "int", "string"],
            "int" | "long" => &["boolean", "string", "bytes"],
            "float" | "double" => &["int", "long", "string"],
            _ => &["boolean", "null", "int", "long"],
        };
        let contract = if self.random.percent(2) { self.random.pick(never) } else { self.random.pick(contracts) };
        Pair { writer: json!(writer), renamed: json!(writer), contract: json!(contract) }
    }

    fn logical(&mut self) -> Pair {
        let date = json!({"type": "int", "logicalType": "date"});
        let millis = json!({"type": "long", "logicalType": "timestamp-millis"});
        let mut pair = Pair::same(self.random.pick(&[date, millis]));
        if self.random.percent(30) {
            // Plain numbers that gain a meaning.
            pair.writer = pair.contract["type"].clone();
            pair.renamed = pair.writer.clone();
        }
        pair
    }

    /// A new name, and what the contract calls it.
    fn name(&mut self, prefix: &str) -> (String, String, Vec<String>) {
        self.names += 1;
        // With a namespace all of them: a name without one means another inside a namespace.
        let spaces: &[&str] = if self.spaced { &["n.", "n.m."] } else { &[""] };
        let writer = format!("{}{prefix}{}", self.random.pick(spaces), self.names);
        if self.random.percent(15) {
            let contract = format!("{}Renamed{prefix}{}", if self.spaced { "x." } else { "" }, self.names);
            return (writer.clone(), contract, vec![writer]);
        }
        (writer.clone(), writer, Vec::new())
    }

    fn fixed(&mut self) -> Pair {
        let size = self.random.below(6);
        let wanted = if self.random.percent(3) { size + 1 } else { size };
        let (from, to, aliases) = self.name("F");
        Pair {
            writer: json!({"type": "fixed", "name": from, "size": size}),
            renamed: json!({"type": "fixed", "name": to, "size": size}),
            contract: json!({"type": "fixed", "name": to, "size": wanted, "aliases": aliases}),
        }
    }

    fn enumeration(&mut self) -> Pair {
        let mut symbols: Vec<String> = (0..1 + self.random.below(6)).map(|number| format!("S{number}")).collect();
        let (from, to, aliases) = self.name("E");
        let writer = symbols.clone();
        if self.random.percent(40) {
            self.random.shuffle(&mut symbols);
        }
        if self.random.percent(30) {
            symbols.push("NEW".to_owned());
        }
        if self.random.percent(30) && symbols.len() > 1 {
            symbols.pop();
        }
        let mut contract = json!({"type": "enum", "name": to, "symbols": symbols, "aliases": aliases});
        if self.random.percent(50) {
            contract["default"] = json!(self.random.pick(&symbols));
        }
        Pair {
            writer: json!({"type": "enum", "name": from, "symbols": writer}),
            renamed: json!({"type": "enum", "name": to, "symbols": writer}),
            contract,
        }
    }

    fn wrapped(&mut self, depth: usize, kind: &str, key: &str) -> Pair {
        let inner = self.pair(depth + 1);
        let wrap = |inner: Value| json!({"type": kind, key: inner});
        Pair { writer: wrap(inner.writer), renamed: wrap(inner.renamed), contract: wrap(inner.contract) }
    }

    fn nullable(&mut self, depth: usize) -> Pair {
        let inner = self.pair(depth + 1);
        if [&inner.writer, &inner.contract].iter().any(|one| one.is_array() || **one == json!("null")) {
            return inner;
        }
        let first = self.random.percent(70);
        let wrap = |inner: &Value, first: bool| if first { json!(["null", inner]) } else { json!([inner, "null"]) };
        let (plain_writer, plain_contract) = (self.random.percent(20), self.random.percent(10));
        let turned = first ^ self.random.percent(15);
        Pair {
            writer: if plain_writer { inner.writer.clone() } else { wrap(&inner.writer, first) },
            renamed: if plain_writer { inner.renamed.clone() } else { wrap(&inner.renamed, first) },
            contract: if plain_contract { inner.contract } else { wrap(&inner.contract, turned) },
        }
    }

    /// Unions of several types: of two groups, in neither of which apache-avro takes a value for another type than Avro
    /// does.
    fn union(&mut self, depth: usize) -> Pair {
        let known = self.known.len();
        let mut branches = if self.random.percent(50) {
            let items = self.wrapped(depth, "array", "items");
            let mut simple: Vec<Pair> =
                ["null", "boolean", "int", "double", "string"].iter().map(|one| Pair::same(json!(one))).collect();
            simple.push(items);
            simple
        } else {
            let mut named: Vec<Pair> = ["null", "boolean", "long"].iter().map(|one| Pair::same(json!(one))).collect();
            named.extend([self.enumeration(), self.fixed(), self.record(depth + 1)]);
            named
        };
        // What is left out on one side cannot be named again on that side.
        self.known.truncate(known);
        self.random.shuffle(&mut branches);
        branches.truncate(2 + self.random.below(5));
        let writer: Vec<_> = branches.iter().map(|branch| branch.writer.clone()).collect();
        let renamed: Vec<_> = branches.iter().map(|branch| branch.renamed.clone()).collect();
        let mut contract: Vec<_> = branches.iter().map(|branch| branch.contract.clone()).collect();
        let chosen = self.random.below(branches.len());
        if self.random.percent(30) {
            self.random.shuffle(&mut contract);
        }
        if self.random.percent(20) {
            contract.pop();
        }
        if self.random.percent(20) {
            contract.push(json!({"type": "map", "values": "long"}));
        }
        let pair = Pair { writer: json!(writer), renamed: json!(renamed), contract: json!(contract) };
        match self.random.below(10) {
            0 => Pair { writer: writer[chosen].clone(), renamed: renamed[chosen].clone(), ..pair },
            1 => Pair { contract: branches[chosen].contract.clone(), ..pair },
            _ => pair,
        }
    }

    /// A type that was named before, itself included; recursion may end.
    fn again(&mut self) -> Option<Pair> {
        let (writer, contract) = (!self.known.is_empty()).then(|| self.random.pick(&self.known))?;
        let wrap = |name: &String| json!(["null", name]);
        Some(Pair { writer: wrap(&writer), renamed: wrap(&contract), contract: wrap(&contract) })
    }

    fn record(&mut self, depth: usize) -> Pair {
        let (from, to, aliases) = self.name("R");
        self.known.push((from.clone(), to.clone()));
        let (mut writer, mut renamed, mut contract) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..self.random.below(if depth == 0 { 9 } else { 5 }) {
            let known = self.known.len();
            let pair = self.pair(depth + 1);
            let name = format!("f{number}");
            match self.random.below(20) {
                0 | 1 => {
                    self.known.truncate(known);
                    writer.push(json!({"name": name, "type": pair.writer}));
                    renamed.push(json!({"name": name, "type": pair.renamed}));
                }
                2 | 3 => {
                    self.known.truncate(known);
                    let mut field = json!({"name": name, "type": pair.contract});
                    let default = Values::of(&pair.contract).default(&pair.contract, &mut self.random);
                    if let Some(default) = default.filter(|_| !self.random.percent(3)) {
                        field["default"] = default;
                    }
                    contract.push(field);
                }
                4 => {
                    let new = format!("g{number}");
                    writer.push(json!({"name": name, "type": pair.writer}));
                    renamed.push(json!({"name": new, "type": pair.renamed}));
                    contract.push(json!({"name": new, "type": pair.contract, "aliases": [name]}));
                }
                _ => {
                    writer.push(json!({"name": name, "type": pair.writer}));
                    renamed.push(json!({"name": name, "type": pair.renamed}));
                    contract.push(json!({"name": name, "type": pair.contract}));
                }
            }
        }
        // Types are defined where they come first, so that moved fields must not hold names that others use.
        let moved = contract.iter().all(|field| !holds_names(&field["type"]));
        if moved && self.random.percent(40) {
            self.random.shuffle(&mut contract);
        }
        Pair {
            writer: json!({"type": "record", "name": from, "fields": writer}),
            renamed: json!({"type": "record", "name": to, "fields": renamed}),
            contract: json!({"type": "record", "name": to, "fields": contract, "aliases": aliases}),
        }
    }
}

fn holds_names(schema: &Value) -> bool {
    match schema {
        Value::String(name) => name.contains(['R', 'F', 'E']),
        Value::Array(branches) => branches.iter().any(holds_names),
        Value::Object(attributes) => {
            let is = |kind: &str| attributes["type"] == kind;
            is("record") || ["items", "values"].iter().any(|key| attributes.get(*key).is_some_and(holds_names))
        }
        _ => false,
    }
}

/// Values of a schema.
pub(crate) struct Values<'a> {
    names: HashMap<String, &'a Value>,
}

impl<'a> Values<'a> {
    pub(crate) fn of(schema: &'a Value) -> Self {
        let mut values = Self { names: HashMap::new() };
        values.learn(schema);
        values
    }

    fn learn(&mut self, schema: &'a Value) {
        match schema {
            Value::Array(branches) => branches.iter().for_each(|branch| self.learn(branch)),
            Value::Object(attributes) => {
                if let Some(name) = attributes.get("name").and_then(Value::as_str) {
                    self.names.insert(name.to_owned(), schema);
                }
                ["items", "values"].iter().filter_map(|key| attributes.get(*key)).for_each(|inner| self.learn(inner));
                let fields = attributes.get("fields").and_then(Value::as_array);
                fields.into_iter().flatten().for_each(|field| self.learn(&field["type"]));
            }
            _ => {}
        }
    }

    fn kind<'b>(&'b self, schema: &'b Value) -> (&'b str, &'b Value) {
        match schema {
            Value::String(name) => match self.names.get(name) {
                Some(definition) => self.kind(definition),
                None => (name, schema),
            },
            Value::Array(_) => ("union", schema),
            _ => (schema["type"].as_str().expect("a type"), schema),
        }
    }

    /// A value as apache-avro has it. `depth` ends recursion.
    pub(crate) fn value(&self, schema: &Value, random: &mut Random, depth: usize) -> Avro {
        let (kind, schema) = self.kind(schema);
        match (kind, schema["logicalType"].as_str()) {
            (_, Some("date")) => return Avro::Date(random.next() as i32),
            (_, Some("timestamp-millis")) => return Avro::TimestampMillis(random.next() as i64),
            _ => {}
        }
        let few = if depth > 12 { 1 } else { 4 };
        match kind {
            "null" => Avro::Null,
            "boolean" => Avro::Boolean(random.percent(50)),
            "int" => Avro::Int((random.next() as i32) >> random.below(32)),
            "long" => Avro::Long(((random.next() << 7) as i64) >> random.below(64)),
            "float" => Avro::Float(random.next() as i32 as f32 / 64.0),
            "double" => Avro::Double(random.next() as i64 as f64 / 1024.0),
            "bytes" if random.percent(85) => Avro::Bytes(text(random).into_bytes()),
            "bytes" => Avro::Bytes((0..random.below(5)).map(|_| random.next() as u8).collect()),
            "string" => Avro::String(text(random)),
            "fixed" => {
                let size = schema["size"].as_u64().expect("a size") as usize;
                Avro::Fixed(size, (0..size).map(|_| random.next() as u8).collect())
            }
            "enum" => {
                let symbols = schema["symbols"].as_array().expect("symbols");
                let number = random.below(symbols.len());
                Avro::Enum(number as u32, symbols[number].as_str().expect("a symbol").to_owned())
            }
            "array" => {
                let many = if random.percent(3) { 70 } else { few };
                let count = random.below(many);
                Avro::Array((0..count).map(|_| self.value(&schema["items"], random, depth + 2)).collect())
            }
            // One entry at most: apache-avro's maps have no order, so that the bytes could not be compared.
            "map" => {
                let entry = |random: &mut Random| (text(random), self.value(&schema["values"], random, depth + 2));
                Avro::Map((0..random.below(2).min(few - 1)).map(|_| entry(random)).collect())
            }
            "record" => {
                let fields = schema["fields"].as_array().expect("fields");
                let field = |field: &Value, random: &mut Random| {
                    let name = field["name"].as_str().expect("a name").to_owned();
                    (name, self.value(&field["type"], random, depth + 1))
                };
                Avro::Record(fields.iter().map(|one| field(one, random)).collect())
            }
            "union" => {
                let branches = schema.as_array().expect("branches");
                let null = branches.iter().position(|branch| branch == "null").filter(|_| depth > 12);
                let branch = null.unwrap_or_else(|| random.below(branches.len()));
                Avro::Union(branch as u32, Box::new(self.value(&branches[branch], random, depth + 1)))
            }
            other => panic!("no such type: {other}"),
        }
    }

    /// A default, of the first branch where there is a union; ASCII where bytes are meant. `None`: the type names one
    /// that is defined elsewhere.
    fn default(&self, schema: &Value, random: &mut Random) -> Option<Value> {
        if let Value::String(name) = schema
            && name.contains(['R', 'F', 'E'])
        {
            return None;
        }
        let (kind, schema) = self.kind(schema);
        Some(match kind {
            "null" => Value::Null,
            "boolean" => json!(random.percent(50)),
            "int" => json!(random.next() as i32),
            "long" => json!(random.next() as i64 >> random.below(50)),
            "float" | "double" => json!(random.next() as i16 as f64 / 4.0),
            "bytes" | "string" => json!(format!("d{}", random.below(100))),
            "fixed" => json!("x".repeat(schema["size"].as_u64()? as usize)),
            "enum" => random.pick(schema["symbols"].as_array()?),
            "array" => {
                (0..random.below(3)).map(|_| self.default(&schema["items"], random)).collect::<Option<Value>>()?
            }
            "map" => match random.below(2) {
                0 => json!({}),
                _ => json!({"k": self.default(&schema["values"], random)?}),
            },
            "record" => {
                let mut members = json!({});
                for field in schema["fields"].as_array()? {
                    let name = field["name"].as_str()?;
                    // Some members rest on the field's own default.
                    if field.get("default").is_none() || random.percent(50) {
                        members[name] = self.default(&field["type"], random)?;
                    }
                }
                members
            }
            // For an object apache-avro takes the union's map, wherever its record stands.
            _ if schema[0]["type"] == "record" => return None,
            _ => self.default(&schema[0], random)?,
        })
    }
}

fn text(random: &mut Random) -> String {
    let length = if random.percent(3) { 200 } else { random.below(9) };
    (0..length).map(|_| random.pick(&['a', 'Z', '0', ' ', 'é', '😀', '"'])).collect()
}
