//! What is generated is what it says.

use std::collections::{HashMap, HashSet};

use super::*;

#[test]
fn the_same_seed_gives_the_same_records_and_another_seed_others() {
    for stream in Stream::ALL {
        let records = |seed| {
            let mut events = Events::new(stream, seed, Shares::default());
            (0..500)
                .map(|_| {
                    events.advance(1_767_225_599_999);
                    (events.key().map(<[u8]>::to_vec), events.value().map(<[u8]>::to_vec))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(records(1), records(1));
        assert_ne!(records(1), records(2));
    }
}

#[test]
fn every_event_id_is_unique_and_every_kind_is_what_it_says() {
    for stream in [Stream::JobLifecycle, Stream::Notifications, Stream::AuditTrail, Stream::SystemHealth] {
        let shares = Shares { broken: 0.1, many_fields: 0.001, tombstones: 0.05, repeated: 0.05, too_large_every: 0 };
        let mut events = Events::new(stream, 7, shares);
        let mut ids = HashSet::new();
        let mut kinds: HashMap<Kind, u32> = HashMap::new();
        let mut types = HashSet::new();
        for _ in 0..20_000 {
            let kind = events.advance(now_ms());
            *kinds.entry(kind).or_default() += 1;
            let parsed = events.value().map(serde_json::from_slice::<serde_json::Value>);
            match kind {
                Kind::Tombstone => assert!(parsed.is_none()),
                Kind::BadJson | Kind::InvalidUtf8 | Kind::DeepNesting => {
                    assert!(parsed.unwrap().is_err(), "{kind:?}");
                }
                Kind::MissingField => assert!(parsed.unwrap().unwrap().get("event_id").is_none()),
                Kind::WrongType => assert!(parsed.unwrap().unwrap()["timestamp"].is_number()),
                Kind::Sound | Kind::Repeated | Kind::TooLarge | Kind::ManyFields => {
                    let event = parsed.unwrap().unwrap();
                    assert_eq!(event["schema_version"], 1);
                    types.insert(event["event_type"].as_str().unwrap().to_owned());
                    let new = ids.insert(event["event_id"].as_str().unwrap().to_owned());
                    assert_eq!(new, kind != Kind::Repeated);
                    if let (Stream::JobLifecycle, Some(key)) = (stream, events.key()) {
                        assert_eq!(event["payload"]["job_id"].as_str().unwrap().as_bytes(), key);
                    }
                }
            }
        }
        assert_eq!(types.len(), if stream == Stream::SystemHealth { 2 } else { 5 });
        assert_eq!(kinds.len(), if stream == Stream::SystemHealth { 8 } else { 9 }, "{kinds:?}");
    }
}

#[test]
fn job_metrics_come_in_three_shapes_without_event_id() {
    let mut events = Events::new(Stream::JobMetrics, 7, Shares { broken: 0.0, tombstones: 0.0, ..Shares::default() });
    let mut shapes: HashMap<&str, u32> = HashMap::new();
    for _ in 0..1_000 {
        events.advance(now_ms());
        let event: serde_json::Value = serde_json::from_slice(events.value().unwrap()).unwrap();
        assert!(event.get("event_id").is_none());
        assert_eq!(event["job_id"].as_str().unwrap().as_bytes(), events.key().unwrap());
        let shape = ["cpu_usage_percent", "metrics", "metrics_aggregate"];
        *shapes.entry(shape.into_iter().find(|name| event.get(name).is_some()).unwrap()).or_default() += 1;
    }
    assert_eq!(shapes.len(), 3);
}

#[test]
fn notifications_have_no_key_but_one_for_routing_and_audit_events_the_resource_or_the_event() {
    let sound = Shares { broken: 0.0, many_fields: 0.0, tombstones: 0.0, repeated: 0.0, too_large_every: 0 };
    let mut events = Events::new(Stream::Notifications, 7, sound);
    events.advance(now_ms());
    let event: serde_json::Value = serde_json::from_slice(events.value().unwrap()).unwrap();
    assert_eq!(events.key(), None);
    assert_eq!(events.routing_key(), format!("notifications.{}", event["user_id"].as_str().unwrap()));
    let mut events = Events::new(Stream::AuditTrail, 7, sound);
    for _ in 0..100 {
        events.advance(now_ms());
        let event: serde_json::Value = serde_json::from_slice(events.value().unwrap()).unwrap();
        let resource = event["payload"].get("resource_id").unwrap_or(&event["event_id"]);
        assert_eq!(resource.as_str().unwrap().as_bytes(), events.key().unwrap());
    }
}

#[test]
fn the_record_that_is_too_large_is_sound_json_of_more_than_six_megabytes() {
    let mut events = Events::new(Stream::JobLifecycle, 3, Shares { too_large_every: 1, ..Shares::default() });
    assert_eq!(events.advance(now_ms()), Kind::TooLarge);
    let value = events.value().unwrap();
    assert!(value.len() > 6_000_000);
    assert!(serde_json::from_slice::<serde_json::Value>(value).is_ok());
}
