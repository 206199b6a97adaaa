//! Translation against independent answers: apache-avro's encoding of the same values, serde_json's judgement of the
//! same texts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use bridge_core::record::{Coordinates, SourcePartition};
use bridge_core::translate::{Cause, Contract, Drift, JsonPath, JsonPlan, OnUnknownField, Scratch};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A type, a JSON value of it, and what apache-avro calls that value.
type Case = (Value, Value, Avro);

fn scalar() -> impl Strategy<Value = Case> {
    prop_oneof![
        any::<i32>().prop_map(|n| (json!("int"), json!(n), Avro::Int(n))),
        any::<i64>().prop_map(|n| (json!("long"), json!(n), Avro::Long(n))),
        proptest::num::f64::NORMAL.prop_map(|n| (json!("double"), json!(n), Avro::Double(n))),
        proptest::num::f32::NORMAL.prop_map(|n| (json!("float"), json!(n), Avro::Float(n))),
        any::<bool>().prop_map(|b| (json!("boolean"), json!(b), Avro::Boolean(b))),
        Just((json!("null"), json!(null), Avro::Null)),
        any::<String>().prop_map(|s| (json!("string"), json!(s), Avro::String(s))),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(|b| {
            let text: String = b.iter().map(|byte| char::from(*byte)).collect();
            (json!("bytes"), json!(text), Avro::Bytes(b))
        }),
    ]
}

/// The same type for every item: items are made equal in type by repeating one case.
fn case() -> impl Strategy<Value = Case> {
    scalar().prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            (inner.clone(), 0usize..70).prop_map(|((schema, value, avro), count)| {
                let schema = json!({"type": "array", "items": schema});
                (schema, json!(vec![value; count]), Avro::Array(vec![avro; count]))
            }),
            (inner.clone(), proptest::option::of(any::<String>())).prop_map(|((schema, value, avro), key)| {
                let values: Map<_, _> = key.iter().map(|key| (key.clone(), value.clone())).collect();
                let avros: HashMap<_, _> = key.into_iter().map(|key| (key, avro.clone())).collect();
                (json!({"type": "map", "values": schema}), Value::Object(values), Avro::Map(avros))
            }),
            (inner.clone(), any::<bool>(), any::<bool>()).prop_map(|((schema, value, avro), first, present)| {
                if schema == json!("null") || schema.is_array() {
                    return (schema, value, avro);
                }
                let (schema, null) = if first { (json!(["null", schema]), 0) } else { (json!([schema, "null"]), 1) };
                if present {
                    (schema, value, Avro::Union(1 - null, Box::new(avro)))
                } else {
                    (schema, json!(null), Avro::Union(null, Box::new(Avro::Null)))
                }
            }),
            proptest::collection::vec(inner, 0..5).prop_map(record),
        ]
    })
}

fn record(cases: Vec<Case>) -> Case {
    let mut fields = Vec::new();
    let mut members = Map::new();
    let mut avros = Vec::new();
    for (number, (schema, value, avro)) in cases.into_iter().enumerate() {
        let name = format!("f{number}");
        fields.push(json!({"name": name, "type": schema}));
        members.insert(name.clone(), value);
        avros.push((name, avro));
    }
    (json!({"type": "record", "name": "?", "fields": fields}), Value::Object(members), Avro::Record(avros))
}

/// Gives every record of a schema a name of its own.
fn name_records(schema: &mut Value, count: &mut usize) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| name_records(item, count)),
        Value::Object(members) => {
            if members.get("name") == Some(&json!("?")) {
                members.insert("name".into(), json!(format!("R{count}")));
                *count += 1;
            }
            members.values_mut().for_each(|member| name_records(member, count));
        }
        _ => {}
    }
}

/// JSON text with the members of each object turned by `turn` places, and spaces where they may be.
fn text(value: &Value, turn: usize, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            let places = members.len().max(1);
            members.rotate_left(turn % places);
            out.push('{');
            for (number, (key, member)) in members.into_iter().enumerate() {
                out.push_str(if number > 0 { " ,\n" } else { "" });
                out.push_str(&json!(key).to_string());
                out.push_str(" : ");
                text(member, turn, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                out.push_str(if number > 0 { "," } else { "\t" });
                text(item, turn, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        proptest::num::f64::NORMAL.prop_map(|n| json!(n)),
        any::<String>().prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn translate(contract: &str, body: &[u8]) -> Result<Vec<u8>, Cause> {
    let contract = Contract::parse(contract).unwrap();
    let plan = JsonPlan::compile(&contract, OnUnknownField::DeadLetter).unwrap();
    let mut out = Vec::new();
    let source = SourcePartition { cluster_id: "c".into(), topic: "t".into(), partition: 0 };
    let coordinates = Coordinates { source: &source, offset: 7 };
    let result = plan.translate(&mut Scratch::default(), body, &coordinates, &mut out, &mut Drift::new());
    result.map(|()| out).map_err(|error| error.cause)
}

const TEXT: &str = r#"{"type":"record","name":"R","fields":[{"name":"f","type":"string","json":true}]}"#;
const STRING: &str = r#"{"type":"record","name":"R","fields":[{"name":"f","type":"string"}]}"#;

fn datum_of(text: &[u8]) -> Vec<u8> {
    let schema = Schema::parse_str(STRING).unwrap();
    let value = Avro::Record(vec![("f".into(), Avro::String(String::from_utf8(text.to_vec()).unwrap()))]);
    apache_avro::to_avro_datum(&schema, value).unwrap()
}

fn member(value: &[u8]) -> Vec<u8> {
    [b"{\"f\":", value, b"}"].concat()
}

/// What serde_json's judgement of the grammar is; numbers of any size and lone surrogates are grammar.
fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_datum_is_apache_avros_own(cases in proptest::collection::vec(case(), 0..6), turn in 0usize..6) {
        let (mut schema, value, avro) = record(cases);
        name_records(&mut schema, &mut 0);
        let mut body = String::new();
        text(&value, turn, &mut body);
        let parsed = Schema::parse(&schema).unwrap();
        let expected = apache_avro::to_avro_datum(&parsed, avro).unwrap();
        prop_assert_eq!(translate(&schema.to_string(), body.as_bytes()), Ok(expected), "{} {}", schema, body);
    }

    #[test]
    fn any_json_is_kept_as_its_text_and_broken_json_is_refused_as_by_serde(
        value in any_json(), turn in 0usize..4, place in any::<prop::sample::Index>(), byte in any::<u8>(),
        insert in any::<bool>(),
    ) {
        let mut body = String::new();
        text(&value, turn, &mut body);
        prop_assert_eq!(translate(TEXT, &member(body.as_bytes())), Ok(datum_of(body.as_bytes())));
        let mut broken = body.into_bytes();
        let place = place.index(broken.len());
        if insert { broken.insert(place, byte) } else { broken[place] = byte }
        let body = member(&broken);
        // A byte that closes the object early, or opens a second member, makes another document: judge the whole.
        let answer = translate(TEXT, &body);
        if answer.is_ok() {
            prop_assert!(is_json(&body), "taken: {:?}", broken);
        } else if is_json(&broken) {
            prop_assert!(false, "refused: {:?}", broken);
        }
    }

    #[test]
    fn near_json_is_judged_as_by_serde(soup in "[\\[\\]{},:\"0-9.eE+\\-tfnrulas\\\\ \n]{0,12}") {
        let taken = translate(TEXT, &member(soup.as_bytes())).is_ok();
        if is_json(soup.as_bytes()) {
            prop_assert!(taken, "refused {soup:?}");
        } else if taken {
            prop_assert!(is_json(&member(soup.as_bytes())), "taken {soup:?}");
        }
    }

    #[test]
    fn strings_are_decoded_as_by_serde(
        parts in proptest::collection::vec(
            prop_oneof![
                "\\\\u[0-9a-fA-F]{4}", "\\\\u[dD][89abAB][0-9a-f]{2}\\\\u[dD][c-fC-F][0-9a-f]{2}", "\\\\u[dD][89a-fA-F][0-9a-f]{2}",
                "\\\\[\"\\\\/bfnrt]", "[ -!#-\\[\\]-~é😀]{0,9}",
            ],
            0..6,
        )
    ) {
        let quoted = format!("\"{}\"", parts.concat());
        let expected = serde_json::from_str::<String>(&quoted).ok().map(|text| datum_of(text.as_bytes()));
        prop_assert_eq!(translate(STRING, &member(quoted.as_bytes())).ok(), expected, "{}", quoted);
    }
}

/// What serde_json finds at a path of two names, as a path's answer would be.
fn scalar_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

proptest! {
    #[test]
    fn paths_find_what_serde_finds(value in any_json(), around in any_json(), key in "[^.]{1,4}", pretty: bool) {
        let body = json!({"a": around, key.clone(): {"b": [1], key.clone(): value}, "z": {key.clone(): 0}});
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
        for path in [vec![key.as_str(), key.as_str()], vec![key.as_str()], vec!["a", key.as_str()], vec!["nothing"]] {
            let expected = path.iter().try_fold(&body, |value, name| value.get(name)).and_then(scalar_of);
            let path = JsonPath::parse(&path.join(".")).unwrap();
            prop_assert_eq!(path.find(text.as_bytes()).map(String::from), expected, "{:?} {}", path, text);
        }
    }

    #[test]
    fn paths_survive_any_bytes(body: Vec<u8>, cut in 0usize..=60) {
        let path = JsonPath::parse("a.b").unwrap();
        path.find(&body);
        let whole = br#"{"x":[{"\u00e9":1.5e3}],"a":{"c":null,"b":"value"},"d":true}"#;
        let found = path.find(&whole[..cut]);
        prop_assert_eq!(found.as_deref(), (cut >= 49).then_some("value"));
    }
}

#[test]
fn recursion_is_followed() {
    let schema = r#"{"type":"record","name":"Tree","namespace":"a.b","fields":[
        {"name":"next","type":["null","Tree"],"default":null},{"name":"kids","type":{"type":"array","items":"a.b.Tree"}},
        {"name":"either","type":["long","double",{"type":"enum","name":"E","symbols":["X"]},"string","boolean"]}]}"#;
    let tree = |next: Avro, kids: Vec<Avro>, branch: u32, value: Avro| {
        let next = Avro::Union(u32::from(next != Avro::Null), Box::new(next));
        let either = Avro::Union(branch, Box::new(value));
        Avro::Record(vec![("next".into(), next), ("kids".into(), Avro::Array(kids)), ("either".into(), either)])
    };
    let leaf = tree(Avro::Null, vec![], 1, Avro::Double(1.5));
    let kid = tree(Avro::Null, vec![], 2, Avro::Enum(0, "X".into()));
    let top = tree(leaf, vec![kid], 3, Avro::String("Y".into()));
    let body = r#"{"either":"Y","kids":[{"either":"X","kids":[]}],"next":{"kids":[],"next":null,"either":1.5}}"#;
    let expected = apache_avro::to_avro_datum(&Schema::parse_str(schema).unwrap(), top).unwrap();
    assert_eq!(translate(schema, body.as_bytes()), Ok(expected));
}
