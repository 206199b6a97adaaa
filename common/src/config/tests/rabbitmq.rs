//! The sections of RabbitMQ.

use std::collections::BTreeMap;

use super::super::rabbitmq::*;
use super::*;
use crate::translate::JsonPath;

fn source(text: &str) -> Result<RabbitmqSource, config::ConfigError> {
    let text = config::File::from_str(text, config::FileFormat::Toml);
    config::Config::builder().add_source(text).build()?.try_deserialize()
}

#[test]
fn keys_and_starts_are_parsed() {
    let text = "queue = \"q\"\nidempotency_key = \"json:payload.id\"\nkey = \"header:k\"\nstart = { 0 = 7 }\n\
        [[bind]]\nexchange = \"e\"\nrouting_key = \"r\"\n[arguments]\n\"x-max-length\" = 5\n";
    let parsed = source(text).unwrap();
    assert_eq!(parsed.idempotency_key, Some(IdempotencyKey::Json(JsonPath::parse("payload.id").unwrap())));
    assert_eq!(parsed.key, Some(KeyFrom::Header("k".to_owned())));
    assert_eq!(parsed.start, Start::Offsets(BTreeMap::from([(0, 7)])));
    assert_eq!(parsed.arguments["x-max-length"], ArgumentValue::Integer(5));
    assert!(parsed.declare && parsed.check(false).is_ok());
}

#[test]
fn the_section_stands_by_default_and_says_what_is_wrong() {
    assert_eq!(RabbitmqSection::default().check(), Ok(()));
    let wrong = RabbitmqSection { url: Secret::new("http://u:hush@host"), ..RabbitmqSection::default() };
    let (key, reason) = wrong.check().unwrap_err();
    assert!(key == "url" && !reason.contains("hush"));
    let wrong = RabbitmqSection { heartbeat_seconds: 0, ..RabbitmqSection::default() };
    assert_eq!(wrong.check().unwrap_err().0, "heartbeat_seconds");
}

#[test]
fn what_cannot_be_is_refused_with_its_key() {
    for wrong in ["idempotency_key = \"id\"", "key = \"header:\"", "start = \"soon\"", "qeue = \"x\""] {
        assert!(source(wrong).is_err(), "{wrong}");
    }
    for (text, dedupe, key) in [
        ("", false, "queue"),
        ("queue = \"q\"\nqueues = [\"p\"]", false, "queue"),
        ("queues = [\"p\", \"p\"]", false, "queues"),
        ("queue = \"q\"", false, "idempotency_key"),
        ("queue = \"q\"\nidempotency_key = \"message-id\"", true, "idempotency_key"),
        ("queue = \"q\"\nprefetch = 0", false, "prefetch"),
    ] {
        assert_eq!(source(text).unwrap().check(dedupe).unwrap_err().0, key, "{text}");
    }
    assert!(source("queue = \"q\"\nat_least_once = true").unwrap().check(false).is_ok());
    assert!(source("queue = \"q\"").unwrap().check(true).is_ok());
    assert!(source("queue = \"q\"\nqueue_type = \"stream\"").unwrap().check(false).is_ok());
}
