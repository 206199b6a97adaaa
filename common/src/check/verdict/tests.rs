//! Each rule: a topic or queue as `bridgectl setup` leaves it is all well, and every spoilt setting gives its finding.
#![allow(clippy::unwrap_used, reason = "these are tests, helpers too")]

use serde_json::{Value, json};

use super::super::facts::{
    KafkaFacts, ManagementFacts, NamespaceFacts, PulsarFacts, RabbitFacts, Role, SchemaFacts, TopicFacts,
};
use super::super::finding::{Finding, Severity};
use super::namespace::namespace;
use super::schema::Promise;
use super::topic::Wants;
use super::{kafka, rabbitmq, schema, topic};
use crate::config::{PulsarSection, RabbitmqSource};

const CONTRACT: &str = r#"{"type":"record","name":"E","fields":[{"name":"id","type":"string"}]}"#;

fn wants() -> Wants {
    Wants {
        stream: "demo".to_owned(),
        exactly_once: true,
        asserted: false,
        partitions: 3,
        source_partitions: Some(10),
        namespace_retention_days: Some(90),
    }
}

fn promise() -> Promise {
    Promise { contract: Some(CONTRACT.to_owned()), strategy: "BACKWARD_TRANSITIVE", stream: "demo".to_owned() }
}

fn days(days: i64) -> Value {
    json!({ "retentionTimeInMinutes": days * 1440, "retentionSizeInMB": -1 })
}

/// As setup leaves it.
fn well(role: Role) -> TopicFacts {
    let retention = if role == Role::Checkpoints {
        json!({ "retentionTimeInMinutes": -1, "retentionSizeInMB": -1 })
    } else {
        days(30)
    };
    let policies = [
        ("retention", retention),
        (
            "backlogQuotaMap",
            json!({ "destination_storage": { "limitSize": -1, "limitTime": -1, "policy": "producer_request_hold" } }),
        ),
        ("messageTTL", json!(0)),
        ("inactiveTopicPolicies", json!({ "deleteWhileInactive": false })),
        ("maxProducers", json!(0)),
        ("publishRate", Value::Null),
        ("maxMessageSize", Value::Null),
        ("compactionThreshold", json!(8 << 20)),
        ("schemaCompatibilityStrategy", json!("BACKWARD_TRANSITIVE")),
    ];
    TopicFacts {
        topic: "persistent://public/demo/out".parse().unwrap(),
        role,
        partitions: Ok(Some(if role == Role::Target { 3 } else { 0 })),
        policies: policies.map(|(name, value)| (name, Ok(value))).into(),
        deduplicates: Ok(true),
        schema: None,
        may_produce: Some(Ok(())),
        may_consume: Some(Ok(())),
        max_message_bytes: Some(5 << 20),
    }
}

fn with_schema(takes: bool, versions: &[(&str, &str)]) -> TopicFacts {
    let numbered = versions.iter().zip(0..);
    let versions = numbered.map(|((kind, text), number)| (number, (*kind).to_owned(), (*text).to_owned())).collect();
    TopicFacts { schema: Some(Ok(SchemaFacts { versions, takes_contract: Ok(takes) })), ..well(Role::Target) }
}

fn source() -> KafkaFacts {
    let settings = [
        ("cleanup.policy", "delete"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "-1"),
        ("max.message.bytes", "1048588"),
    ];
    KafkaFacts {
        topic: "in".to_owned(),
        group: "bridge-demo".to_owned(),
        partitions: Ok(Some(10)),
        settings: Ok(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        may_read: Some(Ok(())),
        may_group: Some(Ok(())),
    }
}

#[track_caller]
fn all_well(found: &[Finding]) {
    let bad: Vec<_> = found.iter().filter(|finding| finding.severity != Severity::Ok).collect();
    assert!(bad.is_empty() && !found.is_empty(), "{bad:#?}");
}

/// Exactly this is wrong, and nothing else.
#[track_caller]
fn only(found: &[Finding], severity: Severity, check: &str, words: &str) {
    let bad: Vec<_> = found.iter().filter(|finding| finding.severity != Severity::Ok).collect();
    match bad[..] {
        [it] => assert!((it.severity, it.check) == (severity, check) && it.to_string().contains(words), "{it:#?}"),
        _ => panic!("{check} alone was expected, not {bad:#?}"),
    }
}

#[test]
fn what_setup_leaves_is_all_well() {
    for role in [Role::Target, Role::DeadLetters, Role::Checkpoints] {
        all_well(&topic::topic(&well(role), &wants()));
    }
    all_well(&kafka::topic(&source()));
    all_well(&schema::schema(&with_schema(true, &[("AVRO", CONTRACT)]), &promise()));
    assert_eq!(kafka::retention(&source(), &well(Role::Target)), None);
    all_well(&kafka::largest_record(&source(), &well(Role::Target)).into_iter().collect::<Vec<_>>());
}

#[test]
fn every_spoilt_policy_of_a_topic_is_found() {
    use Severity::{Error, Warning};
    let quota =
        |policy: &str| json!({ "destination_storage": { "limitSize": 1 << 30, "limitTime": -1, "policy": policy } });
    let cases = [
        (
            Role::Target,
            "backlogQuotaMap",
            quota("consumer_backlog_eviction"),
            Error,
            "pulsar.backlog-quota",
            "1024 MiB",
        ),
        (Role::Target, "messageTTL", json!(3600), Warning, "pulsar.ttl", "3600 s"),
        (
            Role::Target,
            "retention",
            json!({ "retentionTimeInMinutes": 0, "retentionSizeInMB": 0 }),
            Error,
            "pulsar.retention",
            "no retention",
        ),
        (Role::Checkpoints, "retention", days(30), Error, "pulsar.retention", "30 days: checkpoints must never"),
        (
            Role::Target,
            "inactiveTopicPolicies",
            json!({ "deleteWhileInactive": true }),
            Error,
            "pulsar.inactive-topics",
            "deduplication remembers",
        ),
        (Role::Target, "maxProducers", json!(10), Error, "pulsar.max-producers", "10 source partitions"),
        (
            Role::Target,
            "publishRate",
            json!({ "publishThrottlingRateInMsg": 100, "publishThrottlingRateInByte": -1 }),
            Warning,
            "pulsar.publish-rate",
            "100 messages/s",
        ),
        (Role::Checkpoints, "compactionThreshold", json!(0), Warning, "pulsar.compaction", "never compacted"),
    ];
    for (role, name, value, severity, check, words) in cases {
        let mut facts = well(role);
        facts.policies.insert(name, Ok(value));
        only(&topic::topic(&facts, &wants()), severity, check, words);
    }
    for (name, value) in [("backlogQuotaMap", quota("producer_request_hold")), ("maxProducers", json!(11))] {
        let mut facts = well(Role::Target);
        facts.policies.insert(name, Ok(value));
        all_well(&topic::topic(&facts, &wants()));
    }
    let mut kept = well(Role::Checkpoints);
    kept.policies.insert("inactiveTopicPolicies", Ok(json!({ "deleteWhileInactive": true })));
    all_well(&topic::topic(&kept, &wants()));
}

#[test]
fn what_cannot_be_told_is_said_once_for_a_topic() {
    let mut facts = well(Role::Target);
    for name in ["retention", "messageTTL"] {
        facts.policies.insert(name, Err("403".to_owned()));
    }
    only(&topic::topic(&facts, &wants()), Severity::Warning, "pulsar.policies", "messageTTL, retention: 403");
}

#[test]
fn a_missing_or_wrongly_partitioned_topic_is_found() {
    use Severity::{Error, Warning};
    let with = |role, partitions| topic::topic(&TopicFacts { partitions: Ok(partitions), ..well(role) }, &wants());
    only(&with(Role::Target, None), Error, "pulsar.topic", "Run `bridgectl setup demo`");
    only(&with(Role::Target, Some(5)), Warning, "pulsar.partitions", "setup.partitions is 3");
    only(&with(Role::Checkpoints, Some(2)), Error, "pulsar.partitions", "must not be partitioned");
    only(&with(Role::DeadLetters, Some(2)), Error, "pulsar.partitions", "must not be partitioned");
    all_well(&with(Role::Target, Some(0)));
    let untold = TopicFacts { partitions: Err("403".to_owned()), ..well(Role::Target) };
    only(&topic::topic(&untold, &wants()), Warning, "pulsar.topic", "cannot be told: 403");
}

#[test]
fn deduplication_is_demanded_by_what_is_promised() {
    use Severity::{Error, Warning};
    let judge = |there: Result<bool, String>, exactly_once, asserted| {
        let facts = TopicFacts { deduplicates: there, ..well(Role::Target) };
        topic::topic(&facts, &Wants { exactly_once, asserted, ..wants() })
    };
    let check = "pulsar.deduplication";
    only(&judge(Ok(false), true, false), Error, check, "could be doubled");
    only(&judge(Ok(false), true, true), Error, check, "could be doubled");
    only(&judge(Ok(false), false, false), Warning, check, "at-least-once");
    only(&judge(Ok(true), true, true), Warning, check, "asserted");
    only(&judge(Err("403".to_owned()), true, true), Warning, check, "asserted");
    only(&judge(Err("403".to_owned()), true, false), Warning, check, "cannot be told");
}

#[test]
fn rights_that_are_missing_are_found() {
    let denied = TopicFacts { may_produce: Some(Err("not allowed".to_owned())), ..well(Role::Target) };
    only(&topic::topic(&denied, &wants()), Severity::Error, "pulsar.rights", "cannot be written: not allowed");
    let untried = TopicFacts { may_consume: None, ..well(Role::Target) };
    only(&topic::topic(&untried, &wants()), Severity::Warning, "pulsar.rights", "cannot be told");
}

#[test]
fn servers_and_namespaces() {
    let section = PulsarSection::default();
    let mut facts = PulsarFacts { binary: Some(Ok(())), admin: Some(Ok(())), ..PulsarFacts::default() };
    all_well(&topic::servers(&section, &facts));
    facts.binary = Some(Err("refused".to_owned()));
    only(&topic::servers(&section, &facts), Severity::Error, "pulsar.reachable", "pulsar://127.0.0.1:6650");
    let of =
        |own: Value| NamespaceFacts { auto_creation: Ok(own), retention: Ok(days(90)), publish_rate: Ok(Value::Null) };
    let judged =
        |own: Value, broker: Option<Result<Value, String>>| namespace("a/b", &of(own), broker.as_ref(), &wants());
    let broker = |allowed: &str| Some(Ok(json!({ "allowAutoTopicCreation": allowed })));
    all_well(&judged(json!({ "allowAutoTopicCreation": false }), None));
    all_well(&judged(Value::Null, broker("false")));
    let check = "pulsar.auto-creation";
    only(&judged(Value::Null, broker("true")), Severity::Warning, check, "spring into being");
    only(&judged(Value::Null, Some(Err("403".to_owned()))), Severity::Warning, check, "cannot be told");
}

/// What a namespace keeps is all that is left of a topic whose own policies Pulsar fails to read.
#[test]
fn a_namespace_that_keeps_less_than_its_topics_is_found() {
    let judged = |own: Value, broker: Option<(&str, &str)>, wanted: Option<i32>| {
        let broker = broker.map(|(minutes, mib)| {
            Ok(json!({
                "allowAutoTopicCreation": "false", "defaultRetentionTimeInMinutes": minutes, "defaultRetentionSizeInMB": mib
            }))
        });
        let auto_creation = Ok(json!({ "allowAutoTopicCreation": false }));
        let facts = NamespaceFacts { auto_creation, retention: Ok(own), publish_rate: Ok(Value::Null) };
        namespace("a/b", &facts, broker.as_ref(), &Wants { namespace_retention_days: wanted, ..wants() })
    };
    let limited = json!({ "retentionTimeInMinutes": -1, "retentionSizeInMB": 100 });
    let check = "pulsar.namespace-retention";
    for (own, broker, wanted, words) in [
        (Value::Null, Some(("0", "0")), Some(90), "keeps nothing by itself"),
        (Value::Null, Some(("1440", "-1")), Some(90), "keeps 1 days by itself"),
        (days(89), Some(("-1", "-1")), Some(90), "keeps 89 days by itself"),
        (days(90), None, Some(-1), "keeps 90 days by itself"),
        (limited.clone(), None, Some(90), "100 MiB at most by itself"),
        (Value::Null, None, Some(90), "cannot be told"),
    ] {
        only(&judged(own, broker, wanted), Severity::Warning, check, words);
    }
    let filtered = Some(Ok(json!({ "allowAutoTopicCreation": "false" })));
    let facts = NamespaceFacts {
        auto_creation: Ok(json!({ "allowAutoTopicCreation": false })),
        retention: Ok(Value::Null),
        publish_rate: Ok(Value::Null),
    };
    only(&namespace("a/b", &facts, filtered.as_ref(), &wants()), Severity::Warning, check, "cannot be told");
    for (own, broker, wanted) in [
        (days(90), None, Some(90)),
        (json!({ "retentionTimeInMinutes": -1, "retentionSizeInMB": -1 }), None, Some(-1)),
        (Value::Null, Some(("-1", "-1")), Some(90)),
        (Value::Null, Some(("0", "0")), None),
    ] {
        all_well(&judged(own, broker, wanted));
    }
}

#[test]
fn a_schema_that_does_not_go_with_the_contract_is_found() {
    use Severity::{Error, Warning};
    let other = r#"{"type":"record","name":"E","fields":[{"name":"id","type":"int"}]}"#;
    let judge = |facts: &TopicFacts| schema::schema(facts, &promise());
    only(&judge(&with_schema(false, &[("AVRO", other)])), Error, "pulsar.schema", "field id is \"int\"");
    only(&judge(&with_schema(true, &[("JSON", "{}")])), Error, "pulsar.schema", "type JSON");
    only(&judge(&with_schema(true, &[])), Warning, "pulsar.schema", "no schema yet");
    only(
        &judge(&with_schema(true, &[("AVRO", other), ("AVRO", CONTRACT)])),
        Warning,
        "pulsar.schema-history",
        "version 0",
    );
    let mut silent = with_schema(true, &[("AVRO", other)]);
    silent.schema.as_mut().unwrap().as_mut().unwrap().takes_contract = Err("403".to_owned());
    only(&judge(&silent), Error, "pulsar.schema", "does not take the contract");
    let mut strategy = with_schema(true, &[("AVRO", CONTRACT)]);
    strategy.policies.insert("schemaCompatibilityStrategy", Ok(json!("FULL")));
    only(&judge(&strategy), Warning, "pulsar.schema-compatibility", "FULL");
}

#[test]
fn every_spoilt_setting_of_a_kafka_topic_is_found() {
    use Severity::{Error, Warning};
    only(&kafka::topic(&KafkaFacts { partitions: Ok(None), ..source() }), Error, "kafka.topic", "does not exist");
    let down = KafkaFacts { partitions: Err("transport failure".to_owned()), ..source() };
    only(&kafka::topic(&down), Error, "kafka.reachable", "kafka.brokers");
    let denied = KafkaFacts { may_read: Some(Err("TopicAuthorizationFailed".to_owned())), ..source() };
    only(&kafka::topic(&denied), Error, "kafka.rights", "Grant Read");
    let with = |name: &str, value: &str| {
        let mut facts = source();
        facts.settings.as_mut().unwrap().insert(name.to_owned(), value.to_owned());
        facts
    };
    only(&kafka::topic(&with("cleanup.policy", "compact,delete")), Warning, "kafka.cleanup", "newest record");
    let untold = KafkaFacts { settings: Err("denied".to_owned()), ..source() };
    only(&kafka::topic(&untold), Warning, "kafka.settings", "cannot be told");
    let against = |source: &KafkaFacts, judge: fn(&KafkaFacts, &TopicFacts) -> Option<Finding>| {
        judge(source, &well(Role::Target)).into_iter().collect::<Vec<_>>()
    };
    let ninety_days = (90_u64 * 86_400_000).to_string();
    only(&against(&with("retention.ms", &ninety_days), kafka::retention), Warning, "pulsar.retention", "90 days");
    only(&against(&with("retention.ms", "-1"), kafka::retention), Warning, "pulsar.retention", "for ever");
    let large = against(&with("max.message.bytes", "10485760"), kafka::largest_record);
    only(&large, Warning, "pulsar.max-message-size", "5242880");
}

fn rabbit_source(more: Value) -> RabbitmqSource {
    let mut section = json!({ "queue": "q", "idempotency_key": "json:id", "bind": [{ "exchange": "e" }] });
    section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(section).unwrap()
}

/// As setup leaves it, on this version.
fn rabbit(version: &str) -> RabbitFacts {
    let arguments = json!(crate::config::queue_arguments(Default::default(), &[].into(), None, version));
    let queue = json!({ "type": "quorum", "durable": true, "arguments": arguments, "effective_policy_definition": {} });
    let management = ManagementFacts {
        version: version.to_owned(),
        queues: [("q".to_owned(), queue)].into(),
        exchanges: [("e".to_owned(), json!({}))].into(),
        bindings: [(("e".to_owned(), "q".to_owned()), vec![json!({ "routing_key": "", "arguments": {} })])].into(),
        permissions: Some(Ok(json!({ "configure": ".*", "write": "^q$", "read": ".*" }))),
    };
    RabbitFacts {
        amqp: Ok(version.to_owned()),
        declared: [("q".to_owned(), Ok(true))].into(),
        management: Some(Ok(management)),
    }
}

/// With the queue changed, or its policy.
fn rabbit_but(version: &str, change: impl FnOnce(&mut ManagementFacts)) -> Vec<Finding> {
    let mut facts = rabbit(version);
    change(facts.management.as_mut().unwrap().as_mut().unwrap());
    rabbitmq::source(&facts, &rabbit_source(json!({})))
}

fn policy(name: &str, value: Value) -> impl FnOnce(&mut ManagementFacts) {
    move |facts| facts.queues.get_mut("q").unwrap()["effective_policy_definition"] = json!({ name: value })
}

#[test]
fn what_setup_leaves_of_a_queue_is_all_well() {
    for version in ["3.10.8", "4.1.0"] {
        all_well(&rabbitmq::source(&rabbit(version), &rabbit_source(json!({}))));
    }
}

#[test]
fn every_way_of_a_queue_to_lose_events_is_found() {
    use Severity::{Error, Warning};
    for (version, name, value, severity, check) in [
        ("3.10.8", "delivery-limit", json!(7), Error, "rabbitmq.delivery-limit"),
        ("4.1.0", "delivery-limit", json!(7), Error, "rabbitmq.delivery-limit"),
        ("3.10.8", "message-ttl", json!(60_000), Error, "rabbitmq.message-ttl"),
        ("3.10.8", "max-length", json!(5), Error, "rabbitmq.max-length"),
        ("3.10.8", "max-length-bytes", json!(5), Error, "rabbitmq.max-length-bytes"),
        ("3.10.8", "expires", json!(5), Error, "rabbitmq.expires"),
        ("4.1.0", "consumer-timeout", json!(60_000), Warning, "rabbitmq.consumer-timeout"),
        ("3.10.8", "dead-letter-exchange", json!("dlx"), Error, "rabbitmq.dead-letter-exchange"),
        ("3.10.8", "dead-letter-exchange", json!("e"), Warning, "rabbitmq.dead-letter-exchange"),
    ] {
        let found = rabbit_but(version, policy(name, value));
        only(&found, severity, check, "queue q");
    }
    let found = rabbit_but("4.1.0", |facts| facts.queues.get_mut("q").unwrap()["type"] = json!("classic"));
    only(&found, Error, "rabbitmq.queue-type", "classic");
    let found = rabbit_but("3.10.8", |facts| facts.queues.get_mut("q").unwrap()["durable"] = json!(false));
    only(&found, Error, "rabbitmq.durable", "restart");
    let none = |facts: &mut ManagementFacts| {
        facts.queues.get_mut("q").unwrap()["arguments"].as_object_mut().unwrap().remove("x-single-active-consumer");
    };
    let found = rabbit_but("3.10.8", none);
    assert!(found.iter().any(|it| it.check == "rabbitmq.single-active-consumer" && it.severity == Error), "{found:#?}");
}

#[test]
fn missing_queues_exchanges_bindings_and_rights_are_found() {
    use Severity::{Error, Warning};
    only(&rabbit_but("3.10.8", |facts| facts.queues.clear()), Warning, "rabbitmq.queue", "does not exist yet");
    only(&rabbit_but("3.10.8", |facts| facts.exchanges.clear()), Error, "rabbitmq.binding", "exchange e");
    only(&rabbit_but("3.10.8", |facts| facts.bindings.clear()), Warning, "rabbitmq.binding", "not bound");
    let right = |pattern: &'static str| {
        rabbit_but("3.10.8", move |facts| {
            facts.permissions = Some(Ok(json!({ "configure": ".*", "write": ".*", "read": pattern })))
        })
    };
    only(&right("^other$"), Error, "rabbitmq.rights", "no right to read");
    only(&right(""), Error, "rabbitmq.rights", "no right to read");
    only(
        &rabbit_but("3.10.8", |facts| facts.permissions = Some(Err("401".to_owned()))),
        Warning,
        "rabbitmq.rights",
        "cannot be told",
    );
    let mut gone = rabbit("3.10.8");
    gone.management.as_mut().unwrap().as_mut().unwrap().queues.clear();
    let left_to_others = rabbit_source(json!({ "declare": false, "bind": [] }));
    only(&rabbitmq::source(&gone, &left_to_others), Error, "rabbitmq.queue", "declare = false");
}

#[test]
fn a_silent_rabbitmq_and_one_without_management_are_told_apart() {
    let silent = RabbitFacts { amqp: Err("refused".to_owned()), ..rabbit("3.10.8") };
    only(&rabbitmq::source(&silent, &rabbit_source(json!({}))), Severity::Error, "rabbitmq.reachable", "rabbitmq.url");
    let without = RabbitFacts { management: None, ..rabbit("3.10.8") };
    let found = rabbitmq::source(&without, &rabbit_source(json!({})));
    assert!(found.iter().all(|finding| finding.severity < Severity::Error), "{found:#?}");
    let failing = RabbitFacts { management: Some(Err("401".to_owned())), ..rabbit("3.10.8") };
    let found = rabbitmq::source(&failing, &rabbit_source(json!({})));
    assert!(found.iter().any(|finding| finding.check == "rabbitmq.management"), "{found:#?}");
}
