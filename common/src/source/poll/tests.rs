//! What two recorded answers of the real servers make, and the reader against endpoints that behave badly.
//!
//! The texts in `testdata` were recorded from RabbitMQ 3.10.8 and Pulsar 4.0.8, some 10 s apart, with messages being published;
//! lines of other metrics are left out.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::figures::{Measured, measure};
use super::mapping::Mapping;
use super::{KafkaAccess, PollReader};
use crate::config::{PollEndpoint, PollFigures, PollKind, PollMetric, PollSource};
use crate::source::Start;

const RABBITMQ: [&str; 2] = [include_str!("testdata/rabbitmq-1.txt"), include_str!("testdata/rabbitmq-2.txt")];
const PULSAR: [&str; 2] = [include_str!("testdata/pulsar-1.txt"), include_str!("testdata/pulsar-2.txt")];
const HISTOGRAM: [&str; 2] = [include_str!("testdata/histogram-1.txt"), include_str!("testdata/histogram-2.txt")];

/// The figures of the first and of the second of two answers, 10 s apart.
fn figures_of(mapping: &Mapping, texts: [&str; 2], now_ms: u64) -> [BTreeMap<&'static str, Value>; 2] {
    let [first, second] = texts.map(|text| mapping.observe(text, now_ms).unwrap());
    let named = |figures: Measured| figures.into_iter().map(|(figure, value)| (figure.name(), value)).collect();
    [named(measure(None, &first)), named(measure(Some((&first, Duration::from_secs(10))), &second))]
}

#[test]
fn rabbitmq_as_it_was_recorded() {
    let [first, second] = figures_of(&Mapping::rabbitmq(), RABBITMQ, 0);
    let expected = [
        ("connectionCount", json!(1)),
        ("memoryUsageMb", json!(143_482_880.0 / 1_048_576.0)),
        ("uptime", json!(939.427)),
    ];
    assert_eq!(first, BTreeMap::from(expected), "rates are missing at the first poll, latencies always");
    let expected = [
        ("connectionCount", json!(2)),
        // 34 ms of CPU in 10 s.
        ("cpuPercentage", json!(0.34)),
        ("memoryUsageMb", json!(143_523_840.0 / 1_048_576.0)),
        ("messagesPerSecond", json!(10.0)),
        ("uptime", json!(949.431)),
    ];
    assert_eq!(second, BTreeMap::from(expected));
    let stats = Mapping::rabbitmq().observe(RABBITMQ[1], 0).unwrap().stats;
    assert_eq!(
        (&stats["messagesUnroutable"], &stats["channels"], &stats["queues"]),
        (&json!(150), &json!(2), &json!(0))
    );
}

#[test]
fn pulsar_as_it_was_recorded() {
    let now_ms = 1_795_475_671_458;
    let [first, second] = figures_of(&Mapping::pulsar(), PULSAR, now_ms);
    assert!(!first.contains_key("messagesPerSecond") && !first.contains_key("cpuPercentage"), "{first:?}");
    let number = |figure: &str| second[figure].as_f64().unwrap();
    assert_eq!(number("messagesPerSecond"), 50.3);
    assert!((number("cpuPercentage") - 8.2).abs() < 1e-6, "0.82 s of CPU in 10 s: {second:?}");
    assert_eq!((number("p50LatencyMs"), number("p95LatencyMs"), number("p99LatencyMs")), (1.798, 2.602, 4.79));
    assert_eq!(number("uptime").round(), 1060.0);
    assert_eq!((&second["connectionCount"], &second["partitionCount"]), (&json!(3), &json!(3)));
    assert!(!second.contains_key("brokerCount"), "a broker does not know of the others");
}

#[test]
fn a_pulsar_without_traffic_has_no_latencies() {
    let text = PULSAR[1].lines().map(|line| match line.split_once("quantile=") {
        Some(_) => format!("{} NaN\n", line.rsplit_once(' ').unwrap().0),
        None => format!("{line}\n"),
    });
    let [_, second] = figures_of(&Mapping::pulsar(), [PULSAR[0], &text.collect::<String>()], 1_795_475_671_458);
    assert!(!second.keys().any(|name| name.ends_with("LatencyMs")), "{second:?}");
    assert_eq!(second["messagesPerSecond"], 50.3, "the others do not suffer");
}

#[test]
fn any_exporter_as_it_is_told() {
    let metric = |metric: &str, scale| Some(PollMetric { metric: metric.to_owned(), scale });
    let figures =
        PollFigures { latency: metric("pulsar_metadata_store_ops_latency_ms", Some(1.0)), ..PollFigures::default() };
    let [first, second] = figures_of(&Mapping::of(&figures, &BTreeMap::new()), HISTOGRAM, 0);
    assert!(first.is_empty());
    // Of 49 that came between the two, 42 took up to 1 ms, 48 up to 3 and 5, all up to 10.
    let expected = [("p50LatencyMs", 24.5 / 42.0), ("p95LatencyMs", 1.0 + 2.0 * 4.55 / 6.0), ("p99LatencyMs", 7.55)];
    assert_eq!(second.len(), expected.len());
    for (figure, expected) in expected {
        assert!((second[figure].as_f64().unwrap() - expected).abs() < 1e-9, "{figure}: {second:?}");
    }

    let figures = PollFigures {
        memory_usage_mb: metric("process_resident_memory_bytes", None),
        uptime: metric("process_start_time_seconds", None),
        connection_count: metric("nobody_has_this", None),
        ..PollFigures::default()
    };
    let stats = BTreeMap::from([("storage".to_owned(), "pulsar_broker_storage_size".to_owned())]);
    let mapping = Mapping::of(&figures, &stats);
    let [_, second] = figures_of(&mapping, PULSAR, 1_795_475_671_458);
    assert_eq!(second.keys().copied().collect::<Vec<_>>(), ["memoryUsageMb", "uptime"]);
    assert_eq!(mapping.observe(PULSAR[1], 0).unwrap().stats["storage"], 632_500);
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(at in 0..6000_usize, cut in 0..400_usize, junk in "(\\PC|[{}\"=, \\n]){0,40}") {
        for text in [RABBITMQ[1], PULSAR[1], HISTOGRAM[1]] {
            let (start, end) = (at.min(text.len()), (at + cut).min(text.len()));
            let text = format!("{}{junk}{}", &text[..start], &text[end..]);
            let figures = PollFigures {
                latency: Some(PollMetric { metric: "pulsar_metadata_store_ops_latency_ms".into(), scale: None }),
                ..PollFigures::default()
            };
            for mapping in [Mapping::rabbitmq(), Mapping::pulsar(), Mapping::of(&figures, &BTreeMap::new())] {
                if let Ok(observed) = mapping.observe(&text, 1_795_475_671_458) {
                    measure(Some((&observed, Duration::from_secs(1))), &observed);
                }
            }
        }
    }
}

/// An exporter of our own, at a free port; the tests ask it by its paths.
async fn exporter() -> String {
    let huge = || async { "rabbitmq_connections 1\n".repeat(800_000) };
    let router = Router::new()
        .route("/good", get(|| async { RABBITMQ[0] }))
        .route("/refused", get(|| async { (StatusCode::UNAUTHORIZED, "who are you") }))
        .route("/page", get(|| async { "<html>welcome</html>" }))
        .route("/binary", get(|| async { vec![0xff_u8, 0xfe] }))
        .route("/huge", get(huge))
        .route("/silent", get(std::future::pending::<&'static str>));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn source(urls: &[(&str, String)], interval_ms: u64) -> PollSource {
    let endpoint =
        |url: &String| PollEndpoint { kind: PollKind::RabbitMq, url: Some(url.clone()), ..PollEndpoint::default() };
    let endpoint = urls.iter().map(|(name, url)| ((*name).to_owned(), endpoint(url))).collect();
    PollSource { interval_ms, timeout_ms: 1_000, endpoint }
}

fn reader(source: &PollSource) -> PollReader {
    crate::cli::install_tls();
    PollReader::new("brokers", source, &KafkaAccess::default()).unwrap()
}

/// The next records, with their numbers.
async fn take(reader: &mut PollReader, count: usize) -> Vec<(u64, Value)> {
    let mut records = Vec::new();
    while records.len() < count {
        reader.ready().await;
        let taken = reader.take(count - records.len(), &mut |record| {
            assert!(record.timestamp_ms.is_some() && record.key.is_some());
            records.push((record.offset, serde_json::from_slice(record.value.unwrap()).unwrap()));
        });
        taken.unwrap();
    }
    records
}

#[tokio::test]
async fn endpoints_that_behave_badly_are_not_connected_and_hold_up_nobody() {
    let url = exporter().await;
    let paths = ["good", "refused", "page", "binary", "huge", "silent", "absent"];
    let mut urls: Vec<_> = paths.map(|path| (path, format!("{url}/{path}"))).to_vec();
    // Nobody listens where somebody just did.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    urls.push(("closed", format!("http://{closed}/metrics?token=hush")));
    let mut reader = reader(&source(&urls, 60_000));
    assert_eq!(reader.resolve(Start::Earliest).await.unwrap(), 0);
    reader.start_at(1_000).await.unwrap();
    let records = take(&mut reader, urls.len()).await;
    assert_eq!(records.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (1_000..1_008).collect::<Vec<_>>());
    for (_, record) in &records {
        let (endpoint, error) = (record["endpoint"].as_str().unwrap(), record["errorMessage"].as_str().unwrap_or(""));
        let expected = match endpoint {
            "good" => "",
            "refused" => "HTTP status 401",
            "absent" => "HTTP status 404",
            "page" => "none of the metrics",
            "binary" => "not UTF-8",
            "huge" => "more than 16777216 bytes",
            "silent" => "time",
            _ => "refused",
        };
        assert!(error.contains(expected), "{endpoint}: {error}");
        assert!(!error.contains("hush"), "{error}");
        assert_eq!(record["isConnected"], endpoint == "good");
        assert_eq!(record["connectionCount"], if endpoint == "good" { json!(1) } else { Value::Null }, "{endpoint}");
    }
}

#[tokio::test]
async fn numbers_go_on_and_a_start_polls_anew() {
    let url = exporter().await;
    let mut reader = reader(&source(&[("good", format!("{url}/good"))], 5));
    assert!(reader.take(1, &mut |_| panic!("not started")).is_err());
    reader.start_at(7).await.unwrap();
    let records = take(&mut reader, 3).await;
    assert_eq!((records[0].0, records[2].0, reader.position()), (7, 9, Some(10)));
    assert_eq!(records[0].1["messagesPerSecond"], Value::Null, "missing at the first poll");
    assert_eq!(records[1].1["messagesPerSecond"], json!(0.0), "the recorded text stands still");
    let ids: Vec<_> = records.iter().map(|(_, record)| record["event_id"].as_str().unwrap()).collect();
    assert!(ids[0].starts_with("poll/brokers/good/") && ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    reader.stop().await.unwrap();
    assert!(reader.take(1, &mut |_| panic!("stopped")).is_err());
    assert_eq!(reader.position(), Some(10));
    reader.start_at(20).await.unwrap();
    let records = take(&mut reader, 1).await;
    assert_eq!((records[0].0, &records[0].1["messagesPerSecond"]), (20, &Value::Null));
    assert_eq!(reader.stamp_at(7).await.unwrap(), None);
}

#[tokio::test]
async fn nothing_is_polled_while_nobody_takes() {
    let url = exporter().await;
    let mut reader = reader(&source(&[("a", format!("{url}/good")), ("b", format!("{url}/good"))], 1));
    reader.start_at(0).await.unwrap();
    let full = async {
        while reader.high_watermark() < Some(8) {
            tokio::task::yield_now().await;
        }
        // Far longer than the interval.
        tokio::time::sleep(Duration::from_millis(100)).await;
        reader.high_watermark()
    };
    assert_eq!(full.await, Some(8), "four rounds of two endpoints wait, and no more");
    take(&mut reader, 20).await;
}
