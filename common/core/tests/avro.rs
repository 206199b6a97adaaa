//! Avro bodies: the rules of resolution where apache-avro has others, bounds, headers, schema ids, drift.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Instant;

use bridge_core::translate::{
    AvroPlan, AvroSchemas, AvroScratch, AvroTranslator, Cause, Contract, Drift, OnUnknownField, Permanent,
    TranslateError, WriterSchema,
};

fn contract(fields: &str) -> Contract {
    Contract::parse(&record(fields)).unwrap()
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

/// A record with the one field `f`.
fn field(kind: &str) -> String {
    record(&format!(r#"{{"name":"f","type":{kind}}}"#))
}

fn writer(schema: &str) -> Arc<WriterSchema> {
    Arc::new(WriterSchema::parse(schema, &[]).unwrap())
}

fn plan(from: &str, to: &str) -> AvroPlan {
    AvroPlan::compile(writer(from), &Contract::parse(to).unwrap(), OnUnknownField::Count).unwrap()
}

fn run(plan: &AvroPlan, body: &[u8]) -> Result<Vec<u8>, TranslateError> {
    let mut out = Vec::new();
    plan.translate(&mut AvroScratch::default(), body, &mut out, &mut Drift::new()).map(|()| out)
}

/// What one field's value becomes when its type changes.
fn becomes(from: &str, to: &str, body: &[u8]) -> Result<Vec<u8>, Cause> {
    run(&plan(&field(from), &field(to)), body).map_err(|error| error.cause)
}

/// apache-avro takes all of these; Avro's specification does not.
#[test]
fn what_only_apache_avro_takes_is_refused() {
    let refused =
        |from: &str, to: &str, body: &[u8]| assert_eq!(becomes(from, to, body), Err(Cause::WrongType), "{to}");
    refused(r#""long""#, r#""int""#, &[2]);
    refused(r#""double""#, r#""float""#, &[0; 8]);
    refused(r#""double""#, r#""int""#, &[0; 8]);
    refused(r#""string""#, r#"{"type":"enum","name":"E","symbols":["A"]}"#, b"\x02A");
    refused(r#""string""#, r#"{"type":"fixed","name":"F","size":1}"#, b"\x02A");
    refused(r#"{"type":"fixed","name":"F","size":1}"#, r#""string""#, b"A");
    refused(r#"{"type":"array","items":"int"}"#, r#""bytes""#, &[2, 2, 0]);
    refused(r#"{"type":"map","values":"int"}"#, r#"{"type":"record","name":"M","fields":[]}"#, &[0]);
    // Named types must have the same name, or an alias.
    let named = |name: &str| format!(r#"{{"type":"enum","name":"{name}","symbols":["A"]}}"#);
    refused(&named("one.E"), &named("one.Other"), &[0]);
    assert_eq!(becomes(&named("one.E"), &named("two.E"), &[0]), Ok(vec![0]), "the last part of the name is enough");
    let top = plan(&field(r#""int""#).replace("\"R\"", "\"Unlike\""), &field(r#""int""#));
    assert_eq!(top.never(), Some("the contract's record R does not take the writer's record Unlike"));
}

/// And these apache-avro refuses, or takes for something else.
#[test]
fn what_apache_avro_takes_otherwise_goes_by_the_specification() {
    let millis = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    assert_eq!(becomes(millis, r#""long""#, &[2]), Ok(vec![2]), "a logical type that one side lacks means nothing");
    assert_eq!(becomes(r#"{"type":"string","logicalType":"uuid"}"#, r#""string""#, b"\x02x"), Ok(b"\x02x".to_vec()));
    let decimal = |precision: u32, scale: u32| {
        format!(r#"{{"type":"bytes","logicalType":"decimal","precision":{precision},"scale":{scale}}}"#)
    };
    assert_eq!(becomes(&decimal(4, 2), &decimal(6, 2), &[2, 1]), Ok(vec![2, 1]));
    assert_eq!(
        becomes(&decimal(4, 2), &decimal(6, 3), &[2, 1]),
        Err(Cause::WrongType),
        "another value, ten times less"
    );
    let micros = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
    assert_eq!(becomes(millis, micros, &[2]), Err(Cause::WrongType));
    // The same type goes before one that it can be promoted to, and a long is never taken for an int.
    assert_eq!(becomes(r#""long""#, r#"["int","double","long"]"#, &[2]), Ok(vec![4, 2]));
    assert_eq!(becomes(r#""long""#, r#"["int","double"]"#, &[2]), Ok([&[2][..], &1f64.to_le_bytes()].concat()));
    // A fixed of 16 bytes that is a UUID has no length.
    let uuid = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
    assert_eq!(becomes(uuid, uuid, &[7; 16]), Ok(vec![7; 16]));
    // Of records in a union the one of the same name is meant, and only then one of the same last part.
    let one = |name: &str| format!(r#"{{"type":"record","name":"{name}","fields":[]}}"#);
    let union = format!(r#"["null",{},{}]"#, one("b.X"), one("a.X"));
    assert_eq!(becomes(&one("a.X"), &union, &[]), Ok(vec![4]));
    assert_eq!(becomes(&one("c.X"), &union, &[]), Ok(vec![2]));
}

const ALIASED: &str = r#"{"name":"new","type":"int","aliases":["old"]}"#;

#[test]
fn aliases_of_fields_give_way_to_names() {
    let to = |fields: &str| contract(fields);
    let from = record(r#"{"name":"old","type":"int"},{"name":"kept","type":"int"}"#);
    let compiled = |contract: &Contract| {
        AvroPlan::compile(writer(&from), contract, OnUnknownField::Count).map(|plan| run(&plan, &[2, 4])).unwrap()
    };
    let new = to(r#"{"name":"kept","type":"int"},{"name":"new","type":"int","aliases":["older","old"]}"#);
    assert_eq!(compiled(&new), Ok(vec![4, 2]));
    let from = record(r#"{"name":"old","type":"int"},{"name":"new","type":"int"}"#);
    let compiled = AvroPlan::compile(writer(&from), &to(ALIASED), OnUnknownField::Count).unwrap();
    assert_eq!(run(&compiled, &[2, 4]), Ok(vec![4]));
    let twice = format!(r#"{ALIASED},{{"name":"old","type":"int"}}"#);
    assert!(Contract::parse(&record(&twice)).is_err(), "so no field of a writer is taken twice");
}

#[test]
fn defaults_are_the_contracts_bytes() {
    let datum = |kind: &str, default: &str| {
        let field = format!(r#"{{"name":"f","type":{kind},"default":{default}}}"#);
        run(&plan(&record(""), &record(&field)), &[]).map_err(|error| error.cause)
    };
    assert_eq!(
        datum(r#""bytes""#, r#""\u00ff""#),
        Ok(vec![2, 0xFF]),
        "characters are bytes; apache-avro has their UTF-8"
    );
    assert_eq!(datum(r#""double""#, "1"), Ok(1f64.to_le_bytes().to_vec()));
    assert_eq!(datum(r#"["null","long"]"#, "null"), Ok(vec![0]));
    assert_eq!(datum(r#"{"type":"array","items":"int"}"#, "[1,-1]"), Ok(vec![4, 2, 1, 0]));
    let inner =
        r#"{"type":"record","name":"I","fields":[{"name":"a","type":"int","default":5},{"name":"b","type":"string"}]}"#;
    assert_eq!(datum(inner, r#"{"b":"x"}"#), Ok(b"\x0a\x02x".to_vec()));
    let derived = contract(r#"{"name":"d","type":["null","string"],"path":["f","id"]}"#);
    let derived = AvroPlan::compile(writer(&record("")), &derived, OnUnknownField::Count).unwrap();
    assert_eq!(run(&derived, &[]), Ok(vec![0]), "what JSON bodies fill by path is null");
}

#[test]
fn faults_name_the_field_and_never_the_content() {
    let from = field(r#"{"type":"array","items":{"type":"map","values":["null","string"]}}"#);
    let same = plan(&from, &from);
    assert!(same.is_identity());
    let fault = |body: &[u8]| run(&same, body).map_err(|error| (error.cause, error.path)).unwrap_err();
    assert_eq!(fault(b"\x02\x02\x02k\x02\x02\xFF\0\0"), (Cause::InvalidUtf8, "f[0]{}".to_owned()));
    assert_eq!(fault(b"\x02\x02\x02k\x04"), (Cause::NotAvro, "f[0]{}".to_owned()));
    assert_eq!(fault(b"\x02\x02\x02k"), (Cause::Truncated, "f[0]{}".to_owned()));
    assert_eq!(fault(b"\x02\x02"), (Cause::Truncated, "f[0]".to_owned()));
    assert_eq!(fault(b"\0secret").0, Cause::TrailingBytes);
    let error = run(&same, b"\0secret").unwrap_err().to_string();
    assert_eq!(error, "trailing_bytes at the top: 6 bytes follow the record");
    let symbols = |symbols: &str| field(&format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]}}"#));
    let gone = plan(&symbols(r#""A","B""#), &symbols(r#""A""#));
    assert_eq!(run(&gone, &[0]), Ok(vec![0]));
    assert_eq!(run(&gone, &[2]).unwrap_err().cause, Cause::BadEnumSymbol);
    let missing = plan(&record(""), &field(r#""int""#));
    let error = run(&missing, &[]).unwrap_err();
    assert_eq!((error.cause, error.path.as_str()), (Cause::MissingField, "f"));
}

/// Arrays may come in blocks that say their size.
#[test]
fn blocks_with_sizes_are_read_and_their_sizes_checked() {
    let array = |items: &str| format!(r#"{{"type":"array","items":{items}}}"#);
    let (ints, doubles) = (array(r#""int""#), array(r#""double""#));
    let body = [1, 2, 6, 3, 4, 8, 10, 0];
    assert_eq!(becomes(&ints, &ints, &body), Ok(body.to_vec()));
    let mut wide = vec![2];
    wide.extend(3f64.to_le_bytes());
    wide.push(4);
    wide.extend([4f64.to_le_bytes(), 5f64.to_le_bytes()].concat());
    wide.push(0);
    assert_eq!(becomes(&ints, &doubles, &body), Ok(wide));
    for to in [&ints, &doubles] {
        assert_eq!(becomes(&ints, to, &[1, 4, 6, 0, 0]), Err(Cause::NotAvro), "a size that is not the block's");
        assert_eq!(becomes(&ints, to, &[1, 20, 6, 0]), Err(Cause::Truncated));
        assert_eq!(becomes(&ints, to, &[1, 1, 6, 0]), Err(Cause::NotAvro));
        let endless = [&[0xFF; 9][..], &[1, 0]].concat();
        assert_eq!(becomes(&ints, to, &endless), Err(Cause::Truncated), "2^63 items");
        assert_eq!(becomes(&ints, to, &[0xFF; 12]), Err(Cause::NotAvro), "more than 64 bits");
    }
}

/// Few bytes that claim much: an error at once, without the memory or the time that they claim.
#[test]
fn claims_are_bounded() {
    let began = Instant::now();
    let array = |items: &str| field(&format!(r#"{{"type":"array","items":{items}}}"#));
    let many = |count: u64| {
        let mut varint = Vec::new();
        let mut rest = count << 1;
        while rest >= 0x80 {
            varint.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        varint.extend([rest as u8, 0]);
        varint
    };
    let nulls = array(r#""null""#);
    for to in [&nulls, &array(r#"["string","null"]"#)] {
        let nulls = plan(&nulls, to);
        assert_eq!(run(&nulls, &many(1 << 60)).unwrap_err().cause, Cause::ExpandsTooFar);
        assert!(run(&nulls, &many(60_000)).is_ok());
        let blocks = many(60_000)[..3].repeat(2);
        assert_eq!(run(&nulls, &blocks).unwrap_err().cause, Cause::ExpandsTooFar, "all blocks together");
    }
    let empty = array(r#"{"type":"record","name":"N","fields":[{"name":"x","type":"null"}]}"#);
    assert_eq!(run(&plan(&empty, &empty), &many(1 << 61)).unwrap_err().cause, Cause::ExpandsTooFar);
    let text = field(r#""string""#);
    assert_eq!(run(&plan(&text, &text), &many(1 << 61)).unwrap_err().cause, Cause::Truncated);

    // A record that holds itself never ends, and one that holds the next twice is 2^60 records in no bytes.
    let itself = r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#;
    assert_eq!(run(&plan(itself, itself), &[]).unwrap_err().cause, Cause::TooDeep);
    let mut twice = r#"{"type":"record","name":"T0","fields":[{"name":"x","type":"null"}]}"#.to_owned();
    for level in 1..25 {
        let before = level - 1;
        twice = format!(
            r#"{{"type":"record","name":"T{level}","fields":[{{"name":"a","type":{twice}}},{{"name":"b","type":"T{before}"}}]}}"#
        );
    }
    let wider = twice.replace(r#""x","type":"null""#, r#""x","type":["null","int"]"#);
    assert_eq!(run(&plan(&field(&twice), &field(&twice)), &[]), Ok(vec![]));
    assert_eq!(run(&plan(&field(&twice), &field(&wider)), &[]).unwrap_err().cause, Cause::ExpandsTooFar);

    // Items of one byte that become a hundred thousand.
    let item = |fields: &str| {
        array(&format!(r#"{{"type":"record","name":"I","fields":[{{"name":"n","type":"int"}}{fields}]}}"#))
    };
    let long = format!(r#",{{"name":"long","type":"string","default":"{}"}}"#, "x".repeat(100_000));
    let mut body = many(1_000);
    body.splice(2..2, [0; 1_000]);
    assert_eq!(run(&plan(&item(""), &item(&long)), &body).unwrap_err().cause, Cause::ExpandsTooFar);
    let depth = |count: usize| [vec![2; count], vec![0]].concat();
    let list = r#"{"type":"record","name":"R","fields":[{"name":"next","type":["null","R"]}]}"#;
    let other = list.replace(r#"["null","R"]"#, r#"["null","R","int"]"#).replace("next\"", "next\",\"doc\":\"\"");
    for to in [list, &other.replace(r#"["null","R","int"]"#, r#"["int","null","R"]"#)] {
        assert!(run(&plan(list, to), &depth(127)).is_ok());
        assert_eq!(run(&plan(list, to), &depth(128)).unwrap_err().cause, Cause::TooDeep);
        assert_eq!(run(&plan(list, to), &depth(1_000_000)).unwrap_err().cause, Cause::TooDeep);
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

/// Schemas come from outside as well.
#[test]
fn schemas_that_are_deep_or_large_are_refused() {
    let chain: String = (1..2_000)
        .map(|level| {
            let before = level - 1;
            format!(r#",{{"name":"f{level}","type":{{"type":"record","name":"C{level}","fields":[{{"name":"x","type":"C{before}"}}]}}}}"#)
        })
        .collect();
    let first = r#"{"name":"f0","type":{"type":"record","name":"C0","fields":[]}}"#;
    let deep = format!(r#"{{"type":"record","name":"R","fields":[{{"name":"top","type":"null"}},{first}{chain}]}}"#);
    let last_first = deep.clone();
    let answer = AvroPlan::compile(writer(&deep), &Contract::parse(&last_first).unwrap(), OnUnknownField::Count);
    // Each link is compiled by itself, in order: no deep call.
    assert!(answer.is_ok() || answer.unwrap_err().to_string().contains("too large"));
    let many =
        (0..20_001).map(|n| format!(r#"{{"type":"array","items":"int","x":{n}}}"#)).collect::<Vec<_>>().join(",");
    let many = WriterSchema::parse(&format!("[{many}]"), &[]).unwrap_err().to_string();
    assert!(many.contains("more than 20000 types"), "{many}");
}

#[test]
fn fields_that_the_contract_lacks_are_drift() {
    let inner = |fields: &str| {
        format!(
            r#"{{"name":"in","type":{{"type":"array","items":{{"type":"record","name":"I","fields":[{fields}]}}}}}}"#
        )
    };
    let from = record(&format!(
        r#"{{"name":"a","type":"int"}},{{"name":"b","type":"string"}},{}"#,
        inner(r#"{"name":"x","type":"int"},{"name":"y","type":"int"}"#)
    ));
    let to = contract(&format!(r#"{{"name":"a","type":"long"}},{}"#, inner(r#"{"name":"y","type":"int"}"#)));
    let compile = |on_unknown| AvroPlan::compile(writer(&from), &to, on_unknown).unwrap();
    let mut drift = Drift::new();
    let (mut scratch, mut out) = (AvroScratch::default(), Vec::new());
    let counted = compile(OnUnknownField::Count);
    for body in [&b"\x02\x02x\x04\x02\x04\x06\x08\0"[..], b"\x02\x02x\0"] {
        counted.translate(&mut scratch, body, &mut out, &mut drift).unwrap();
    }
    assert_eq!(out, [&[2, 4, 4, 8, 0][..], &[2, 0]].concat());
    let mut counts: Vec<_> = drift.counts().collect();
    counts.sort();
    assert_eq!(counts, [("b", 2), ("in.x", 1)], "once per record, and only where they came");
    let fault = run(&compile(OnUnknownField::DeadLetter), b"\x02\x02x\0").unwrap_err();
    assert_eq!((fault.cause, fault.path.as_str()), (Cause::UnknownField, "b"));
    assert_eq!(run(&compile(OnUnknownField::Ignore), b"\x02\x02x\0"), Ok(vec![2, 0]));
}

fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

#[test]
fn bodies_with_a_header_wait_for_their_schema() {
    let schemas =
        Arc::new(AvroSchemas::to_contract(Arc::new(contract(r#"{"name":"f","type":"long"}"#)), OnUnknownField::Count));
    let (mut lane, mut other) =
        (AvroTranslator::registered(schemas.clone()), AvroTranslator::registered(schemas.clone()));
    let translate = |lane: &mut AvroTranslator, body: &[u8]| {
        let mut out = Vec::new();
        assert_eq!(lane.missing(body), None);
        lane.translate(body, &mut out, &mut Drift::new()).map(|()| out).map_err(|error| error.cause)
    };
    let body = framed(7, &[2]);
    assert_eq!(lane.missing(&body), Some(7));
    schemas.install(7, WriterSchema::parse(&field(r#""int""#), &[]).map_err(Permanent::Unusable));
    assert_eq!((translate(&mut lane, &body), translate(&mut other, &body)), (Ok(vec![2]), Ok(vec![2])));
    assert_eq!(translate(&mut lane, &framed(7, &[])), Err(Cause::Truncated));

    // Headers that no registry wrote ask for nothing.
    for (body, cause) in [
        (&b""[..], Cause::Truncated),
        (&[0, 0, 0], Cause::Truncated),
        (b"{\"event_id\":1}", Cause::BadMagic),
        (&[0, 0, 0, 0, 0, 2], Cause::UnusableSchema),
        (&[0, 0xFF, 0xFF, 0xFF, 0xFF, 2], Cause::UnusableSchema),
    ] {
        assert_eq!(translate(&mut lane, body), Err(cause), "{body:?}");
    }

    // An id that the registry does not know is a dead letter until somebody says that it may be known now.
    schemas.install(8, Err(Permanent::Unknown("Schema 8 not found".to_owned())));
    assert_eq!(translate(&mut lane, &framed(8, &[2])), Err(Cause::UnusableSchema));
    schemas.forget_unknown();
    assert_eq!((lane.missing(&framed(8, &[2])), lane.missing(&body)), (Some(8), None));
    schemas.install(9, Err(Permanent::OtherType("PROTOBUF".to_owned())));
    let mut out = Vec::new();
    assert_eq!(lane.missing(&framed(9, &[2])), None);
    let error = lane.translate(&framed(9, &[2]), &mut out, &mut Drift::new()).unwrap_err().to_string();
    assert!(error.contains("PROTOBUF") && error.contains("format = \"bytes\""), "{error}");
}

#[test]
fn the_ids_kept_are_bounded_and_the_one_in_use_stays() {
    let schemas = Arc::new(AvroSchemas::mirror().with_room_for(2));
    let mut lane = AvroTranslator::registered(schemas.clone());
    let install = |id: u32| schemas.install(id, WriterSchema::parse(r#""int""#, &[]).map_err(Permanent::Unusable));
    (1..=2).for_each(install);
    assert_eq!(lane.missing(&framed(1, &[2])), None);
    install(3);
    assert_eq!(
        AvroTranslator::registered(schemas.clone()).missing(&framed(2, &[2])),
        Some(2),
        "the least recently used"
    );
    // Pushed out while this lane holds it: it still translates.
    assert_eq!(lane.missing(&framed(1, &[2])), None);
    (4..=9).for_each(install);
    let mut out = Vec::new();
    lane.translate(&framed(1, &[2]), &mut out, &mut Drift::new()).unwrap();
    assert_eq!(out, [2]);
    assert_eq!(AvroTranslator::registered(schemas.clone()).missing(&framed(1, &[2])), Some(1));
}

#[test]
fn mirrored_bodies_are_untouched_and_name_their_schema() {
    let schemas = Arc::new(AvroSchemas::mirror());
    let mut lane = AvroTranslator::registered(schemas.clone());
    let reference = r#"{"type":"enum","name":"n.E","symbols":["A","B"]}"#.to_owned();
    let schema = WriterSchema::parse(&field(r#"["null","n.E"]"#), &[reference]);
    schemas.install(5, schema.map_err(Permanent::Unusable));
    let body = framed(5, &[2, 2]);
    let mut out = Vec::new();
    assert_eq!(lane.missing(&body), None);
    lane.translate(&body, &mut out, &mut Drift::new()).unwrap();
    let (id, text) = lane.writer_schema_of(&body).unwrap();
    assert_eq!((out, id), (vec![2, 2], 5));
    apache_avro::Schema::parse_str(&text).expect("with the types that it refers to");
    assert_eq!(lane.writer_schema_of(&framed(6, &[2, 2])), None);
    let mut lane_of = |body: &[u8]| lane.translate(body, &mut Vec::new(), &mut Drift::new()).unwrap_err().cause;
    assert_eq!((lane_of(&framed(5, &[2, 4])), lane_of(&framed(5, &[2, 2, 0]))), (Cause::NotAvro, Cause::TrailingBytes));
}

#[test]
fn bodies_without_a_header_have_the_given_schema() {
    let mut lane = AvroTranslator::raw(Arc::new(plan(&field(r#""int""#), &field(r#""double""#))));
    let mut out = Vec::new();
    assert_eq!(lane.missing(&[6]), None);
    lane.translate(&[6], &mut out, &mut Drift::new()).unwrap();
    assert_eq!(out, 3f64.to_le_bytes());
}

/// Not a test: figures, by a release build. `cargo test --release -p bridge-core --test avro -- --ignored --nocapture cost`
#[test]
#[ignore = "figures, not a test"]
fn cost_of_a_million_records() {
    let fields = r#"{"name":"event_id","type":"string"},{"name":"event_type","type":"string"},
        {"name":"timestamp","type":"string"},{"name":"correlation_id","type":["null","string"],"default":null},
        {"name":"user_id","type":["null","string"],"default":null},{"name":"schema_version","type":"int","default":1},
        {"name":"tags","type":{"type":"array","items":"string"}},{"name":"payload","type":"string"}"#;
    let text = |text: &str| [&[(text.len() * 2) as u8][..], text.as_bytes()].concat();
    let payload = "p".repeat(60);
    let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let body = [
        text(id),
        text("job.status.changed"),
        text("2026-01-01T00:00:00.000Z"),
        vec![2],
        text(id),
        vec![2],
        text(id),
        vec![2],
        vec![4],
        text("astronomy"),
        text("priority"),
        vec![0],
        text(&payload),
    ]
    .concat();
    let from = record(fields);
    let widened = record(
        &fields
            .replace(r#""type":"int""#, r#""type":"double""#)
            .replace(r#"{"name":"tags""#, r#"{"name":"trace","type":["null","string"],"default":null},{"name":"tags""#),
    );
    let turned = record(
        r#"{"name":"payload","type":"string"},{"name":"user_id","type":"string"},
        {"name":"event_id","type":"string"},{"name":"timestamp","type":"string"}"#,
    );
    for (name, to) in [("identity", &from), ("widened", &widened), ("reordered", &turned)] {
        let plan = plan(&from, to);
        let (mut scratch, mut out, mut drift) = (AvroScratch::default(), Vec::new(), Drift::new());
        let began = Instant::now();
        for _ in 0..1_000_000 {
            out.clear();
            plan.translate(&mut scratch, &body, &mut out, &mut drift).unwrap();
        }
        println!("{name}: {} bytes, {:.3} s per million", body.len(), began.elapsed().as_secs_f64());
    }
}
