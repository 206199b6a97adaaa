//! Bodies of records, against any bytes and every contract that ships; writers' schemas; paths into JSON.

use std::path::Path;
use std::sync::Arc;

use apache_avro::{Schema, from_avro_datum};
use bridge_common::record::{Coordinates, SourcePartition};
use bridge_common::translate::{
    AvroPlan, AvroSchemas, AvroScratch, AvroTranslator, Cause, Contract, Drift, JsonPath, JsonPlan, OnUnknownField,
    Scratch, WriterSchema,
};
use serde_json::Value;

use crate::engine::{Outcome, Plan, fuzz, reference};

/// Every contract that ships, and one with all that a contract may have.
fn contracts() -> Vec<Contract> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let streams = ["job-lifecycle", "job-metrics", "notifications", "audit-trail", "broker-metrics"];
    let shipped = streams.map(|stream| root.join(format!("../bridges/{stream}/contract.avsc")));
    let all = shipped.into_iter().chain([root.join("tests/fuzz/everything.avsc")]);
    let parse = |path| Contract::parse(&std::fs::read_to_string(path).expect("a contract")).expect("a contract");
    all.map(parse).collect()
}

/// What serde_json's judgement of the grammar is; numbers of any size and lone surrogates are grammar.
fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

/// Panics unless `datum` is one datum of the schema, by apache-avro's judgement. It also looks whether a string that is
/// marked as a UUID is one: of JSON we do too, an Avro writer's bytes pass as they are.
fn is_datum(schema: &Schema, datum: &[u8], of_avro: bool) {
    let mut rest = datum;
    match from_avro_datum(schema, &mut rest, None) {
        Ok(_) => {}
        Err(error) if of_avro && error.to_string().contains("to UUID") => return,
        Err(error) => panic!("{}: {error}", schema.canonical_form()),
    }
    assert!(rest.is_empty(), "{} bytes behind the datum", rest.len());
}

#[test]
fn json_to_avro() {
    let contracts = contracts();
    let policies = [OnUnknownField::Count, OnUnknownField::DeadLetter, OnUnknownField::Ignore];
    let compile = |(contract, policy)| JsonPlan::compile(contract, policy).expect("a contract that ships");
    let plans: Vec<JsonPlan> = contracts.iter().zip(policies.into_iter().cycle()).map(compile).collect();
    let source = SourcePartition { cluster_id: "c".into(), topic: "t".into(), partition: 0 };
    let coordinates = Coordinates { source: &source, offset: 7 };
    // Few bytes of JSON become a record of defaults: the contract says how many.
    fuzz(Plan { name: "json", inputs: 8_000, growth: 120 }, |body| {
        let (mut kind, mut bytes) = (String::new(), 0);
        for (contract, plan) in contracts.iter().zip(&plans) {
            let (mut out, mut drift) = (b"before".to_vec(), Drift::new());
            match plan.translate(&mut Scratch::default(), body, &coordinates, &mut out, &mut drift) {
                Ok(()) => {
                    assert!(is_json(body), "taken, and not JSON");
                    kind += "ok ";
                    // apache-avro's recursion needs far more stack than ours, which takes the deepest body that there may be.
                    let braces = body.iter().filter(|byte| **byte == b'{').count();
                    if out.len() < 100_000 && braces < 24 {
                        reference(|| is_datum(contract.schema(), &out[6..], false));
                    }
                }
                Err(error) => {
                    assert_eq!(out, b"before", "what was there stays");
                    assert!(error.cause != Cause::NotJson || !is_json(body), "refused, and JSON: {error}");
                    assert!(error.path.len() < 64 * 1024, "a path is short");
                    kind += &format!("{error} ");
                }
            }
            bytes += out.len();
        }
        Outcome { kind, bytes }
    });
}

#[test]
fn json_path() {
    let paths = ["event_id", "payload.job_id", "a.b.c"].map(|text| (text, JsonPath::parse(text).expect("a path")));
    fuzz(Plan { name: "json-path", inputs: 40_000, growth: 8 }, |body| {
        let mut kind = String::new();
        let value = reference(|| serde_json::from_slice::<Value>(body));
        for (text, path) in &paths {
            let found = path.find(body);
            kind += if found.is_some() { "x" } else { "-" };
            // serde_json keeps the last of a repeated name, a path the first: judged where none is repeated.
            let times = |name: &str| body.windows(name.len()).filter(|window| *window == name.as_bytes()).count();
            let Ok(value) = &value else { continue };
            if body.contains(&b'\\') || text.split('.').any(|name| times(name) > 1) {
                continue;
            }
            let expected = text.split('.').try_fold(value, |value, name| value.get(name));
            match expected {
                Some(Value::String(expected)) => assert_eq!(found.as_deref(), Some(expected.as_str())),
                Some(Value::Bool(expected)) => assert_eq!(found, Some(expected.to_string().into())),
                Some(Value::Number(expected)) => {
                    let found: f64 = found.expect("a number is found").parse().expect("it is a number");
                    assert!(expected.as_f64().is_none_or(|expected| expected == found));
                }
                _ => assert_eq!(found, None),
            }
        }
        Outcome::new(format!("{kind}{}", value.is_ok()))
    });
}

#[test]
fn json_path_from_text() {
    fuzz(Plan { name: "json-path-text", inputs: 20_000, growth: 100 }, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(path) = JsonPath::parse(&text) else { return Outcome::new("no path") };
        let mut body = Value::from("found");
        for name in text.split('.').rev() {
            body = Value::Object([(name.to_owned(), body)].into_iter().collect());
        }
        let body = body.to_string();
        assert_eq!(path.find(body.as_bytes()).as_deref(), Some("found"), "{body}");
        Outcome { kind: "a path".to_owned(), bytes: 10 * body.len() + (1 << 20) }
    });
}

/// A schema's text, a line, and a body.
fn schema_and_body(bytes: &[u8]) -> (&[u8], &[u8]) {
    const LINE: &[u8] = b"\n===\n";
    match bytes.windows(LINE.len()).position(|window| window == LINE) {
        Some(at) => (&bytes[..at], &bytes[at + LINE.len()..]),
        None => (bytes, &[]),
    }
}

#[test]
fn avro_with_any_schema() {
    let contracts = contracts();
    fuzz(Plan { name: "avro", inputs: 3_000, growth: 2000 }, |bytes| {
        let (schema, body) = schema_and_body(bytes);
        let text = String::from_utf8_lossy(schema);
        let writer = match WriterSchema::parse(&text, &[]) {
            Ok(writer) => Arc::new(writer),
            Err(error) => return Outcome::new(error.to_string().chars().take(30).collect::<String>()),
        };
        let untouched = AvroPlan::untouched(Arc::clone(&writer));
        let mut out = Vec::new();
        let mut kind = match untouched.translate(&mut AvroScratch::default(), body, &mut out, &mut Drift::new()) {
            Ok(()) => {
                assert_eq!(out, body, "what passes is what came");
                "passes ".to_owned()
            }
            Err(error) => error.cause.to_string(),
        };
        let mut made = 0;
        for contract in &contracts {
            let plan = match AvroPlan::compile(Arc::clone(&writer), contract, OnUnknownField::Count) {
                Ok(plan) => plan,
                Err(error) => {
                    kind += &error.to_string();
                    continue;
                }
            };
            let mut out = Vec::new();
            match plan.translate(&mut AvroScratch::default(), body, &mut out, &mut Drift::new()) {
                Ok(()) if out.len() < 100_000 => {
                    reference(|| is_datum(contract.schema(), &out, true));
                    kind += " ok";
                }
                Ok(()) => kind += " long",
                Err(error) => {
                    assert!(out.is_empty());
                    kind += error.cause.as_str();
                }
            }
            made += out.len();
        }
        Outcome { kind, bytes: made }
    });
}

#[test]
fn schemas_with_references() {
    fuzz(Plan { name: "avro-references", inputs: 5_000, growth: 2000 }, |bytes| {
        let (schema, references) = schema_and_body(bytes);
        let references = String::from_utf8_lossy(references);
        let references: Vec<String> = references.split("\n===\n").map(str::to_owned).collect();
        match WriterSchema::parse(&String::from_utf8_lossy(schema), &references) {
            Ok(schema) => {
                let again = WriterSchema::parse(schema.json(), &[]).expect("one text that stands by itself");
                assert_eq!(again.json(), schema.json());
                Outcome { kind: "a schema".to_owned(), bytes: schema.json().len() }
            }
            Err(error) => Outcome::new(error.to_string().chars().take(40).collect::<String>()),
        }
    });
}

#[test]
fn confluent_avro() {
    let contracts = contracts();
    let everything = contracts.last().expect("there are some");
    let schemas = AvroSchemas::to_contract(Arc::new(everything.clone()), OnUnknownField::Count);
    let schema = WriterSchema::parse(everything.schema_json(), &[]).expect("a contract is a schema");
    schemas.install(1, Ok(schema));
    schemas.install(2, WriterSchema::parse("\"string\"", &[]).map_err(|_| unreachable!()));
    let schemas = Arc::new(schemas);
    fuzz(Plan { name: "confluent", inputs: 20_000, growth: 20 }, |body| {
        let mut translator = AvroTranslator::registered(Arc::clone(&schemas));
        if let Some(id) = translator.missing(body) {
            assert!(id > 2 && body[1..5] == id.to_be_bytes());
            return Outcome::new("another schema");
        }
        let mut out = Vec::new();
        match translator.translate(body, &mut out, &mut Drift::new()) {
            Ok(()) => {
                assert_eq!(out, &body[5..], "the same schema: the same bytes");
                reference(|| is_datum(everything.schema(), &out, true));
                Outcome { kind: "ok".to_owned(), bytes: out.len() }
            }
            Err(error) => Outcome::new(error.to_string()),
        }
    });
}
