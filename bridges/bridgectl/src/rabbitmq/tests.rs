use bridge_common::check::WantedQueue;
use bridge_common::config::{
    ArgumentValue, BindSection, QueueType, RabbitmqSection, RabbitmqSource, Secret, UnroutableSection, queue_arguments,
};
use bridge_common::management::Management;
use serde_json::{Value, json};

use super::plan::{Change, Observed, Plan, plan};
use super::wanted::Wanted;

fn wanted() -> Wanted {
    let bind = |exchange: &str| BindSection {
        exchange: exchange.to_owned(),
        routing_key: String::new(),
        arguments: Default::default(),
    };
    let queue = WantedQueue {
        kind: QueueType::Quorum,
        declare: true,
        arguments: json!(queue_arguments(QueueType::Quorum, &Default::default(), None, "3.10.8")),
        bindings: vec![bind("notifications"), bind("notifications.unroutable")],
    };
    let (exchange, alternate) = ("notifications".to_owned(), "notifications.unroutable".to_owned());
    Wanted {
        queues: [("bridge".to_owned(), queue)].into(),
        unroutable: vec![UnroutableSection { exchange, alternate }],
    }
}

fn portal() -> Value {
    json!({ "name": "notifications", "type": "direct", "durable": true, "arguments": {} })
}

/// What is there after everything wanted was done.
fn done() -> Observed {
    let (queue, exchange) = ("bridge".to_owned(), "notifications".to_owned());
    let binding = json!({ "routing_key": "", "arguments": {} });
    let policy = json!({ "name": "p", "definition": { "alternate-exchange": "notifications.unroutable" } });
    let mut portal = portal();
    portal["policy"] = json!("p");
    let there = json!({ "type": "quorum", "durable": true, "arguments": wanted().queues["bridge"].arguments });
    Observed {
        version: "3.10.8".to_owned(),
        queues: [(queue.clone(), there)].into(),
        exchanges: [
            (exchange.clone(), portal),
            ("notifications.unroutable".to_owned(), json!({ "type": "fanout", "arguments": {} })),
        ]
        .into(),
        bindings: [
            ((exchange, queue.clone()), vec![binding.clone()]),
            (("notifications.unroutable".to_owned(), queue), vec![binding]),
        ]
        .into(),
        policies: vec![policy],
    }
}

fn done_but(change: impl FnOnce(&mut Observed)) -> Plan {
    let mut observed = done();
    change(&mut observed);
    plan(&wanted(), &observed)
}

#[test]
fn beside_the_portals_exchange_everything_is_made_and_bound_before_anything_is_diverted() {
    let observed = Observed { exchanges: [("notifications".to_owned(), portal())].into(), ..Observed::default() };
    let plan = plan(&wanted(), &observed);
    let lines: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "+ exchange notifications.unroutable, fanout",
            "+ queue bridge {\"x-queue-type\":\"quorum\",\"x-single-active-consumer\":true}",
            "+ binding of queue bridge to exchange notifications, key \"\"",
            "+ binding of queue bridge to exchange notifications.unroutable, key \"\"",
            "~ exchange notifications: alternate-exchange (unset) -> notifications.unroutable, by a policy",
        ]
    );
    assert!(plan.findings.is_empty(), "{:?}", plan.findings);
    assert_eq!(plan.changes.iter().filter(|change| change.creates()).count(), 4);
}

#[test]
fn a_second_run_finds_nothing_to_do() {
    assert_eq!(plan(&wanted(), &done()), Plan::default());
}

#[test]
fn without_the_portals_exchange_the_queue_is_made_and_the_rest_told() {
    let plan = plan(&wanted(), &Observed::default());
    assert!(matches!(
        plan.changes[..],
        [Change::CreateExchange { .. }, Change::CreateQueue { .. }, Change::Bind { .. }]
    ));
    assert_eq!(plan.findings.len(), 2, "{:?}", plan.findings);
}

#[test]
fn another_policy_or_an_own_argument_is_a_finding_and_never_overruled() {
    let other = done_but(|there| there.policies[0]["definition"] = json!({ "max-length": 5 }));
    assert!(other.changes.is_empty() && other.findings[0].contains("only one policy"), "{other:?}");
    let own = done_but(|there| {
        there.exchanges.get_mut("notifications").unwrap()["arguments"]["alternate-exchange"] = json!("portal.lost");
    });
    assert!(own.changes.is_empty() && own.findings[0].contains("portal.lost"), "{own:?}");
}

#[test]
fn whatever_makes_a_queue_lose_events_is_found_its_policies_included() {
    let found = |version: &str, arguments: Value, policy: Value| {
        let plan = done_but(|there| {
            there.version = version.to_owned();
            let queue = there.queues.get_mut("bridge").unwrap();
            for (name, value) in arguments.as_object().unwrap() {
                queue["arguments"][name] = value.clone();
            }
            queue["effective_policy_definition"] = policy;
        });
        assert!(plan.changes.is_empty());
        let others = plan.findings.into_iter().filter(|finding| !finding.contains("was declared with"));
        others.collect::<Vec<_>>()
    };
    let nothing: [&str; 0] = [];
    assert_eq!(found("3.10.8", json!({}), json!({})), nothing);
    for (version, arguments, policy, words) in [
        ("4.1.0", json!({}), json!({}), "limit of 20"),
        ("3.10.8", json!({ "x-delivery-limit": -1 }), json!({}), "after one redelivery"),
        ("3.10.8", json!({}), json!({ "delivery-limit": 7 }), "delivery-limit = 7"),
        ("3.10.8", json!({}), json!({ "message-ttl": 60 }), "message-ttl = 60"),
        ("3.10.8", json!({ "x-max-length": 9 }), json!({ "max-length": 5 }), "max-length = 5"),
        ("3.10.8", json!({}), json!({ "expires": 1000 }), "expires"),
    ] {
        let found = found(version, arguments, policy);
        assert!(found.len() == 1 && found[0].contains(words), "{words}: {found:?}");
    }
    let dead_letters = json!({ "x-dead-letter-exchange": "dlx", "x-max-length": 9, "x-message-ttl": 5 });
    assert_eq!(found("3.10.8", dead_letters, json!({})), nothing);
    let single = done_but(|there| there.queues.get_mut("bridge").unwrap()["arguments"] = json!({}));
    assert!(single.findings[0].contains("x-single-active-consumer"), "{single:?}");
}

#[test]
fn arguments_follow_the_version() {
    let further = [("x-max-length".to_owned(), ArgumentValue::Integer(5))].into();
    let on = |version: &str| json!(queue_arguments(QueueType::Quorum, &further, None, version));
    assert_eq!(on("3.13.0").get("x-delivery-limit"), None);
    assert_eq!(on("4.0.2")["x-delivery-limit"], -1);
    assert_eq!(on("4.0.2")["x-max-length"], 5);
}

/// A section for the real server, and names of the test's own.
fn real() -> (RabbitmqSection, RabbitmqSource, UnroutableSection) {
    bridge_common::cli::install_tls();
    let variable = |name: &str| Secret::new(std::env::var(name).unwrap());
    let section = RabbitmqSection {
        url: variable("RABBITMQ_URL"),
        management_url: variable("RABBITMQ_MANAGEMENT_URL"),
        ..RabbitmqSection::default()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let (exchange, alternate) = (format!("no.ti+fications {now}"), format!("un/routable {now}"));
    let source = json!({
        "queue": format!("bridge {now}"),
        "idempotency_key": "json:event_id",
        "bind": [{ "exchange": alternate }, { "exchange": exchange, "routing_key": "a", "arguments": { "x": 1 } }],
    });
    (section, serde_json::from_value(source).unwrap(), UnroutableSection { exchange, alternate })
}

/// Publishes, and gives the answer, which says whether any queue got it.
async fn publish(management: &Management, exchange: &str) -> Value {
    let message = json!({ "properties": {}, "routing_key": "nobody", "payload": "lost", "payload_encoding": "string" });
    management.post("exchanges", &[exchange, "publish"], &message).await.unwrap().unwrap()
}

#[tokio::test]
#[ignore = "needs real brokers: tests/run"]
async fn on_a_real_server_unroutable_messages_come_to_the_bridges_queue() {
    let (section, source, unroutable) = real();
    let management = Management::new(&section).unwrap();
    let exchange = unroutable.exchange.clone();
    let set_up =
        async |dry_run| super::set_up(&section, [&source], std::slice::from_ref(&unroutable), dry_run).await.unwrap();
    let plan = set_up(true).await;
    assert_eq!((plan.changes.len(), plan.findings.len()), (3, 2), "without the portal's exchange: {plan:?}");
    management.put("exchanges", &[&exchange], &json!({ "type": "direct", "durable": true })).await.unwrap();
    assert_eq!(publish(&management, &exchange).await, json!({ "routed": false }));
    let first = set_up(false).await;
    assert_eq!((first.changes.len(), first.findings.len()), (5, 0), "{first:?}");
    // The server applies policies a moment later.
    let mut second = set_up(false).await;
    while !second.changes.is_empty() {
        second = set_up(false).await;
    }
    assert_eq!(second, Plan::default());
    assert_eq!(publish(&management, &exchange).await, json!({ "routed": true }));
}
