//! Pulsar's namespaces: what holds for every topic in them.

use serde_json::Value;

use super::super::facts::{NamespaceFacts, Told};
use super::super::finding::Finding;
use super::topic::{Wants, kept, publish_rate, retention_of};
use crate::admin::default_retention;

/// Judges a namespace, with the broker's own settings where the namespace has none.
pub(crate) fn namespace(
    name: &str,
    facts: &NamespaceFacts,
    broker: Option<&Told<Value>>,
    wants: &Wants,
) -> Vec<Finding> {
    let on = format!("namespace {name}");
    let mut found = vec![auto_creation(&on, &facts.auto_creation, broker), retention(&on, facts, broker, wants)];
    match &facts.publish_rate {
        Ok(value) => found.extend(publish_rate(&on, "each topic in it", value)),
        Err(why) => found.push(Finding::untold("pulsar.publish-rate", &on, why)),
    }
    found
}

/// The broker's own rule, which holds where the namespace has none.
fn of_broker(broker: Option<&Told<Value>>) -> Result<&Value, String> {
    match broker {
        Some(Ok(settings)) => Ok(settings),
        Some(Err(why)) => Err(format!("the broker's own rule holds, and it does not show it: {why}")),
        None => Err("the broker's own rule holds".to_owned()),
    }
}

/// Policies of topics are read when a topic is loaded, after a restart or a move; where that fails the broker goes on without them
/// and says so in its log alone (apache/pulsar issue 26137). What holds then is the
/// namespace's retention, and what it does not keep is deleted, whatever the topic's own says.
fn retention(on: &str, facts: &NamespaceFacts, broker: Option<&Told<Value>>, wants: &Wants) -> Finding {
    let check = "pulsar.namespace-retention";
    let default = || {
        let shown = default_retention(of_broker(broker)?);
        shown.ok_or_else(|| "the broker's own rule holds, and it does not show it".to_owned())
    };
    let (holds, is_own) = match &facts.retention {
        Ok(Value::Null) => (default(), false),
        own => (own.clone(), true),
    };
    let (minutes, mib) = match holds {
        Ok(retention) => retention_of(&retention),
        Err(why) => return Finding::untold(check, on, why),
    };
    let keeps = if minutes == 0 || mib == 0 { "nothing".to_owned() } else { kept(minutes, mib) };
    let Some(days) = wants.namespace_retention_days else {
        return Finding::ok(check, on, format!("keeps {keeps}, and setup.namespace_retention = false wants no more"));
    };
    let is_as_long = minutes < 0 || (days >= 0 && minutes >= i64::from(days) * 1440);
    match is_as_long && mib < 0 {
        true => Finding::ok(check, on, format!("keeps {keeps}")),
        false => Finding::warning(
            check,
            on,
            format!(
                "keeps {keeps} by itself, and the topics more by policies of their own: where Pulsar fails to read those as it \
                 loads a topic it deletes what only they keep"
            ),
            // What somebody has set is theirs to change.
            match is_own {
                true => "Set a longer one by pulsar-admin namespaces set-retention".to_owned(),
                false => wants.setup(),
            } + ", or write setup.namespace_retention = false",
        ),
    }
}

fn auto_creation(on: &str, own: &Told<Value>, broker: Option<&Told<Value>>) -> Finding {
    let check = "pulsar.auto-creation";
    let allowed = match own {
        Err(why) => return Finding::untold(check, on, why),
        Ok(own) => match own["allowAutoTopicCreation"].as_bool() {
            Some(allowed) => allowed,
            None => match of_broker(broker) {
                Ok(settings) => settings["allowAutoTopicCreation"] != "false",
                Err(why) => return Finding::untold(check, on, why),
            },
        },
    };
    if allowed {
        Finding::warning(
            check,
            on,
            "topics spring into being by a mere connection: a deleted or misspelt topic is made anew, without its policies",
            "Run `bridgectl setup`, or forbid autoTopicCreation",
        )
    } else {
        Finding::ok(check, on, "topics are made on purpose only")
    }
}
