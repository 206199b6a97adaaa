//! The Pulsar connection against a real broker: `PULSAR_URL` and `PULSAR_ADMIN_URL` name it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bridge_common::pulsar::{
    BatchBuilder, Client, ClientConfig, Compression, Entry, Error, Frame, Opened, OutgoingMessage, Producer,
    ProducerEvent, ReaderStart, Refusal, SchemaInfo, SchemaKind, Seal, SendError, ServerError,
};
use bridge_common::record::MessageId;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must name a running Pulsar; `tests/run` starts one"))
}

fn client() -> Client {
    Client::new(ClientConfig::new(env("PULSAR_URL"))).unwrap()
}

/// One request to the admin API: the answer's status and text.
async fn request_admin(method: &str, path: &str, body: &str) -> (reqwest::StatusCode, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}/admin/v2/{path}", env("PULSAR_ADMIN_URL").trim_end_matches('/'));
    let request = reqwest::Client::new()
        .request(method.parse().unwrap(), &url)
        .header("content-type", "application/json")
        .body(body.to_owned());
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// One request to the admin API that must work.
async fn admin(method: &str, path: &str, body: &str) -> String {
    let (status, text) = request_admin(method, path, body).await;
    assert!(status.is_success(), "{method} {path}: {status} {text}");
    text
}

/// A namespace of its own with deduplication on, and a topic's name in it that nothing has used. Each test removes its
/// namespace when it passes; the broker is thrown away by whoever started it.
struct Place {
    namespace: String,
}

impl Place {
    async fn new() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let namespace = format!("public/wire-{since}-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        admin("PUT", &format!("namespaces/{namespace}"), r#"{"replication_clusters":["standalone"]}"#).await;
        admin("POST", &format!("namespaces/{namespace}/deduplication"), "true").await;
        admin(
            "POST",
            &format!("namespaces/{namespace}/retention"),
            r#"{"retentionTimeInMinutes":60,"retentionSizeInMB":-1}"#,
        )
        .await;
        Self { namespace }
    }

    fn topic(&self) -> String {
        format!("persistent://{}/t", self.namespace)
    }

    async fn unload(&self) {
        admin("PUT", &format!("persistent/{}/t/unload", self.namespace), "").await;
    }

    async fn remove(self) {
        admin("DELETE", &format!("persistent/{}/t", self.namespace), "").await;
        // Refused for a moment while the broker's own topics in it are still coming up; after that it may also be gone
        // by an attempt whose answer was an error.
        let path = format!("namespaces/{}", self.namespace);
        let removed = timeout(PATIENCE, async {
            loop {
                let (status, _) = request_admin("DELETE", &path, "").await;
                if status.is_success() || status == reqwest::StatusCode::NOT_FOUND {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        removed.await.expect("the namespace removed in time");
    }
}

type Events = UnboundedReceiver<(u64, ProducerEvent)>;

async fn open(client: &Client, topic: &str, name: &str) -> (Opened, Events) {
    let (sender, events) = unbounded_channel();
    let opened = client.open_producer(topic, name, None, sender, 77).await.unwrap();
    (opened, events)
}

async fn event(events: &mut Events) -> ProducerEvent {
    let (tag, event) = timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("an open channel");
    assert_eq!(tag, 77);
    event
}

async fn stored(events: &mut Events) -> MessageId {
    match event(events).await {
        ProducerEvent::Receipt { message_id: Some(id), .. } => id,
        other => panic!("{other:?} where a receipt was expected"),
    }
}

/// A batch of small messages with these ids, each with its id as key and body.
fn batch(producer: &Producer, ids: impl IntoIterator<Item = u64>, compression: Compression) -> Frame {
    let mut builder = BatchBuilder::new();
    for id in ids {
        let text = id.to_string();
        let text = text.as_bytes();
        let message = OutgoingMessage { sequence_id: id, key: Some(text), event_time_ms: Some(id), value: Some(text) };
        builder.push(&message, []);
    }
    seal(&mut builder, producer, compression)
}

fn seal(builder: &mut BatchBuilder, producer: &Producer, compression: Compression) -> Frame {
    let publish_time_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let seal = Seal {
        producer_name: producer.name(),
        producer_id: producer.id(),
        publish_time_ms,
        compression,
        schema_version: None,
    };
    builder.seal(&seal).unwrap()
}

fn ids(entry: &Entry) -> Vec<u64> {
    entry.batch().unwrap().sequence_ids().map(Result::unwrap).collect()
}

async fn read_to_end(client: &Client, topic: &str, start: ReaderStart, compacted: bool) -> Vec<Entry> {
    let mut reader = client.open_reader(topic, start, compacted).await.unwrap();
    let Some(last) = reader.last_message_id().await.unwrap() else { return Vec::new() };
    let mut entries = Vec::new();
    while entries.last().is_none_or(|entry: &Entry| entry.id < last) {
        entries.push(timeout(PATIENCE, reader.next()).await.expect("an entry in time").unwrap());
    }
    reader.close().await.unwrap();
    entries
}

#[tokio::test]
#[ignore = "needs a Pulsar: tests/run starts one"]
async fn batches_come_back_as_they_were_sent_with_every_compression() {
    let (client, place) = (client(), Place::new().await);
    let (opened, mut events) = open(&client, &place.topic(), "bridge/round/trip").await;
    assert_eq!(opened.last_sequence_id, None);
    assert_eq!(opened.max_message_bytes, 5 * 1024 * 1024);
    let producer = opened.producer;
    let codecs = [Compression::None, Compression::Lz4, Compression::Zstd(1)];
    let mut receipts = Vec::new();
    for (first, compression) in [100, 200, 300].into_iter().zip(codecs) {
        let mut builder = BatchBuilder::new();
        let (key, body) = ([0xff, 0xfe], vec![b'x'; 10_000]);
        let full = OutgoingMessage {
            sequence_id: first,
            key: Some(b"k\xc3\xa9y"),
            event_time_ms: Some(5),
            value: Some(&body),
        };
        builder.push(&full, [("h", "1"), ("h", "2")]);
        builder.push(&OutgoingMessage { sequence_id: first + 3, key: Some(&key), ..Default::default() }, []);
        builder.push(&OutgoingMessage { sequence_id: first + 7, value: Some(b""), ..Default::default() }, []);
        producer.send(&seal(&mut builder, &producer, compression)).unwrap();
        let ProducerEvent::Receipt { lowest_sequence_id, highest_sequence_id, message_id } = event(&mut events).await
        else {
            panic!("no receipt")
        };
        assert_eq!((lowest_sequence_id, highest_sequence_id), (first, first + 7));
        receipts.push(message_id.unwrap());
    }
    producer.close().await.unwrap();

    let entries = read_to_end(&client, &place.topic(), ReaderStart::Earliest, false).await;
    assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), receipts);
    for (entry, first) in entries.iter().zip([100, 200, 300]) {
        assert_eq!(entry.producer_name, "bridge/round/trip");
        assert_eq!((entry.sequence_id, entry.highest_sequence_id, entry.count), (first, first + 7, 3));
        assert_eq!(ids(entry), [first, first + 3, first + 7]);
        let batch = entry.batch().unwrap();
        let messages: Vec<_> = batch.messages().map(Result::unwrap).collect();
        assert_eq!(messages[0].key.as_deref(), Some("k\u{e9}y".as_bytes()));
        assert_eq!(messages[0].properties().collect::<Vec<_>>(), [("h", "1"), ("h", "2")]);
        assert_eq!((messages[0].event_time_ms, messages[0].value.len()), (Some(5), 10_000));
        assert_eq!(messages[1].key.as_deref(), Some(&[0xff, 0xfe][..]));
        assert!(messages[1].null_value && !messages[2].null_value);
        assert_eq!((messages[2].key.as_deref(), messages[2].event_time_ms), (None, None));
    }
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a Pulsar: tests/run starts one"]
async fn the_name_remembers_its_highest_id_and_duplicates_get_no_message_id() {
    let (client, place) = (client(), Place::new().await);
    let (opened, mut events) = open(&client, &place.topic(), "name").await;
    opened.producer.send(&batch(&opened.producer, 0..10, Compression::Lz4)).unwrap();
    stored(&mut events).await;
    opened.producer.close().await.unwrap();

    let (again, mut events) = open(&client, &place.topic(), "name").await;
    assert_eq!(again.last_sequence_id, Some(9));
    assert_ne!(again.producer.id(), opened.producer.id());
    again.producer.send(&batch(&again.producer, 5..15, Compression::Lz4)).unwrap();
    let duplicate = ProducerEvent::Receipt { lowest_sequence_id: 5, highest_sequence_id: 14, message_id: None };
    assert_eq!(event(&mut events).await, duplicate);
    again.producer.close().await.unwrap();
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a Pulsar: tests/run starts one"]
async fn a_held_name_is_busy_until_it_is_closed_or_its_connection_dropped() {
    let (first, second, place) = (client(), client(), Place::new().await);
    let (holder, _events) = open(&first, &place.topic(), "name").await;
    let (sender, _) = unbounded_channel();
    let busy = second.open_producer(&place.topic(), "name", None, sender.clone(), 1).await.unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    // On our own connection as well: the id is fresh.
    let busy = first.open_producer(&place.topic(), "name", None, sender, 1).await.unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    holder.producer.close().await.unwrap();
    let (held, mut events) = open(&second, &place.topic(), "name").await;
    second.drop_connection_of(&place.topic());
    assert!(matches!(event(&mut events).await, ProducerEvent::Closed { .. }));
    assert!(!held.producer.is_open());
    let patience = tokio::time::Instant::now() + PATIENCE;
    let free = loop {
        let (sender, _) = unbounded_channel();
        match first.open_producer(&place.topic(), "name", None, sender, 1).await {
            Ok(opened) => break opened,
            Err(error) => {
                assert!(matches!(error, Error::Busy { .. }) && tokio::time::Instant::now() < patience, "{error}")
            }
        }
    };
    free.producer.close().await.unwrap();
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a Pulsar: tests/run starts one"]
async fn an_open_that_is_given_up_does_not_hold_its_name() {
    let (client, place) = (client(), Place::new().await);
    for _ in 0..20 {
        let (sender, _) = unbounded_channel();
        let topic = place.topic();
        let open = client.open_producer(&topic, "name", None, sender, 1);
        // Dropped at some moment before, during or after the request.
        let _ = timeout(Duration::from_micros(700), open).await;
    }
    // The broker may still be discarding the last of them: the name is free soon, and on the same connection.
    let freed = timeout(PATIENCE, async {
        loop {
            let (sender, _) = unbounded_channel();
            match client.open_producer(&place.topic(), "name", None, sender, 1).await {
                Ok(opened) => return opened,
                Err(Error::Busy { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    freed.await.expect("the name is held though nobody has it open").producer.close().await.unwrap();
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a Pulsar: tests/run starts one"]
async fn an_unload_closes_the_producer_and_ends_readers_and_both_open_again() {
    let (client, place) = (client(), Place::new().await);
    let (opened, mut events) = open(&client, &place.topic(), "name").await;
    opened.producer.send(&batch(&opened.producer, 0..10, Compression::Lz4)).unwrap();
    let id = stored(&mut events).await;
    let mut reader = client.open_reader(&place.topic(), ReaderStart::Latest, false).await.unwrap();
    place.unload().await;
    assert!(matches!(event(&mut events).await, ProducerEvent::Closed { .. }));
    let frame = batch(&opened.producer, 10..20, Compression::Lz4);
    assert_eq!(opened.producer.send(&frame), Err(SendError::Gone));
    opened.producer.close().await.unwrap();
    let ended = timeout(PATIENCE, reader.next()).await.unwrap().unwrap_err();
    assert!(matches!(ended, Error::Retryable { .. }), "{ended}");

    let (again, mut events) = open(&client, &place.topic(), "name").await;
    assert_eq!(again.last_sequence_id, Some(9));
    // The newest ledger is empty now; the newest entry is in the one before.
    let reader = client.open_reader(&place.topic(), ReaderStart::Earliest, false).await.unwrap();
    assert_eq!(reader.last_message_id().await.unwrap(), Some(id));
    again.producer.send(&batch(&again.producer, 10..20, Compression::Lz4)).unwrap();
    stored(&mut events).await;
    again.producer.close().await.unwrap();
    drop(reader);
    place.unload().await;
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a Pulsar: tests/run starts one"]
async fn close_drains_a_full_window() {
    let (client, place) = (client(), Place::new().await);
    let (opened, mut events) = open(&client, &place.topic(), "name").await;
    for first in (0..50_000u64).step_by(100) {
        opened.producer.send(&batch(&opened.producer, first..first + 100, Compression::Zstd(1))).unwrap();
    }
    opened.producer.close().await.unwrap();
    for first in (0..50_000u64).step_by(100) {
        let Ok((_, ProducerEvent::Receipt { lowest_sequence_id, message_id: Some(_), .. })) = events.try_recv() else {
            panic!("no receipt for the batch at {first} after the close was answered")
        };
        assert_eq!(lowest_sequence_id, first);
    }
    assert!(events.try_recv().is_err());
    // 500 entries of 100 messages: more than a reader asks for ahead.
    let entries = read_to_end(&client, &place.topic(), ReaderStart::Earliest, false).await;
    let all: Vec<_> = entries.iter().flat_map(ids).collect();
    assert!(all.into_iter().eq(0..50_000));
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a Pulsar: tests/run starts one"]
async fn readers_start_where_they_are_told_the_entry_itself_included() {
    let (client, place) = (client(), Place::new().await);
    let (opened, mut events) = open(&client, &place.topic(), "name").await;
    let reader = client.open_reader(&place.topic(), ReaderStart::Earliest, false).await.unwrap();
    assert_eq!(reader.last_message_id().await.unwrap(), None);
    drop(reader);
    let mut at = Vec::new();
    for id in 0..5 {
        opened.producer.send(&batch(&opened.producer, [id], Compression::None)).unwrap();
        at.push(stored(&mut events).await);
    }
    for (first, id) in (0..5u64).zip(&at) {
        let entries = read_to_end(&client, &place.topic(), ReaderStart::At(*id), false).await;
        assert_eq!(entries.iter().flat_map(ids).collect::<Vec<_>>(), (first..5).collect::<Vec<_>>());
    }
    let mut latest = client.open_reader(&place.topic(), ReaderStart::Latest, false).await.unwrap();
    assert_eq!(latest.last_message_id().await.unwrap(), at.last().copied());
    opened.producer.send(&batch(&opened.producer, [9], Compression::None)).unwrap();
    assert_eq!(ids(&timeout(PATIENCE, latest.next()).await.unwrap().unwrap()), [9]);
    latest.close().await.unwrap();
    opened.producer.close().await.unwrap();
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a Pulsar: tests/run starts one"]
async fn a_compacted_topic_gives_the_latest_of_each_key() {
    let (client, place) = (client(), Place::new().await);
    let (opened, mut events) = open(&client, &place.topic(), "name").await;
    let mut builder = BatchBuilder::new();
    let keys = ["a", "b", "a", "c", "b", "gone", "gone"];
    for (id, key) in (0..).zip(keys) {
        let value = (id != 6).then_some(&b"v"[..]);
        builder.push(&OutgoingMessage { sequence_id: id, key: Some(key.as_bytes()), value, ..Default::default() }, []);
        if id % 2 == 1 {
            opened.producer.send(&seal(&mut builder, &opened.producer, Compression::Lz4)).unwrap();
            stored(&mut events).await;
        }
    }
    opened.producer.send(&seal(&mut builder, &opened.producer, Compression::None)).unwrap();
    stored(&mut events).await;
    let path = format!("persistent/{}/t/compaction", place.namespace);
    admin("PUT", &path, "").await;
    timeout(PATIENCE, async {
        while !admin("GET", &path, "").await.contains("SUCCESS") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("a compaction in time");
    let entries = read_to_end(&client, &place.topic(), ReaderStart::Earliest, true).await;
    assert_eq!(entries.iter().flat_map(ids).collect::<Vec<_>>(), [2, 3, 4]);
    opened.producer.close().await.unwrap();
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a Pulsar: tests/run starts one"]
async fn what_is_too_large_is_refused_here_and_by_the_topics_limit_there() {
    let (client, place) = (client(), Place::new().await);
    let (opened, mut events) = open(&client, &place.topic(), "name").await;
    let one = |id, bytes: usize| {
        let mut builder = BatchBuilder::new();
        let value = vec![b'x'; bytes];
        builder.push(&OutgoingMessage { sequence_id: id, value: Some(&value), ..Default::default() }, []);
        seal(&mut builder, &opened.producer, Compression::None)
    };
    let large = one(0, opened.max_message_bytes);
    let too_large = SendError::TooLarge { bytes: large.body_bytes(), limit: opened.max_message_bytes };
    assert_eq!(opened.producer.send(&large), Err(too_large));
    // The largest that is let through is taken by the broker.
    let largest = one(1, 2 * opened.max_message_bytes - large.body_bytes());
    assert_eq!(largest.body_bytes(), opened.max_message_bytes);
    opened.producer.send(&largest).unwrap();
    stored(&mut events).await;

    admin("POST", &format!("persistent/{}/t/maxMessageSize", place.namespace), "10000").await;
    // The policy takes effect a moment after it is set: send until it does.
    let refused = timeout(PATIENCE, async {
        for id in 2.. {
            opened.producer.send(&one(id, 20_000)).unwrap();
            if let ProducerEvent::SendError { highest_sequence_id, code, .. } = event(&mut events).await {
                return (highest_sequence_id == id, code);
            }
        }
        unreachable!("ids do not run out")
    });
    assert_eq!(refused.await.unwrap(), (true, ServerError::NotAllowedError));
    opened.producer.close().await.unwrap();
    place.remove().await;
}

#[tokio::test]
#[ignore = "needs a Pulsar: tests/run starts one"]
async fn schemas_topics_and_partitions_are_answered_by_type() {
    let (client, place) = (client(), Place::new().await);
    let schema = |field: &str| SchemaInfo {
        name: "r".to_owned(),
        kind: SchemaKind::Avro,
        data: format!(r#"{{"type":"record","name":"r","fields":[{{"name":"{field}","type":"string"}}]}}"#).into_bytes(),
        properties: Vec::new(),
    };
    let (sender, _events) = unbounded_channel();
    let opened = client.open_producer(&place.topic(), "n", Some(&schema("a")), sender.clone(), 1).await.unwrap();
    assert_eq!(opened.schema_version.as_deref(), Some(&[0; 8][..]));
    assert_eq!(client.get_or_create_schema(&place.topic(), &schema("a")).await.unwrap(), [0; 8]);
    let refused = client.open_producer(&place.topic(), "m", Some(&schema("b")), sender, 1).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { refusal: Refusal::IncompatibleSchema, .. }), "{refused}");
    opened.producer.close().await.unwrap();

    assert_eq!(client.partitions(&place.topic()).await.unwrap(), 0);
    admin("PUT", &format!("persistent/{}/many/partitions", place.namespace), "3").await;
    assert_eq!(client.partitions(&format!("persistent://{}/many", place.namespace)).await.unwrap(), 3);
    let nowhere = format!("persistent://{}/nowhere", place.namespace);
    let missing = client.open_reader(&nowhere, ReaderStart::Earliest, false).await.unwrap_err();
    assert!(matches!(missing, Error::Refused { refusal: Refusal::TopicNotFound, .. }), "{missing}");
    admin("DELETE", &format!("persistent/{}/many/partitions", place.namespace), "").await;
    place.remove().await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_a_connection_error_that_names_it() {
    // Port 1 is privileged and unused.
    let client = Client::new(ClientConfig::new("pulsar://127.0.0.1:1")).unwrap();
    let error = client.partitions("persistent://public/default/t").await.unwrap_err();
    assert!(matches!(error, Error::Connection { .. }) && error.is_retryable());
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1") && text.contains("persistent://public/default/t"), "{text}");
}
