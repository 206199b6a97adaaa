//! The oracle against hand-made cases and against what the generator says.

use super::*;
use crate::events::{Events, Kind, Shares};
use crate::streams::Stream;

const CONTRACT: &str = r#"{"type":"record","name":"JobLifecycleEvent","namespace":"com.cosmichorizons.events","fields":[
    {"name":"event_id","type":"string"},
    {"name":"timestamp","type":"string"},
    {"name":"schema_version","type":"int","default":1},
    {"name":"payload","type":"string","json":true},
    {"name":"job_id","type":["null","string"],"default":null,"path":["payload","job_id"]},
    {"name":"tags","type":["null",{"type":"array","items":"string"}],"default":null}]}"#;

fn decoded(json: &str) -> Vec<(String, Value)> {
    let oracle = Oracle::parse(CONTRACT).unwrap();
    let datum = oracle.translate(json.as_bytes(), None).unwrap();
    match apache_avro::from_avro_datum(&oracle.schema, &mut datum.as_slice(), None).unwrap() {
        Value::Record(fields) => fields,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_payload_is_kept_byte_for_byte_and_the_job_is_lifted_out_of_it() {
    let fields =
        decoded(r#"{"payload": {"b" : 1.50, "job_id":"j\u00e9"} ,"event_id":"e","timestamp":"t","tags":["x"]}"#);
    let field = |name| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()).unwrap();
    assert_eq!(field("payload"), Value::String(r#"{"b" : 1.50, "job_id":"j\u00e9"}"#.to_owned()));
    assert_eq!(field("job_id"), Value::Union(1, Box::new(Value::String("jé".to_owned()))));
    assert_eq!(field("schema_version"), Value::Int(1));
    assert_eq!(field("tags"), Value::Union(1, Box::new(Value::Array(vec![Value::String("x".to_owned())]))));
}

#[test]
fn exactly_the_broken_events_of_the_generator_are_refused() {
    let oracle = Oracle::parse(CONTRACT).unwrap();
    let mut events = Events::new(Stream::JobLifecycle, 11, Shares { broken: 0.3, ..Shares::default() });
    for _ in 0..5_000 {
        let kind = events.advance(1_767_225_599_999);
        if let Some(value) = events.value() {
            assert_eq!(oracle.translate(value, None).is_err(), kind.is_broken(), "{kind:?}");
        } else {
            assert_eq!(kind, Kind::Tombstone);
        }
    }
}

#[test]
fn numbers_out_of_range_wrong_types_and_trailing_bytes_are_refused() {
    let oracle = Oracle::parse(CONTRACT).unwrap();
    for json in [
        r#"{"event_id":"e","timestamp":"t","payload":{},"schema_version":2147483648}"#,
        r#"{"event_id":"e","timestamp":"t","payload":{},"schema_version":1.5}"#,
        r#"{"event_id":"e","timestamp":"t","payload":{},"schema_version":"1"}"#,
        r#"{"event_id":"e","timestamp":"t","payload":{},"tags":[1]}"#,
        r#"{"event_id":"e","timestamp":"t"}"#,
        r#"{"event_id":"e","timestamp":"t","payload":{}} x"#,
        r#"["event_id"]"#,
    ] {
        assert!(oracle.translate(json.as_bytes(), None).is_err(), "{json}");
    }
}

#[test]
fn every_contract_of_the_repository_takes_exactly_what_the_generator_calls_sound() {
    for stream in Stream::ALL {
        let Ok(oracle) = Oracle::from_file(&stream.contract()) else {
            panic!("no contract for {stream} in {}", stream.contract().display())
        };
        let mut events = Events::new(stream, 12, Shares { broken: 0.2, ..Shares::default() });
        for _ in 0..3_000 {
            let kind = events.advance(1_767_225_599_999);
            if let Some(value) = events.value() {
                let translated = oracle.translate(value, Some(7));
                assert_eq!(translated.is_err(), kind.is_broken(), "{stream}, {kind:?}: {translated:?}");
            }
        }
    }
}

#[test]
fn what_has_no_id_gets_one_of_its_coordinates() {
    let contract = CONTRACT.replacen(r#""type":"string""#, r#""type":"string","derive":"coordinates""#, 1);
    let oracle = Oracle::parse(&contract).unwrap();
    assert!(oracle.derives() && !Oracle::parse(CONTRACT).unwrap().derives());
    let datum = |json: &str, offset| oracle.translate(json.as_bytes(), offset).unwrap();
    let with = |id: &str| datum(&format!(r#"{{"event_id":"{id}","timestamp":"t","payload":1}}"#), None);
    let without = r#"{"timestamp":"t","payload":1}"#;
    assert_eq!(datum(without, None), with(DERIVED));
    assert_eq!(datum(without, Some(12)), with("<derived>/12"));
    assert_eq!(datum(r#"{"event_id":null,"timestamp":"t","payload":1}"#, Some(12)), with("<derived>/12"));
}

#[test]
fn texts_are_found_by_their_paths() {
    let json = br#"{"a":{"b":"x\u00e9","c":1.50,"d":null,"e":[1]},"f":true}"#;
    for (path, text) in [("a.b", Some("x\u{e9}")), ("f", Some("true")), ("a.d", None), ("a.e", None), ("g.h", None)] {
        assert_eq!(text_at(json, path).as_deref(), text, "{path}");
    }
    assert_eq!(text_at(&json[..20], "a.b"), None);
}

#[test]
fn headers_become_properties_by_the_documented_rule() {
    let headers: [(&str, Option<&[u8]>); 6] = [
        ("a", Some(b"1")),
        ("a", Some(b"2")),
        ("n", None),
        ("b", Some(b"\xff\x00\xfe\x01")),
        ("bridge.cause", Some(b"mine")),
        ("e", Some(b"")),
    ];
    let properties = properties(&headers);
    let texts: Vec<_> = properties.iter().map(|(n, v)| (n.as_ref(), std::str::from_utf8(v).unwrap())).collect();
    assert_eq!(
        texts,
        [
            ("a", "1"),
            ("bridge.header.1.text.a", "2"),
            ("bridge.header.2.null.n", ""),
            ("bridge.header.3.base64.b", "/wD+AQ=="),
            ("bridge.header.4.text.bridge.cause", "mine"),
            ("e", ""),
        ]
    );
}

#[test]
fn a_digest_tells_apart_whatever_may_differ() {
    let content = Content { body: Some(b"ab"), key: Some(b"c"), event_time: 1 };
    let properties = vec![("a", b"1".as_slice()), ("b", b"2".as_slice()), ("a", b"3".as_slice())];
    let in_other_order = |order: [usize; 3]| order.map(|at| properties[at]).to_vec();
    let digests = [
        digest(content, properties.clone()),
        digest(Content { body: Some(b"a"), key: Some(b"bc"), event_time: 1 }, properties.clone()),
        digest(Content { body: None, ..content }, properties.clone()),
        digest(Content { body: Some(b""), ..content }, properties.clone()),
        digest(Content { key: None, ..content }, properties.clone()),
        digest(Content { event_time: 2, ..content }, properties.clone()),
        digest(content, in_other_order([2, 1, 0])),
        digest(content, properties[..2].to_vec()),
    ];
    assert_eq!(digests[0], digest(content, in_other_order([1, 0, 2])), "order between names is not seen by anybody");
    for (at, digest) in digests.iter().enumerate() {
        assert!(!digests[..at].contains(digest), "{at}");
    }
}
