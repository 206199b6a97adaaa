//! RabbitMQ: the server, and what a source needs there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::facts::{ManagementFacts, RabbitFacts, Told};
use super::super::finding::Finding;
use super::queue::{self, WantedQueue, setting};
use crate::config::{ArgumentValue, QueueType, RabbitmqSource, queue_arguments};

/// Below this a time-out of the server for acknowledgements is met in an ordinary outage.
const SHORT_TIMEOUT_MS: i64 = 5 * 60_000;

/// What a source wants, by queue, on a server of this version.
pub fn wanted_queues(source: &RabbitmqSource, version: &str) -> BTreeMap<String, WantedQueue> {
    let arguments = json!(queue_arguments(source.queue_type, &source.arguments, source.delivery_limit, version));
    let (kind, declare) = (source.queue_type, source.declare);
    let wanted = || WantedQueue { kind, declare, arguments: arguments.clone(), bindings: source.bind.clone() };
    source.queue_names().into_iter().map(|queue| (queue.to_owned(), wanted())).collect()
}

/// Judges what one source needs.
pub(crate) fn source(facts: &RabbitFacts, source: &RabbitmqSource) -> Vec<Finding> {
    let server = "RabbitMQ";
    let version = match &facts.amqp {
        Ok(version) => version,
        Err(why) => {
            let advice = "See that it runs, and check rabbitmq.url, rabbitmq.tls and the user";
            return vec![Finding::error("rabbitmq.reachable", server, format!("does not let us in: {why}"), advice)];
        }
    };
    let mut found = vec![Finding::ok("rabbitmq.reachable", server, format!("version {version} answers"))];
    let management = match &facts.management {
        Some(Ok(management)) => Some(management),
        Some(Err(why)) => {
            let advice = "Only `setup` and `check` need it: see to it, or set rabbitmq.management_url = \"\"";
            found.push(Finding::warning("rabbitmq.management", server, format!("its management API: {why}"), advice));
            None
        }
        None => {
            found.push(Finding::untold("rabbitmq.management", server, "rabbitmq.management_url is empty"));
            None
        }
    };
    for (queue, want) in wanted_queues(source, version) {
        match management {
            Some(management) => found.extend(by_management(&queue, &want, source, management)),
            None => found.push(by_amqp(&queue, &want, facts.declared.get(&queue))),
        }
    }
    found
}

fn missing(queue: &str, want: &WantedQueue) -> Finding {
    let (check, on) = ("rabbitmq.queue", format!("queue {queue}"));
    if want.declare {
        let what =
            "does not exist yet: the bridge declares it when it starts, and what is published before is not in it";
        Finding::warning(check, on, what, "Run `bridgectl setup`")
    } else {
        let advice = "Have its owner make it, or set declare = true";
        Finding::error(check, on, "does not exist, and declare = false", advice)
    }
}

fn by_amqp(queue: &str, want: &WantedQueue, there: Option<&Told<bool>>) -> Finding {
    let (check, on) = ("rabbitmq.queue", format!("queue {queue}"));
    match there {
        Some(Ok(true)) => {
            let why = "type, limits, time-outs, policies and bindings want the management API";
            Finding::untold(check, on, format!("it is there; {why}"))
        }
        Some(Ok(false)) => missing(queue, want),
        Some(Err(why)) => {
            Finding::error(check, on, format!("cannot be looked at: {why}"), "Check the user's permissions")
        }
        None => Finding::untold(check, on, "nothing answered"),
    }
}

fn by_management(queue: &str, want: &WantedQueue, source: &RabbitmqSource, facts: &ManagementFacts) -> Vec<Finding> {
    let on = format!("queue {queue}");
    let mut found = Vec::new();
    match facts.queues.get(queue) {
        None => found.push(missing(queue, want)),
        Some(there) => {
            let problems = queue::problems(queue, want, there, &facts.version);
            if problems.is_empty() {
                let what = format!("{}, durable, and loses nothing by itself", want.kind.name());
                found.push(Finding::ok("rabbitmq.queue", &on, what));
            }
            found.extend(problems);
            if want.kind != QueueType::Stream {
                found.push(dead_letter_exchange(&on, there, source, facts));
                found.extend(consumer_timeout(&on, there));
            }
        }
    }
    found.extend(bindings(queue, want, facts));
    found.extend(permissions(queue, want, facts));
    found
}

/// What is too large for Pulsar is rejected to it. The bridge knows of arguments only.
fn dead_letter_exchange(on: &str, there: &Value, source: &RabbitmqSource, facts: &ManagementFacts) -> Finding {
    let check = "rabbitmq.dead-letter-exchange";
    let argument = match source.arguments.get("x-dead-letter-exchange") {
        Some(ArgumentValue::Text(name)) => Some(name.clone()),
        _ => there["arguments"]["x-dead-letter-exchange"].as_str().map(str::to_owned),
    };
    let effective = setting(there, "dead-letter-exchange").and_then(|name| name.as_str().map(str::to_owned));
    match argument.or(effective) {
        None => Finding::ok(check, on, "without dead-letter exchange: a message too large for Pulsar stops it"),
        Some(name) if !name.is_empty() && !facts.exchanges.contains_key(&name) => Finding::error(
            check,
            on,
            format!("its dead-letter exchange {name} does not exist: what goes there is lost"),
            "Create the exchange with a queue",
        ),
        Some(name) if there["arguments"]["x-dead-letter-exchange"].is_null() => Finding::warning(
            check,
            on,
            format!(
                "has the dead-letter exchange {name} by a policy, which the bridge cannot see: a message too large for \
                     Pulsar stops the queue"
            ),
            "Give it as the argument x-dead-letter-exchange",
        ),
        Some(name) => Finding::ok(check, on, format!("dead-letter exchange {name}")),
    }
}

/// The server's own time-out is nowhere to be seen; 30 minutes are its default.
fn consumer_timeout(on: &str, there: &Value) -> Option<Finding> {
    let ms = setting(there, "consumer-timeout")?.as_i64()?;
    let what = format!("has consumer-timeout = {ms} ms");
    Some(if ms < SHORT_TIMEOUT_MS {
        Finding::warning(
            "rabbitmq.consumer-timeout",
            on,
            what + ": an outage of Pulsar that lasts longer takes the queue away from the bridge, again and again",
            "Raise it to 30 minutes",
        )
    } else {
        Finding::ok("rabbitmq.consumer-timeout", on, what)
    })
}

fn bindings(queue: &str, want: &WantedQueue, facts: &ManagementFacts) -> Vec<Finding> {
    let (check, on) = ("rabbitmq.binding", format!("queue {queue}"));
    let judge = |bind: &crate::config::BindSection| {
        let exchange = &bind.exchange;
        if !facts.exchanges.contains_key(exchange) {
            let what = format!("cannot be bound to exchange {exchange}, which does not exist");
            return Finding::error(check, &on, what, "Have the exchange's owner make it, then run `bridgectl setup`");
        }
        let arguments = json!(bind.arguments);
        let same = |it: &Value| it["routing_key"] == bind.routing_key.as_str() && it["arguments"] == arguments;
        let there = facts.bindings.get(&(exchange.clone(), queue.to_owned()));
        match there.is_some_and(|there| there.iter().any(same)) {
            true => Finding::ok(check, &on, format!("bound to {exchange}, key {:?}", bind.routing_key)),
            false => Finding::warning(
                check,
                &on,
                format!("is not bound to exchange {exchange} by the key {:?} yet", bind.routing_key),
                "Run `bridgectl setup`, or start the bridge",
            ),
        }
    };
    want.bindings.iter().map(judge).collect()
}

fn permissions(queue: &str, want: &WantedQueue, facts: &ManagementFacts) -> Option<Finding> {
    let (check, on) = ("rabbitmq.rights", format!("queue {queue}"));
    let permissions = match facts.permissions.as_ref()? {
        Ok(permissions) => permissions,
        Err(why) => return Some(Finding::untold(check, on, format!("the user's rights: {why}"))),
    };
    let mut needed = vec!["read"];
    if want.declare {
        needed.push("configure");
    }
    if !want.bindings.is_empty() {
        needed.push("write");
    }
    let missing: Vec<_> =
        needed.iter().filter(|right| !allows(permissions[**right].as_str(), queue)).copied().collect();
    Some(if missing.is_empty() {
        Finding::ok(check, on, format!("may be used ({})", needed.join(", ")))
    } else {
        let missing = missing.join(", ");
        Finding::error(
            check,
            on,
            format!("the user has no right to {missing} it"),
            format!("Grant {missing} for its name"),
        )
    })
}

/// RabbitMQ's patterns are looked for anywhere in a name; an empty one matches nothing.
fn allows(pattern: Option<&str>, name: &str) -> bool {
    match pattern {
        None | Some("") => false,
        Some(pattern) => regex_lite::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name)),
    }
}
