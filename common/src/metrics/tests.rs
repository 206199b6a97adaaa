use metrics::Unit;
use std::time::Duration;

use super::*;
use crate::lane::StopCause;
use crate::status::PartitionState;

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

const P3: &str = r#"stream="demo",source="kafka",topic="demo.in",partition="3""#;

#[test]
fn names_follow_the_conventions_and_all_have_help() {
    for metric in ALL.iter().chain(PROCESS) {
        let Metric { name, kind, unit, help } = *metric;
        assert!(name.starts_with("stream_bridge_") || name.starts_with("process_"), "{name}");
        assert!(help.ends_with('.') && help.len() > 20, "{name}: {help}");
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}: _total is for counters");
        let base = name.trim_end_matches("_total");
        assert_eq!(base.ends_with("_seconds"), unit == Unit::Seconds, "{name}");
        assert_eq!(base.ends_with("_bytes"), unit == Unit::Bytes, "{name}");
        if let Kind::Histogram(buckets) = kind {
            assert!(buckets.bounds().is_sorted());
        }
    }
}

#[test]
fn everything_renders_with_help_type_and_labels() {
    let metrics = Metrics::new("demo", "1.2.3");
    let partition = metrics.partition("kafka", "demo.in", 3);
    partition.received.increment(5);
    partition.published.increment(4);
    partition.dead_lettered("not-json");
    partition.lag_seconds.set(1.5);
    partition.state(PartitionState::Running);
    partition.confirmed(30, 4);
    partition.confirmed(-20, 1);
    partition.batch_published(Duration::from_millis(3));
    partition.stopped_by(Some(StopCause::WentBack));
    metrics.reconnected(2);
    metrics.target_deduplicates(true);
    metrics.memory(3, 16);
    metrics.certificate_ends("pulsar", "server", 1_900_000_000);
    metrics.drifted("payload.colour", 2);
    let text = metrics.render();
    for metric in ALL.iter().chain(PROCESS) {
        assert!(text.contains(&format!("# HELP {} {}", metric.name, metric.help)), "{}\n{text}", metric.name);
        assert!(text.contains(&format!("# TYPE {} ", metric.name)), "{}", metric.name);
    }
    let series = |name: &str, more: &str| value(&text, &format!("{name}{{{P3}{more}}}"));
    assert_eq!(series("stream_bridge_records_received_total", ""), Some(5.0));
    assert_eq!(series("stream_bridge_records_dead_lettered_total", ",reason=\"not-json\""), Some(1.0));
    assert_eq!(series("stream_bridge_lag_seconds", ""), Some(1.5));
    assert_eq!(series("stream_bridge_partition_state", ",state=\"running\""), Some(1.0));
    assert_eq!(series("stream_bridge_partition_state", ",state=\"stopped\""), Some(0.0));
    assert_eq!(series("stream_bridge_partition_stop_cause", ",cause=\"source-went-back\""), Some(1.0));
    assert_eq!(series("stream_bridge_partition_stop_cause", ",cause=\"source-gap\""), Some(0.0));
    assert_eq!(value(&text, "stream_bridge_ready{stream=\"demo\"}"), Some(0.0), "until it is known");
    assert_eq!(value(&text, "stream_bridge_target_deduplicates{stream=\"demo\"}"), Some(1.0));
    assert_eq!(value(&text, "stream_bridge_reconnects_total{stream=\"demo\",server=\"pulsar\"}"), Some(2.0));
    assert_eq!(value(&text, "stream_bridge_memory_held_bytes{stream=\"demo\"}"), Some(3.0));
    let expiry =
        "stream_bridge_certificate_expiry_timestamp_seconds{stream=\"demo\",server=\"pulsar\",certificate=\"server\"}";
    assert_eq!(value(&text, expiry), Some(1.9e9));
    assert_eq!(series("stream_bridge_end_to_end_seconds_bucket", ",le=\"0.032\""), Some(5.0));
    assert_eq!(series("stream_bridge_end_to_end_seconds_bucket", ",le=\"0.016\""), Some(1.0));
    assert_eq!(series("stream_bridge_publish_seconds_count", ""), Some(1.0));
    assert_eq!(value(&text, "stream_bridge_build_info{stream=\"demo\",version=\"1.2.3\"}"), Some(1.0));
    assert_eq!(value(&text, "stream_bridge_contract_drift_total{stream=\"demo\",field=\"payload.colour\"}"), Some(2.0));
    assert!(value(&text, "process_resident_memory_bytes").is_some_and(|bytes| bytes > 1e6));
    assert!(value(&text, "process_cpu_seconds_total").is_some());
}

#[test]
fn the_series_of_a_revoked_partition_vanish_and_come_back_with_it() {
    let metrics = Metrics::new("demo", "1");
    let (third, thirteenth) = (metrics.partition("kafka", "demo.in", 3), metrics.partition("kafka", "demo.in", 13));
    third.received.increment(5);
    thirteenth.received.increment(1);
    let clone = third.clone();
    drop(third);
    assert!(metrics.render().contains(P3), "a clone still lives");
    drop(clone);
    let text = metrics.render();
    assert!(!text.contains(P3) && text.contains("partition=\"13\""), "{text}");
    let again = metrics.partition("kafka", "demo.in", 3);
    again.received.increment(2);
    let series = format!("stream_bridge_records_received_total{{{P3}}}");
    assert_eq!(value(&metrics.render(), &series), Some(7.0), "a counter never goes back");
}

#[test]
fn field_names_in_labels_are_bounded() {
    let metrics = Metrics::new("demo", "1");
    for field in 0..500 {
        metrics.drifted(&format!("payload.{field}.{}", "x".repeat(200)), 1);
    }
    let text = metrics.render();
    let series: Vec<_> = text.lines().filter(|line| line.starts_with("stream_bridge_contract_drift_total{")).collect();
    assert_eq!(series.len(), DRIFT_FIELDS + 1);
    assert!(series.iter().all(|line| line.len() < 250));
    assert_eq!(value(&text, "stream_bridge_contract_drift_total{stream=\"demo\",field=\"other\"}"), Some(450.0));
}
