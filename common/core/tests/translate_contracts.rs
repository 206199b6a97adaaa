//! Every event that the portal sends passes the contract of its stream, as it is on the wire: read back by apache-avro,
//! nothing is missing, nothing made up, and nothing counts as drift.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use bridge_core::record::{Coordinates, SourcePartition};
use bridge_core::translate::{Cause, Contract, Drift, JsonPlan, OnUnknownField, Scratch};
use serde_json::{Map, Value, json};

struct Bench {
    contract: Contract,
    plan: JsonPlan,
    source: SourcePartition,
    scratch: Scratch,
    drift: Drift,
}

impl Bench {
    fn new(stream: &str, topic: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bridges").join(stream).join("contract.avsc");
        let contract = Contract::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
        let plan = JsonPlan::compile(&contract, OnUnknownField::Count).unwrap();
        let source = SourcePartition { cluster_id: "cluster-1".into(), topic: topic.into(), partition: 4 };
        Self { contract, plan, source, scratch: Scratch::default(), drift: Drift::new() }
    }

    /// What apache-avro reads back of the record 42, as JSON, without the fields that are null.
    fn read_back(&mut self, body: &str) -> Value {
        let mut out = Vec::new();
        let coordinates = Coordinates { source: &self.source, offset: 42 };
        self.plan
            .translate(&mut self.scratch, body.as_bytes(), &coordinates, &mut out, &mut self.drift)
            .unwrap_or_else(|error| panic!("{error}: {body}"));
        let mut datum = out.as_slice();
        let value = apache_avro::from_avro_datum(self.contract.schema(), &mut datum, None).unwrap();
        assert!(datum.is_empty(), "nothing is left over");
        let Value::Object(fields) = Value::try_from(value).unwrap() else { panic!("a record") };
        Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect())
    }

    fn fault(&mut self, body: &str) -> (Cause, String) {
        let coordinates = Coordinates { source: &self.source, offset: 42 };
        let mut out = Vec::new();
        let result = self.plan.translate(&mut self.scratch, body.as_bytes(), &coordinates, &mut out, &mut self.drift);
        let error = result.unwrap_err();
        (error.cause, error.path)
    }
}

const EVENT_ID: &str = "7b0e6a4e-6a3f-4a38-9d0e-0d8f7f1c2b11";

/// The envelope as the portal writes it, with a payload's text.
fn enveloped(event_type: &str, payload: &str) -> String {
    format!(
        r#"{{"event_id":"{EVENT_ID}","event_type":"{event_type}","timestamp":"2026-02-16T10:20:30.123Z","correlation_id":"c-1","user_id":"u-1","schema_version":1,"payload":{payload}}}"#
    )
}

/// What is read back of it: the envelope, and what is taken out of the payload.
fn read_of(event_type: &str, payload: &str, taken: Value) -> Value {
    let mut expected = json!({
        "event_id": EVENT_ID,
        "event_type": event_type,
        "timestamp": "2026-02-16T10:20:30.123Z",
        "correlation_id": "c-1",
        "user_id": "u-1",
        "schema_version": 1,
        "payload": payload,
    });
    add(&mut expected, taken);
    expected
}

fn add(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        to.extend::<Map<_, _>>(more);
    }
}

/// An event type, a payload of it, and what the contract repeats of that at the top.
type Case = (&'static str, &'static str, Value);

fn passes(stream: &str, topic: &str, cases: Vec<Case>) {
    let mut bench = Bench::new(stream, topic);
    for (event_type, payload, taken) in cases {
        let body = enveloped(event_type, payload);
        assert_eq!(bench.read_back(&body), read_of(event_type, payload, taken.clone()), "{event_type}");
        let more = r#""idempotency_key":"k","parent_event_id":"p","tags":["a","b"],"payload""#;
        let mut expected = read_of(event_type, payload, taken);
        add(&mut expected, json!({"idempotency_key": "k", "parent_event_id": "p", "tags": ["a", "b"]}));
        assert_eq!(bench.read_back(&body.replacen(r#""payload""#, more, 1)), expected, "{event_type}, all of it");
    }
    assert!(bench.drift.is_empty(), "{:?}", bench.drift);
}

/// Whatever a stream with an envelope has in common.
fn refuses_broken_envelopes(stream: &str, event_type: &str, tap: &str) {
    let mut bench = Bench::new(stream, stream);
    let good = enveloped(event_type, &format!(r#"{{"{tap}":"x"}}"#));
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    let missing = |field: &str| (Cause::MissingField, field.to_owned());
    let wrong = |field: &str| (Cause::WrongType, field.to_owned());
    assert_eq!(bench.fault(&with(r#""event_id""#, r#""id""#)), missing("event_id"));
    assert_eq!(bench.fault(&with(r#""user_id":"u-1","#, "")), missing("user_id"));
    assert_eq!(bench.fault(&with(r#""payload""#, r#""data""#)), missing("payload"));
    assert_eq!(bench.fault(&with(r#""c-1""#, "null")), wrong("correlation_id"));
    assert_eq!(bench.fault(&with(r#""2026-02-16T10:20:30.123Z""#, "1771237230123")), wrong("timestamp"));
    assert_eq!(bench.fault(&with(":1,", r#":"1","#)), wrong("schema_version"));
    assert_eq!(bench.fault(&with(r#""x""#, "7")), wrong(tap));
    assert_eq!(bench.fault(&good[..good.len() - 3]), (Cause::NotJson, "payload".into()));
    assert_eq!(bench.fault(&with(r#""schema"#, r#""tags":["a",1],"schema"#)), wrong("tags[1]"));
}

#[test]
fn job_lifecycle() {
    passes(
        "job-lifecycle",
        "job-lifecycle",
        vec![
            (
                "job.submitted",
                r#"{"job_id":"j1","job_name":"n","tacc_system":"frontera","resource_request":{"num_nodes":4,"cores_per_node":56,"gpu_count_total":0,"memory_gb":192,"wall_time_minutes":60},"estimated_cost_usd":12.50,"priority":"normal"}"#,
                json!({"job_id": "j1"}),
            ),
            (
                "job.status.changed",
                r#"{"job_id":"j1","previous_status":"QUEUED","new_status":"RUNNING","reason":"r","transition_time_ms":5}"#,
                json!({"job_id": "j1"}),
            ),
            (
                "job.completed",
                r#"{"job_id":"j1","execution_time_ms":3600000,"output_location":"/s","result_size_bytes":1,"metrics":{"cpu_utilization_percent":87.5}}"#,
                json!({"job_id": "j1"}),
            ),
            (
                "job.failed",
                r#"{"job_id":"j1","error_code":"E","error_message":"m","stack_trace":"a\nb","exit_code":137,"retry_count":0,"max_retries":3}"#,
                json!({"job_id": "j1"}),
            ),
            ("job.cancelled", r#"{"job_id":"j1","cancelled_by":"u","reason":"r"}"#, json!({"job_id": "j1"})),
        ],
    );
    refuses_broken_envelopes("job-lifecycle", "job.completed", "job_id");
}

#[test]
fn notifications() {
    let notification = || json!({"notification_id": "n1", "recipient_user_id": "u-2"});
    passes(
        "notifications",
        "notifications",
        vec![
            (
                "notification.sent",
                r#"{"notification_id":"n1","recipient_user_id":"u-2","channel":"in-app","subject":"s","message":"caf\u00e9","related_job_id":"j1","data":{"a":[1]},"read_status":false,"created_at":"2026-02-16T10:20:30Z"}"#,
                json!({"notification_id": "n1", "recipient_user_id": "u-2", "channel": "in-app", "related_job_id": "j1"}),
            ),
            (
                "notification.sent",
                r#"{"notification_id":"n1","recipient_user_id":"u-2","channel":"email","related_job_id":null}"#,
                json!({"notification_id": "n1", "recipient_user_id": "u-2", "channel": "email"}),
            ),
            (
                "notification.read",
                r#"{"notification_id":"n1","recipient_user_id":"u-2","read_at":"2026-02-16T10:20:30Z"}"#,
                notification(),
            ),
            (
                "notification.dismissed",
                r#"{"notification_id":"n1","recipient_user_id":"u-2","reason":"r","dismissed_at":"2026-02-16T10:20:30Z"}"#,
                notification(),
            ),
            (
                "alert.raised",
                r#"{"alert_id":"a1","alert_type":"disk","severity":"critical","message":"m","affected_resource_id":"r1","metrics":{"disk":97.5}}"#,
                json!({"alert_id": "a1", "severity": "critical"}),
            ),
            (
                "alert.resolved",
                r#"{"alert_id":"a1","original_alert_type":"disk","resolution_reason":"r","resolved_at":"2026-02-16T10:20:30Z"}"#,
                json!({"alert_id": "a1"}),
            ),
        ],
    );
    refuses_broken_envelopes("notifications", "notification.sent", "recipient_user_id");
}

#[test]
fn audit_trail() {
    passes(
        "audit-trail",
        "audit-trail",
        vec![
            (
                "audit.action.recorded",
                r#"{"audit_id":"l1","action":"DELETE","actor_user_id":"u-3","actor_role":"admin","target_resource_id":"r1","target_resource_type":"job","details":{},"changes":{"before":{"a":1},"after":null},"timestamp":"2026-02-16T10:20:30Z","ip_address":"10.0.0.1"}"#,
                json!({"audit_id": "l1", "action": "DELETE", "actor_user_id": "u-3", "target_resource_id": "r1", "target_resource_type": "job"}),
            ),
            (
                "audit.policy.changed",
                r#"{"policy_id":"p1","policy_type":"quota","changed_by":"u-3","previous_policy":{"max":1},"new_policy":{"max":2},"reason":"r","effective_at":"2026-02-16T10:20:30Z"}"#,
                json!({}),
            ),
            (
                "audit.data.access",
                r#"{"access_id":"x1","user_id":"u-3","data_type":"image","resource_id":"r2","access_type":"read","status":"denied","reason_if_denied":"r","timestamp":"2026-02-16T10:20:30Z"}"#,
                json!({"resource_id": "r2"}),
            ),
            (
                "audit.job.lifecycle",
                r#"{"job_id":"j1","lifecycle_event":"started","new_state":"RUNNING","initiated_by":"u-3","affected_data":{"files":["f"]},"timestamp":"2026-02-16T10:20:30Z"}"#,
                json!({}),
            ),
            (
                "audit.compliance.check",
                r#"{"check_id":"k1","check_name":"retention","check_type":"HIPAA","status":"failed","violations":[{"rule":1}],"checked_at":"2026-02-16T10:20:30Z"}"#,
                json!({}),
            ),
        ],
    );
    refuses_broken_envelopes("audit-trail", "audit.action.recorded", "actor_user_id");
}

#[test]
fn job_metrics_have_three_shapes_and_no_id() {
    let mut bench = Bench::new("job-metrics", "job-metrics");
    let flat = r#"{"event_type":"job.metrics_recorded","job_id":"j1","cpu_usage_percent":5,"memory_usage_mb":2048.5,"execution_time_seconds":61}"#;
    let expected = json!({"event_id": "cluster-1/job-metrics/4/42", "event_type": "job.metrics_recorded", "job_id": "j1",
        "cpu_usage_percent": 5.0, "memory_usage_mb": 2048.5, "execution_time_seconds": 61.0});
    assert_eq!(bench.read_back(flat), expected);
    let metrics = r#"{"cpu_utilization_percent":87.5,"gpu_utilization_percent":0,"gpu_memory_used_gb":1.0e1, "network_in_mbps":null}"#;
    let sample = format!(
        r#"{{"job_id":"j1","sample_timestamp":"2026-02-16T10:20:30Z","sample_interval_seconds":0.5,"metrics":{metrics}}}"#
    );
    let expected = json!({"event_id": "cluster-1/job-metrics/4/42", "job_id": "j1",
        "sample_timestamp": "2026-02-16T10:20:30Z", "sample_interval_seconds": 0.5, "metrics": metrics});
    assert_eq!(bench.read_back(&sample), expected);
    let summary =
        r#"{"job_id":"j1","execution_time_ms":3600000,"samples_collected":720,"metrics_aggregate":{"cpu":{"p95":99}}}"#;
    let expected = json!({"event_id": "cluster-1/job-metrics/4/42", "job_id": "j1", "execution_time_ms": 3_600_000.0,
        "samples_collected": 720, "metrics_aggregate": r#"{"cpu":{"p95":99}}"#});
    assert_eq!(bench.read_back(summary), expected);
    let with_id = flat.replacen('{', &format!(r#"{{"event_id":"{EVENT_ID}","#), 1);
    assert_eq!(bench.read_back(&with_id)["event_id"], json!(EVENT_ID));
    assert!(bench.drift.is_empty(), "{:?}", bench.drift);
    let wrong = |field: &str| (Cause::WrongType, field.to_owned());
    assert_eq!(bench.fault(&flat.replacen(":5", r#":"5""#, 1)), wrong("cpu_usage_percent"));
    assert_eq!(bench.fault(&flat.replacen(r#""j1""#, "1", 1)), wrong("job_id"));
    assert_eq!(bench.fault(&summary.replacen("720", "7.5", 1)), wrong("samples_collected"));
    assert_eq!(bench.fault(&flat.replacen(":5", ":1e999", 1)).0, Cause::NumberOutOfRange);
    assert_eq!(bench.fault("[]"), (Cause::WrongType, String::new()));
    bench.read_back(&flat.replacen('{', r#"{"gpu":1,"#, 1));
    assert_eq!(bench.drift.counts().collect::<Vec<_>>(), [("gpu", 1)], "what the contract lacks is counted");
}

#[test]
fn broker_metrics_take_health_events_the_portals_figures_and_polled_ones() {
    let payload =
        r#"{"component_id":"kafka-1","component_type":"broker","status":"degraded","metrics":{"cpu":12,"lag":5}}"#;
    let taken = || json!({"component_id": "kafka-1", "component_type": "broker", "status": "degraded"});
    let cases = vec![("system.health.check", payload, taken()), ("system.health", payload, taken())];
    passes("broker-metrics", "system-health", cases);

    let mut bench = Bench::new("broker-metrics", "bridge-broker-metrics");
    let figures = r#"{"brokerName":"rabbitmq","messagesPerSecond":1250,"p50LatencyMs":1.5,"p95LatencyMs":4,"p99LatencyMs":9.25,"memoryUsageMb":512,"cpuPercentage":7,"connectionCount":12,"isConnected":true,"uptime":86400,"partitionCount":38,"brokerCount":1,"topicStats":{"job-lifecycle": {"partitions":10}},"capturedAt":"2026-02-16T10:20:30.123Z"}"#;
    let expected = json!({"event_id": "cluster-1/bridge-broker-metrics/4/42", "brokerName": "rabbitmq",
        "messagesPerSecond": 1250.0, "p50LatencyMs": 1.5, "p95LatencyMs": 4.0, "p99LatencyMs": 9.25, "memoryUsageMb": 512.0,
        "cpuPercentage": 7.0, "connectionCount": 12, "isConnected": true, "uptime": 86400.0, "partitionCount": 38,
        "brokerCount": 1, "topicStats": r#"{"job-lifecycle": {"partitions":10}}"#, "capturedAt": "2026-02-16T10:20:30.123Z"});
    assert_eq!(bench.read_back(figures), expected);
    let polled = r#"{"brokerName":"pulsar","brokerCount":null,"capturedAt":"2026-02-16T10:20:30.123Z","connectionCount":3,"cpuPercentage":null,"endpoint":"pulsar-1","errorMessage":null,"event_id":"poll/brokers/pulsar-1/1771237230123","event_type":"broker.metrics.captured","isConnected":true,"memoryUsageMb":80.5,"messagesPerSecond":0,"quality":{"memoryUsageMb":"measured","cpuPercentage":"missing"},"schema_version":1,"timestamp":"2026-02-16T10:20:30.123Z","topicStats":{"topics":5}}"#;
    let expected = json!({"event_id": "poll/brokers/pulsar-1/1771237230123", "event_type": "broker.metrics.captured",
        "timestamp": "2026-02-16T10:20:30.123Z", "schema_version": 1, "brokerName": "pulsar", "endpoint": "pulsar-1",
        "messagesPerSecond": 0.0, "memoryUsageMb": 80.5, "connectionCount": 3, "isConnected": true,
        "topicStats": r#"{"topics":5}"#, "capturedAt": "2026-02-16T10:20:30.123Z",
        "quality": {"memoryUsageMb": "measured", "cpuPercentage": "missing"}});
    assert_eq!(bench.read_back(polled), expected);
    assert!(bench.drift.is_empty(), "{:?}", bench.drift);
    let wrong = |field: &str| (Cause::WrongType, field.to_owned());
    assert_eq!(bench.fault(&figures.replacen("1250", r#""1250""#, 1)), wrong("messagesPerSecond"));
    assert_eq!(bench.fault(&figures.replacen(":12,", ":12.5,", 1)), wrong("connectionCount"));
    assert_eq!(bench.fault(&polled.replacen(r#""measured""#, "1", 1)), wrong("quality{}"));
    assert_eq!(bench.fault(&enveloped("system.health", r#"{"status":1}"#)), wrong("status"));
}

#[test]
fn every_field_of_every_contract_is_explained_and_nothing_of_ours_is_published() {
    let bridges = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bridges");
    let mut seen = 0;
    for folder in std::fs::read_dir(bridges).unwrap() {
        let Ok(text) = std::fs::read_to_string(folder.unwrap().path().join("contract.avsc")) else { continue };
        let contract = Contract::parse(&text).unwrap();
        let published: Value = serde_json::from_str(contract.schema_json()).unwrap();
        assert!(published["doc"].is_string(), "{}", contract.name());
        for field in published["fields"].as_array().unwrap() {
            let place = format!("{} of {}", field["name"], contract.name());
            assert!(field["doc"].is_string(), "{place} has no doc");
            assert!(["json", "path", "derive"].iter().all(|ours| field.get(ours).is_none()), "{place}");
        }
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} contracts were found");
}
