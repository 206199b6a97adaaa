//! Translation as a user relies on it: the real contract with real events, every cause with its path, the exact text.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use apache_avro::types::Value;
use bridge_core::record::{Coordinates, SourcePartition};
use bridge_core::translate::{
    Cause, Contract, DRIFT_PATHS_MAX, Drift, JsonPlan, MAX_DEPTH, OnUnknownField, Scratch, TranslateError,
};

const JOB_LIFECYCLE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bridges/job-lifecycle/contract.avsc"));

fn source() -> SourcePartition {
    SourcePartition { cluster_id: "cluster-1".into(), topic: "job-metrics".into(), partition: 3 }
}

struct Bench {
    contract: Contract,
    plan: JsonPlan,
    scratch: Scratch,
    drift: Drift,
    source: SourcePartition,
}

impl Bench {
    fn new(contract: &str) -> Self {
        Self::with(contract, OnUnknownField::Count)
    }

    fn with(contract: &str, on_unknown_field: OnUnknownField) -> Self {
        let contract = Contract::parse(contract).unwrap();
        let plan = JsonPlan::compile(&contract, on_unknown_field).unwrap();
        Self { contract, plan, scratch: Scratch::default(), drift: Drift::new(), source: source() }
    }

    /// A record of one field `f`.
    fn field(attributes: &str) -> Self {
        Self::new(&format!(r#"{{"type": "record", "name": "R", "fields": [{{"name": "f", {attributes}}}]}}"#))
    }

    /// Translates as the record 42 of [`source`].
    fn translate(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), TranslateError> {
        let coordinates = Coordinates { source: &self.source, offset: 42 };
        self.plan.translate(&mut self.scratch, body, &coordinates, out, &mut self.drift)
    }

    /// The value as apache-avro reads it back from the datum.
    fn value(&mut self, body: &[u8]) -> Value {
        let mut out = b"before".to_vec();
        self.translate(body, &mut out).unwrap();
        let mut datum = &out[6..];
        let value = apache_avro::from_avro_datum(self.contract.schema(), &mut datum, None).unwrap();
        assert!(datum.is_empty(), "nothing is left over");
        value
    }

    fn get(&mut self, body: &str, name: &str) -> Value {
        let Value::Record(fields) = self.value(body.as_bytes()) else { panic!("a record") };
        let value = fields.into_iter().find(|(known, _)| known == name).unwrap().1;
        if let Value::Union(_, inner) = value { *inner } else { value }
    }

    fn f(&mut self, json: &str) -> Value {
        self.get(&format!(r#"{{"f": {json}}}"#), "f")
    }

    fn fault(&mut self, body: impl AsRef<[u8]>) -> (Cause, String) {
        let mut out = b"before".to_vec();
        let error = self.translate(body.as_ref(), &mut out).unwrap_err();
        assert_eq!(out, b"before", "nothing of a refused record stays");
        assert!(!error.to_string().contains("secret"), "no content in {error}");
        (error.cause, error.path)
    }
}

fn event(event_type: &str, payload: &str) -> String {
    format!(
        r#"{{"event_id":"7b0e6a4e-6a3f-4a38-9d0e-0d8f7f1c2b11","event_type":"{event_type}","timestamp":"2026-02-16T10:20:30.123Z","correlation_id":"c-1","user_id":"u-1","schema_version":1,"payload":{payload}}}"#
    )
}

#[test]
fn all_five_job_lifecycle_events_pass_the_real_contract() {
    let mut bench = Bench::new(JOB_LIFECYCLE);
    assert_eq!(bench.contract.name(), "com.cosmichorizons.events.JobLifecycleEvent");
    let events = [
        (
            "job.submitted",
            r#"{"job_id":"j1","job_name":"café \"x\"","tacc_system":"frontera","resource_request":{"num_nodes":4,"memory_gb":192},"estimated_cost_usd":12.50,"priority":"normal"}"#,
        ),
        ("job.status.changed", r#"{"job_id":"j1","previous_status":"QUEUED","new_status":"RUNNING"}"#),
        (
            "job.completed",
            r#"{"job_id":"j1","execution_time_ms":3600000,"output_location":"/s/\u00e9","result_size_bytes":9007199254740993,"metrics":{"cpu_utilization_percent":87.5,"io_throughput_mbps":1.0}}"#,
        ),
        ("job.failed", r#"{"job_id":"j1","error_code":"E","stack_trace":"a\n\tb","exit_code":137,"retry_count":0}"#),
        ("job.cancelled", r#"{ "job_id" : "j1" , "cancelled_by":"u","reason":"\ud83d\ude00 \ud83d"  }"#),
    ];
    for (event_type, payload) in events {
        let Value::Record(fields) = bench.value(event(event_type, payload).as_bytes()) else { panic!("a record") };
        let text = |text: &str| Value::String(text.into());
        let null = || Value::Union(0, Box::new(Value::Null));
        let expected = [
            ("event_id", text("7b0e6a4e-6a3f-4a38-9d0e-0d8f7f1c2b11")),
            ("event_type", text(event_type)),
            ("timestamp", text("2026-02-16T10:20:30.123Z")),
            ("correlation_id", text("c-1")),
            ("user_id", text("u-1")),
            ("schema_version", Value::Int(1)),
            ("payload", text(payload)),
            ("idempotency_key", null()),
            ("parent_event_id", null()),
            ("tags", null()),
            ("job_id", Value::Union(1, Box::new(text("j1")))),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value)));
    }
    assert!(bench.drift.is_empty());
}

#[test]
fn members_come_in_any_order_and_the_last_of_a_name_counts() {
    let mut bench = Bench::new(JOB_LIFECYCLE);
    let body = r#"{"tags":["a","b"],"payload":{"job_id":"old"},"payload":{"x":1,"job_\u0069d":"j9"},"user_id":"u",
        "timestamp":"t","idempotency_key":null,"event_type":"e","correlation_id":"c","event_id":"i"}"#;
    let strings = ["a", "b"].map(|item| Value::String(item.into())).to_vec();
    assert_eq!(bench.get(body, "tags"), Value::Array(strings));
    assert_eq!(bench.get(body, "payload"), Value::String(r#"{"x":1,"job_\u0069d":"j9"}"#.into()));
    assert_eq!(bench.get(body, "job_id"), Value::String("j9".into()));
    assert_eq!(bench.get(body, "schema_version"), Value::Int(1), "the default");
    assert_eq!(bench.get(body, "event_id"), Value::String("i".into()));
    for payload in ["null", "7", r#"{"job_id":null}"#, "{}", r#"[{"job_id":"no"}]"#] {
        assert_eq!(bench.get(&event("e", payload), "job_id"), Value::Null, "{payload}");
        assert_eq!(bench.get(&event("e", payload), "payload"), Value::String(payload.into()));
    }
    let replaced = body.replacen(r#"{"x":1,"job_\u0069d":"j9"}"#, "{}", 1);
    assert_eq!(bench.get(&replaced, "job_id"), Value::Null, "what was in a replaced member is gone");
}

#[test]
fn every_cause_names_its_field() {
    let mut bench = Bench::new(JOB_LIFECYCLE);
    let good = event("e", r#"{"job_id":"secret"}"#);
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    let deep = "[".repeat(MAX_DEPTH as usize);
    let expect = |cause, path: &str| (cause, path.to_owned());
    assert_eq!(bench.fault(""), expect(Cause::NotJson, ""));
    assert_eq!(bench.fault("secret"), expect(Cause::NotJson, ""));
    assert_eq!(bench.fault(&good[..good.len() - 4]), expect(Cause::NotJson, "payload"));
    assert_eq!(bench.fault(with("\"c-1\"", "7,,")), expect(Cause::NotJson, ""), "before any other cause");
    assert_eq!(bench.fault(good.repeat(2)), expect(Cause::TrailingBytes, ""));
    assert_eq!(bench.fault(with("\"c-1\"", "7")), expect(Cause::WrongType, "correlation_id"));
    assert_eq!(bench.fault(with("\"user_id\":\"u-1\",", "")), expect(Cause::MissingField, "user_id"));
    assert_eq!(bench.fault(with("\"u-1\"", "null")), expect(Cause::WrongType, "user_id"));
    assert_eq!(bench.fault(with("\"secret\"", "12")), expect(Cause::WrongType, "job_id"));
    assert_eq!(bench.fault(with("\"u-1\"", "\"u\",\"tags\":[\"secret\",2]")), expect(Cause::WrongType, "tags[1]"));
    assert_eq!(bench.fault(with(":1,", ":2147483648,")), expect(Cause::NumberOutOfRange, "schema_version"));
    assert_eq!(bench.fault(with(":1,", ":1.5,")), expect(Cause::WrongType, "schema_version"));
    assert_eq!(bench.fault(with("\"c-1\"", "\"\\ud800\"")), expect(Cause::LoneSurrogate, "correlation_id"));
    assert_eq!(bench.fault(with("{\"job_id\":\"secret\"}", &deep)), expect(Cause::TooDeep, "payload"));
    let mut not_utf8 = good.clone().into_bytes();
    not_utf8[good.find("u-1").unwrap()] = 0xFF;
    assert_eq!(bench.fault(not_utf8), expect(Cause::InvalidUtf8, "user_id"));
    let symbols = r#""type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}"#;
    assert_eq!(Bench::field(symbols).fault(r#"{"f": "secret"}"#), expect(Cause::BadEnumSymbol, "f"));
    let dates = r#""type": {"type": "map", "values": {"type": "int", "logicalType": "date"}}"#;
    assert_eq!(Bench::field(dates).fault(r#"{"f": {"secret": "secret"}}"#), expect(Cause::BadFormat, "f{}"));
    let mut strict = Bench::with(JOB_LIFECYCLE, OnUnknownField::DeadLetter);
    assert_eq!(strict.fault(with("{", "{\"extra\":\"secret\",")), expect(Cause::UnknownField, "extra"));
    assert_eq!((strict.drift.records(), strict.drift.counts().collect::<Vec<_>>()), (1, vec![("extra", 1)]));
}

#[test]
fn json_text_is_kept_byte_for_byte_up_to_the_depth_allowed() {
    let mut bench = Bench::field(r#""type": ["null", "string"], "json": true"#);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let most = nested(MAX_DEPTH as usize - 1);
    for text in ["1.0e+05", "-0", r#""\u0041\/""#, "[ 1 ,\t2 ]", "{\"b\":1,\"b\":2}", r#""\ud800""#, "1e999", &most] {
        assert_eq!(bench.f(text), Value::String(text.into()));
    }
    assert_eq!(bench.f("null"), Value::Null);
    assert_eq!(bench.fault(format!(r#"{{"f":{}}}"#, nested(MAX_DEPTH as usize))).0, Cause::TooDeep);
    assert_eq!(Bench::field(r#""type": "string", "json": true"#).f("null"), Value::String("null".into()));
}

#[test]
fn numbers_are_exact() {
    let mut long = Bench::field(r#""type": "long""#);
    for (text, value) in [
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("1e3", 1000),
        ("2.50e1", 25),
        ("100e-2", 1),
        ("0e99999999999999999999", 0),
    ] {
        assert_eq!(long.f(text), Value::Long(value), "{text}");
    }
    for text in ["9223372036854775808", "-9223372036854775809", "1e19", "1e99999999999999999999"] {
        assert_eq!(long.fault(format!(r#"{{"f":{text}}}"#)).0, Cause::NumberOutOfRange, "{text}");
    }
    assert_eq!(Bench::field(r#""type": "double""#).fault(r#"{"f":1e400}"#).0, Cause::NumberOutOfRange);
    let decimal = r#""type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}"#;
    let mut decimal = Bench::field(decimal);
    for (text, unscaled) in
        [("1.5", vec![0, 150]), ("\"-1.28\"", vec![128]), ("9999.99", vec![15, 66, 63]), ("0", vec![0])]
    {
        assert_eq!(decimal.f(text), Value::Decimal(unscaled.into()), "{text}");
    }
    for text in ["0.001", "10000", "1e300"] {
        assert_eq!(decimal.fault(format!(r#"{{"f":{text}}}"#)).0, Cause::NumberOutOfRange, "{text}");
    }
}

#[test]
fn logical_types_come_from_text_or_number() {
    let logical =
        |base: &str, name: &str| Bench::field(&format!(r#""type": {{"type": "{base}", "logicalType": "{name}"}}"#));
    let mut millis = logical("long", "timestamp-millis");
    assert_eq!(millis.f(r#""2026-02-16T10:20:30.123Z""#), Value::TimestampMillis(1_771_237_230_123));
    assert_eq!(millis.f("1771237230123"), Value::TimestampMillis(1_771_237_230_123));
    assert_eq!(millis.fault(r#"{"f":"2026-02-16"}"#), (Cause::BadFormat, "f".into()));
    assert_eq!(logical("int", "date").f(r#""1970-01-03""#), Value::Date(2));
    assert_eq!(logical("int", "time-millis").f(r#""00:00:01.5""#), Value::TimeMillis(1500));
    assert_eq!(logical("string", "uuid").fault(r#"{"f":"7b0e"}"#).0, Cause::BadFormat);
    assert_eq!(Bench::field(r#""type": "bytes""#).f(r#""\u00ffA""#), Value::Bytes(vec![255, 65]));
}

#[test]
fn arrays_of_any_length_are_one_block() {
    let mut bench = Bench::field(r#""type": {"type": "array", "items": "int"}"#);
    for length in [0, 1, 63, 64, 65, 8191, 8192, 10_000] {
        let items: Vec<i32> = (0..length).collect();
        assert_eq!(bench.f(&format!("{items:?}")), Value::Array(items.into_iter().map(Value::Int).collect()));
    }
}

#[test]
fn drift_is_counted_by_path_and_bounded() {
    let mut bench = Bench::new(JOB_LIFECYCLE);
    let good = event("e", "{}");
    for number in (0..DRIFT_PATHS_MAX + 10).chain([0]) {
        bench.value(good.replacen('{', &format!(r#"{{"x{number}":[1,{{}}],"#), 1).as_bytes());
    }
    bench.fault(r#"{"x0":1}"#);
    assert_eq!(bench.drift.counts().count(), DRIFT_PATHS_MAX);
    assert_eq!(bench.drift.counts().find(|(path, _)| *path == "x0"), Some(("x0", 2)), "refused records do not count");
    assert_eq!(bench.drift.other(), 10);
    assert_eq!(bench.drift.records(), DRIFT_PATHS_MAX as u64 + 11);
    assert_eq!((bench.drift.last_offset("x0"), bench.drift.last_offset("x99")), (Some(42), None));
    let mut blind = Bench::with(JOB_LIFECYCLE, OnUnknownField::Ignore);
    blind.value(good.replacen('{', r#"{"x":1,"#, 1).as_bytes());
    assert_eq!((blind.drift.is_empty(), blind.drift.records()), (true, 0), "who does not look claims nothing");
}

/// The derived text is on the wire: this test never changes.
#[test]
fn an_event_without_an_id_is_named_by_its_coordinates() {
    let contract = r#"{"type":"record","name":"R","fields":[
        {"name":"a","type":"int"},
        {"name":"event_id","type":"string","derive":"coordinates"},
        {"name":"b","type":["null","int"],"default":null},
        {"name":"event_type","type":["null","string"],"default":null}]}"#;
    let mut bench = Bench::new(contract);
    for body in [
        r#"{"a":1}"#,
        r#"{"a":1,"b":2,"event_type":"e"}"#,
        r#"{"event_type":null,"b":null,"a":1}"#,
        r#"{"event_id":null,"a":1}"#,
        r#"{"a":1,"event_id":"replaced","event_id": null ,"b":7}"#,
    ] {
        assert_eq!(bench.get(body, "event_id"), Value::String("cluster-1/job-metrics/3/42".into()), "{body}");
        assert_eq!(bench.get(body, "a"), Value::Int(1), "{body}");
    }
    for body in [r#"{"a":1,"b":2,"event_id":"e-1"}"#, r#"{"event_id":null,"event_id":"e-1","a":1}"#] {
        assert_eq!(bench.get(body, "event_id"), Value::String("e-1".into()), "{body}");
    }
    assert_eq!(bench.get(r#"{"a":1,"event_id":""}"#, "event_id"), Value::String("".into()), "what is there counts");
    assert_eq!(bench.fault(r#"{"a":1,"event_id":7}"#), (Cause::WrongType, "event_id".into()));
    assert_eq!(bench.fault(r#"{"a":1,"event_id":nul}"#).0, Cause::NotJson);
    assert!(!bench.contract.schema_json().contains("derive"), "the published schema is plain Avro");
    let mut out = Vec::new();
    bench.translate(br#"{"a":1}"#, &mut out).unwrap();
    assert_eq!(out, b"\x02\x34cluster-1/job-metrics/3/42\x00\x00");
}

#[test]
fn bad_contracts_are_refused_by_name() {
    let refuse = |contract: &str| {
        let plan = Contract::parse(contract).and_then(|contract| JsonPlan::compile(&contract, OnUnknownField::Count));
        plan.unwrap_err().to_string()
    };
    assert!(refuse("{").contains("not JSON"));
    assert!(refuse(r#""string""#).contains("record"));
    assert!(refuse(r#"{"type":"record","name":"R","namespace":"a-b","fields":[]}"#).contains("legal Avro"));
    for attributes in [
        r#""type":"int","json":true"#,
        r#""type":"string","path":"payload""#,
        r#""type":"string","derive":"offset""#,
        r#""type":"string","derive":"coordinates","default":"""#,
        r#""type":"string","derive":"coordinates","path":["a","b"]"#,
        r#""type":["null","string"],"derive":"coordinates""#,
        r#""type":{"type":"record","name":"Q","fields":[{"name":"g","type":"string","derive":"coordinates"}]}"#,
        r#""type":{"type":"string","logicalType":"date"}"#,
        r#""type":[{"type":"map","values":"int"},{"type":"record","name":"Q","fields":[]}]"#,
        r#""type":{"type":"int","logicalType":"date"},"default":"1970-01-01""#,
    ] {
        let error = refuse(&format!(r#"{{"type":"record","name":"R","fields":[{{"name":"f",{attributes}}}]}}"#));
        assert!(error.contains("R.f") || error.contains("legal Avro"), "{attributes}: {error}");
    }
}

#[test]
fn the_published_schema_is_plain_avro() {
    let contract = Contract::parse(JOB_LIFECYCLE).unwrap();
    let plain: serde_json::Value = serde_json::from_str(contract.schema_json()).unwrap();
    let fields = plain["fields"].as_array().unwrap();
    assert!(fields.iter().all(|field| field.get("json").is_none() && field.get("path").is_none()));
    let again = Contract::parse(contract.schema_json()).unwrap();
    assert_eq!((again.schema(), again.fingerprint()), (contract.schema(), contract.fingerprint()));
}

/// Measures: `cargo test --release -p bridge-core --test translate speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let mut bench = Bench::new(JOB_LIFECYCLE);
    let payload = r#"{"job_id":"0d8f7f1c-2b11","previous_status":"QUEUED","new_status":"RUNNING"}"#;
    let body = event("job.status.changed", payload);
    let mut out = Vec::with_capacity(1 << 20);
    for _ in 0..5 {
        let start = std::time::Instant::now();
        for _ in 0..1_000_000 {
            if out.len() > 500_000 {
                out.clear();
            }
            bench.translate(body.as_bytes(), &mut out).unwrap();
        }
        println!("{} bytes: {:.0} ns a record", body.len(), start.elapsed().as_secs_f64() * 1e3);
    }
}
