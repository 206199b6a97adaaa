//! What a person sees of running bridges: figures from `/metrics` and `/status`, as a table for a plain terminal. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

/// The figures of one bridge at one moment; sums over its partitions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Taken from the source.
    pub received: f64,
    /// Confirmed by the target.
    pub published: f64,
    /// Confirmed by the dead-letter topic.
    pub dead_lettered: f64,
    /// Skipped, since the target holds them.
    pub suppressed: f64,
    /// Not settled yet.
    pub lag: f64,
    /// From the source's stamp to the receipt: how many records took at most so many seconds, by the bound's text.
    pub end_to_end: Histogram,
}

/// Cumulative counts by upper bound, rising.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram(Vec<(f64, f64)>);

impl Figures {
    /// Reads the text of `/metrics`.
    pub fn parse(metrics: &str) -> Self {
        // Not `sum`: of nothing it is -0, and shown as that.
        let sum = |name: &str| samples(metrics, name).fold(0.0, |sum, (_, value)| sum + value);
        Self {
            received: sum("stream_bridge_records_received_total"),
            published: sum("stream_bridge_records_published_total"),
            dead_lettered: sum("stream_bridge_records_dead_lettered_total"),
            suppressed: sum("stream_bridge_records_suppressed_total"),
            lag: sum("stream_bridge_lag_records"),
            end_to_end: Histogram::parse(metrics, "stream_bridge_end_to_end_seconds_bucket"),
        }
    }
}

/// The samples of one metric: the text of its labels and its value.
fn samples<'m>(metrics: &'m str, name: &'m str) -> impl Iterator<Item = (&'m str, f64)> {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        let (labels, value) = rest.rsplit_once(' ')?;
        Some((labels, value.parse().ok()?))
    })
}

impl Histogram {
    fn parse(metrics: &str, name: &str) -> Self {
        let mut buckets: BTreeMap<String, f64> = BTreeMap::new();
        for (labels, count) in samples(metrics, name) {
            if let Some((bound, _)) = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"')) {
                *buckets.entry(bound.to_owned()).or_default() += count;
            }
        }
        let bound = |text: &str| if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() };
        let mut buckets: Vec<(f64, f64)> =
            buckets.iter().filter_map(|(text, count)| Some((bound(text)?, *count))).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self(buckets)
    }

    /// What has come since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| earlier.0.iter().find(|(other, _)| *other == bound).map_or(0.0, |(_, count)| *count);
        Self(self.0.iter().map(|(bound, count)| (*bound, (count - before(*bound)).max(0.0))).collect())
    }

    /// The time that this share of the records did not exceed, in seconds, as Prometheus computes it: linear within the
    /// bucket. `None` without records.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.0.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= share * all {
                return Some(if bound.is_infinite() {
                    low
                } else {
                    low + (bound - low) * ((share * all - below) / (count - below).max(1.0))
                });
            }
            (low, below) = (*bound, *count);
        }
        Some(low)
    }
}

/// What a bridge says of itself in `/status`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Condition {
    /// The states of its partitions, the most frequent first: "10 running".
    pub state: String,
    /// What an operator should know: why partitions wait or are stopped.
    pub remarks: Vec<String>,
    /// Its partitions.
    pub partitions: usize,
    /// Whether all of them are running and have nothing left to do.
    pub is_caught_up: bool,
}

impl Condition {
    /// Reads the JSON of `/status`.
    pub fn parse(status: &Value) -> Self {
        let none = Vec::new();
        let partitions = status["partitions"].as_array().unwrap_or(&none);
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        let mut remarks: Vec<String> = status["last_error"].as_str().map(str::to_owned).into_iter().collect();
        for partition in partitions {
            let state = partition["state"].as_str().unwrap_or("?");
            *states.entry(state).or_default() += 1;
            if let (true, Some(reason)) = (state != "running", partition["reason"].as_str()) {
                remarks.push(format!(
                    "{}/{} is {state}: {reason}",
                    partition["topic"].as_str().unwrap_or("?"),
                    partition["partition"]
                ));
            }
        }
        let mut states: Vec<_> = states.into_iter().collect();
        states.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let state = match states.as_slice() {
            [] => status["state"].as_str().unwrap_or("?").to_owned(),
            _ => states.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", "),
        };
        let is_caught_up =
            |partition: &Value| partition["state"] == "running" && has_no_lag(partition).unwrap_or(false);
        Self {
            state,
            remarks,
            partitions: partitions.len(),
            is_caught_up: !partitions.is_empty() && partitions.iter().all(is_caught_up),
        }
    }
}

/// Whether a bridge knows where every partition of this Kafka topic ends. One that has just begun may not yet, and seems to have no lag.
pub fn knows_ends(status: &Value, topic: &str) -> bool {
    let partitions = status["partitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lags = partitions.iter().filter(|partition| partition["topic"] == topic).map(|it| &it["lag_records"]);
    lags.all(Value::is_u64)
}

/// Some sources do not know their end; then what was taken counts, which must all be settled.
fn has_no_lag(partition: &Value) -> Option<bool> {
    if let Some(lag) = partition["lag_records"].as_u64() {
        return Some(lag == 0);
    }
    let total = |name: &str| partition["totals"][name].as_u64();
    Some(total("received")? <= total("published")? + total("suppressed")? + total("dead_lettered")?)
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The bridge's stream.
    pub bridge: String,
    /// What it does; "no answer" where it says nothing.
    pub condition: Condition,
    /// Its figures, as last heard.
    pub figures: Figures,
    /// The 99th percentile of the time from the source's stamp to the receipt, in seconds.
    pub p99_seconds: Option<f64>,
    /// Records taken from the source per second.
    pub per_second: f64,
}

/// The table, each line at most about a hundred characters.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<16}{:<14}{:>12}{:>12}{:>8}{:>12}{:>9}{:>10}{:>9}\n",
        "bridge", "state", "records in", "out", "dead", "suppressed", "lag", "p99", "in/s"
    );
    for row in rows {
        let Figures { received, published, dead_lettered, suppressed, lag, .. } = row.figures;
        let p99 = row.p99_seconds.map_or_else(|| "-".to_owned(), time);
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "{:<16}{:<14}{received:>12}{published:>12}{dead_lettered:>8}{suppressed:>12}{lag:>9}{p99:>10}{:>9.0}",
            row.bridge, row.condition.state, row.per_second
        );
    }
    for row in rows {
        for remark in row.condition.remarks.iter().take(3) {
            let remark: String = remark.chars().take(200).collect();
            let _ = writeln!(text, "  ! {}: {remark}", row.bridge);
        }
    }
    text
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// Minutes and seconds.
pub fn clock(time: Duration) -> String {
    format!("{:02}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const METRICS: &str = r#"
# TYPE stream_bridge_records_received_total counter
stream_bridge_records_received_total{stream="s",partition="0"} 90
stream_bridge_records_received_total{stream="s",partition="1"} 10
stream_bridge_records_dead_lettered_total{stream="s",partition="1",reason="bad_json"} 3
stream_bridge_end_to_end_seconds_bucket{stream="s",partition="0",le="0.001"} 0
stream_bridge_end_to_end_seconds_bucket{stream="s",partition="0",le="0.01"} 80
stream_bridge_end_to_end_seconds_bucket{stream="s",partition="0",le="+Inf"} 90
stream_bridge_end_to_end_seconds_bucket{stream="s",partition="1",le="0.001"} 0
stream_bridge_end_to_end_seconds_bucket{stream="s",partition="1",le="0.01"} 10
stream_bridge_end_to_end_seconds_bucket{stream="s",partition="1",le="+Inf"} 10
"#;

    #[test]
    fn figures_are_sums_over_the_partitions() {
        let figures = Figures::parse(METRICS);
        assert_eq!((figures.received, figures.dead_lettered, figures.published), (100.0, 3.0, 0.0));
        let median = figures.end_to_end.quantile(0.45).unwrap();
        assert!((median - 0.0055).abs() < 1e-9, "{median}: half way between the bounds 0.001 and 0.01");
        assert_eq!(figures.end_to_end.quantile(0.99), Some(0.01), "beyond the last bound: that bound");
        assert_eq!(figures.end_to_end.since(&figures.end_to_end).quantile(0.99), None);
        assert_eq!(figures.end_to_end.since(&Histogram::default()), figures.end_to_end);
    }

    #[test]
    fn an_end_that_is_not_known_yet_is_no_end() {
        let of = |partitions: Value| knows_ends(&json!({ "partitions": partitions }), "jobs");
        let partition = |topic: &str, lag: Value| json!({ "topic": topic, "lag_records": lag });
        assert!(of(json!([partition("jobs", json!(0)), partition("queue", Value::Null)])));
        assert!(!of(json!([partition("jobs", json!(0)), partition("jobs", Value::Null)])));
    }

    #[test]
    fn a_bridge_is_caught_up_when_every_partition_runs_without_lag() {
        let partition = |state: &str, lag: u64| json!({ "topic": "t", "partition": 4, "state": state, "lag_records": lag, "reason": "told so" });
        let parse = |partitions: Value| Condition::parse(&json!({ "state": "running", "partitions": partitions }));
        assert!(parse(json!([partition("running", 0), partition("running", 0)])).is_caught_up);
        assert!(!parse(json!([partition("running", 0), partition("running", 1)])).is_caught_up);
        assert!(!parse(json!([])).is_caught_up);
        let unknown_end = |published: u64| {
            json!({ "state": "running", "lag_records": null,
            "totals": { "received": 5, "published": published, "suppressed": 1, "dead_lettered": 1 } })
        };
        assert!(parse(json!([unknown_end(3)])).is_caught_up);
        assert!(!parse(json!([unknown_end(2)])).is_caught_up);
        let stopped = parse(json!([partition("running", 0), partition("running", 0), partition("stopped", 0)]));
        assert!(!stopped.is_caught_up);
        assert_eq!(stopped.state, "2 running, 1 stopped");
        assert_eq!(stopped.remarks, ["t/4 is stopped: told so"]);
    }
}
