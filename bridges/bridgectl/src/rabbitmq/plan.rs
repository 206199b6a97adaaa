//! The plan: a pure function of what is there and what is wanted.

use std::collections::BTreeMap;
use std::fmt;

use bridge_common::check::{WantedQueue, queue_problems};
use bridge_common::config::{BindSection, UnroutableSection};
use serde_json::{Value, json};

use super::wanted::Wanted;

/// What is there, of what is wanted. Everything is as the management API shows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Observed {
    pub(super) version: String,
    pub(super) queues: BTreeMap<String, Value>,
    pub(super) exchanges: BTreeMap<String, Value>,
    /// The bindings of a pair of exchange and queue.
    pub(super) bindings: BTreeMap<(String, String), Vec<Value>>,
    pub(super) policies: Vec<Value>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    CreateExchange { exchange: String },
    DivertUnroutable { exchange: String, alternate: String },
    CreateQueue { queue: String, arguments: Value },
    Bind { queue: String, binding: BindSection },
}

/// What to do, in this order, and what only a person can settle.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    pub(crate) findings: Vec<String>,
}

/// Compares. The exchanges come before the queues that are bound to them, and a queue is bound to the alternate exchange
/// before the exchange in front of it diverts anything there.
pub(super) fn plan(wanted: &Wanted, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    for unroutable in &wanted.unroutable {
        plan_alternate(unroutable, wanted, observed, &mut plan);
    }
    for (queue, want) in &wanted.queues {
        plan_queue(queue, want, wanted, observed, &mut plan);
    }
    for unroutable in &wanted.unroutable {
        plan_diversion(unroutable, observed, &mut plan);
    }
    plan
}

fn plan_alternate(unroutable: &UnroutableSection, wanted: &Wanted, observed: &Observed, plan: &mut Plan) {
    let alternate = &unroutable.alternate;
    match observed.exchanges.get(alternate) {
        None => plan.changes.push(Change::CreateExchange { exchange: alternate.clone() }),
        Some(there) if there["type"] != "fanout" => plan.findings.push(format!(
            "exchange {alternate} is of the type {}: a diverted message keeps its routing key, so that only a fanout is \
             sure to pass it on. Choose another setup.unroutable.alternate",
            there["type"]
        )),
        Some(_) => {}
    }
    let bound = wanted.queues.values().flat_map(|queue| &queue.bindings).any(|bind| bind.exchange == *alternate);
    if !bound {
        plan.findings.push(format!(
            "no source of this stream binds exchange {alternate}: what {} cannot route would be dropped there. Add a bind",
            unroutable.exchange
        ));
    }
}

fn plan_diversion(unroutable: &UnroutableSection, observed: &Observed, plan: &mut Plan) {
    let UnroutableSection { exchange, alternate } = unroutable;
    let Some(there) = observed.exchanges.get(exchange) else {
        plan.findings.push(format!(
            "exchange {exchange} does not exist yet, so that its unroutable messages cannot be diverted: run this again \
             when its owner has made it"
        ));
        return;
    };
    if let Some(other) = there["arguments"]["alternate-exchange"].as_str() {
        if other != alternate {
            plan.findings.push(format!(
                "exchange {exchange} was declared with the alternate exchange {other}, which wins over a policy: bind \
                 the bridge's queue there, and set setup.unroutable.alternate to it"
            ));
        }
        return;
    }
    let name = there["policy"].as_str().unwrap_or("");
    let effective = observed.policies.iter().find(|policy| !name.is_empty() && policy["name"] == name);
    match effective.map(|policy| &policy["definition"]["alternate-exchange"]) {
        Some(other) if other == alternate.as_str() => {}
        // Of several policies that match only one holds: a second one would turn the first one off.
        Some(other) => plan.findings.push(format!(
            "policy {name} holds for exchange {exchange} (alternate-exchange: {other}), and only one policy can: set \
             alternate-exchange = {alternate} in it"
        )),
        None => {
            plan.changes.push(Change::DivertUnroutable { exchange: exchange.clone(), alternate: alternate.clone() })
        }
    }
}

fn plan_queue(queue: &str, want: &WantedQueue, wanted: &Wanted, observed: &Observed, plan: &mut Plan) {
    match observed.queues.get(queue) {
        None if want.declare => {
            plan.changes.push(Change::CreateQueue { queue: queue.to_owned(), arguments: want.arguments.clone() });
        }
        None => plan.findings.push(format!(
            "queue {queue} does not exist, and declare = false: have its owner make it, or set declare = true"
        )),
        Some(there) => {
            let problems = queue_problems(queue, want, there, &observed.version);
            plan.findings.extend(problems.iter().map(ToString::to_string));
        }
    }
    for binding in want.bindings.iter().filter(|_| want.declare) {
        let exchange = &binding.exchange;
        let to_be_made = wanted.unroutable.iter().any(|unroutable| unroutable.alternate == *exchange);
        if !to_be_made && !observed.exchanges.contains_key(exchange) {
            plan.findings.push(format!(
                "exchange {exchange} does not exist, so that queue {queue} cannot be bound to it: run this again when \
                 its owner has made it"
            ));
        } else if !is_bound(queue, binding, observed) {
            plan.changes.push(Change::Bind { queue: queue.to_owned(), binding: binding.clone() });
        }
    }
}

fn is_bound(queue: &str, binding: &BindSection, observed: &Observed) -> bool {
    let pair = (binding.exchange.clone(), queue.to_owned());
    let arguments = json!(binding.arguments);
    let same = |there: &Value| there["routing_key"] == binding.routing_key.as_str() && there["arguments"] == arguments;
    observed.bindings.get(&pair).is_some_and(|there| there.iter().any(same))
}

impl Change {
    /// Whether it makes something new, as opposed to changing what is there.
    pub(crate) fn creates(&self) -> bool {
        !matches!(self, Self::DivertUnroutable { .. })
    }

    /// As JSON: subject, what, from, to.
    pub(crate) fn to_json(&self) -> Value {
        let (subject, what, to) = match self {
            Self::CreateExchange { exchange } => (exchange, "exchange", json!({ "type": "fanout" })),
            Self::DivertUnroutable { exchange, alternate } => (exchange, "alternate-exchange", json!(alternate)),
            Self::CreateQueue { queue, arguments } => (queue, "queue", arguments.clone()),
            Self::Bind { queue, binding } => {
                let (exchange, key, arguments) = (&binding.exchange, &binding.routing_key, &binding.arguments);
                let to = json!({ "exchange": exchange, "routing_key": key, "arguments": arguments });
                (queue, "binding", to)
            }
        };
        json!({ "subject": subject, "what": what, "from": null, "to": to })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateExchange { exchange } => write!(f, "+ exchange {exchange}, fanout"),
            Self::DivertUnroutable { exchange, alternate } => {
                write!(f, "~ exchange {exchange}: alternate-exchange (unset) -> {alternate}, by a policy")
            }
            Self::CreateQueue { queue, arguments } => write!(f, "+ queue {queue} {arguments}"),
            Self::Bind { queue, binding } => {
                write!(f, "+ binding of queue {queue} to exchange {}, key {:?}", binding.exchange, binding.routing_key)
            }
        }
    }
}
