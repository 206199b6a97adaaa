//! What a poll found, as the record that is mirrored. Pure.

use serde_json::{Map, Value, json};

use super::figures::{Figure, Measured};
use crate::config::rfc3339;

/// The record's `event_type`.
pub(super) const EVENT_TYPE: &str = "broker.metrics.captured";
/// How much of an error's text a record tells.
const MOST_CHARS: usize = 300;

/// Which endpoint was polled, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Captured<'a> {
    /// The source's name.
    pub(super) source: &'a str,
    /// The endpoint's name.
    pub(super) endpoint: &'a str,
    /// The record's `brokerName`.
    pub(super) broker: &'a str,
    /// When its answer came, in milliseconds since the epoch.
    pub(super) at_ms: u64,
}

/// The record of an endpoint that answered.
pub(super) fn connected(captured: Captured<'_>, figures: &Measured, stats: Map<String, Value>) -> String {
    let stats = if stats.is_empty() { Value::Null } else { Value::Object(stats) };
    write(captured, true, figures, stats, Value::Null)
}

/// The record of an endpoint that did not answer, or not with its figures: all of them are missing.
pub(super) fn disconnected(captured: Captured<'_>, reason: &str) -> String {
    let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_CHARS).collect();
    write(captured, false, &Measured::new(), Value::Null, Value::String(reason))
}

/// Invariant: a figure is null and `"missing"`, or a value and `"measured"`; nothing stands for what is not known.
fn write(captured: Captured<'_>, is_connected: bool, figures: &Measured, stats: Value, error: Value) -> String {
    let Captured { source, endpoint, broker, at_ms } = captured;
    let at = rfc3339(at_ms);
    let mut record = Map::new();
    let mut quality = Map::new();
    let mut tell = |name: &str, value: Value| {
        let known = if value.is_null() { "missing" } else { "measured" };
        quality.insert(name.to_owned(), Value::from(known));
        record.insert(name.to_owned(), value);
    };
    for figure in Figure::ALL {
        tell(figure.name(), figures.get(&figure).cloned().unwrap_or(Value::Null));
    }
    tell("isConnected", Value::Bool(is_connected));
    tell("topicStats", stats);
    let others = [
        ("event_id", json!(format!("poll/{source}/{endpoint}/{at_ms}"))),
        ("event_type", json!(EVENT_TYPE)),
        ("timestamp", json!(at)),
        ("schema_version", json!(1)),
        ("brokerName", json!(broker)),
        ("endpoint", json!(endpoint)),
        ("errorMessage", error),
        ("capturedAt", json!(at)),
        ("quality", Value::Object(quality)),
    ];
    record.extend(others.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(record).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: Captured<'_> =
        Captured { source: "brokers", endpoint: "rabbit-1", broker: "rabbitmq", at_ms: 1_709_247_599_500 };

    #[test]
    fn a_record_has_all_fields_and_says_which_are_measured() {
        let figures = Measured::from([(Figure::ConnectionCount, json!(0)), (Figure::CpuPercentage, json!(1.5))]);
        let text = connected(CAPTURED, &figures, Map::from_iter([("queues".to_owned(), json!(2))]));
        let expected = json!({
            "event_id": "poll/brokers/rabbit-1/1709247599500", "event_type": "broker.metrics.captured",
            "timestamp": "2024-02-29T22:59:59.500Z", "capturedAt": "2024-02-29T22:59:59.500Z", "schema_version": 1,
            "brokerName": "rabbitmq", "endpoint": "rabbit-1", "isConnected": true, "errorMessage": null,
            "messagesPerSecond": null, "p50LatencyMs": null, "p95LatencyMs": null, "p99LatencyMs": null,
            "memoryUsageMb": null, "cpuPercentage": 1.5, "connectionCount": 0, "uptime": null,
            "partitionCount": null, "brokerCount": null, "topicStats": {"queues": 2},
            "quality": {
                "messagesPerSecond": "missing", "p50LatencyMs": "missing", "p95LatencyMs": "missing",
                "p99LatencyMs": "missing", "memoryUsageMb": "missing", "cpuPercentage": "measured",
                "connectionCount": "measured", "uptime": "missing", "partitionCount": "missing",
                "brokerCount": "missing", "isConnected": "measured", "topicStats": "measured",
            },
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }

    #[test]
    fn an_endpoint_that_is_down_has_a_bounded_reason_and_no_figures() {
        let text = disconnected(CAPTURED, &format!("refused\n{}", "x".repeat(10_000)));
        let record: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["isConnected"], false);
        assert_eq!(record["errorMessage"].as_str().unwrap().len(), MOST_CHARS);
        for figure in Figure::ALL {
            assert_eq!((&record[figure.name()], &record["quality"][figure.name()]), (&Value::Null, &json!("missing")));
        }
        assert_eq!((&record["topicStats"], &record["quality"]["topicStats"]), (&Value::Null, &json!("missing")));
    }
}
