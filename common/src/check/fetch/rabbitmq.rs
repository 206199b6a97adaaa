//! RabbitMQ: over AMQP whether we get in, over the management API what is set.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::facts::{ManagementFacts, RabbitFacts, Told};
use super::{PATIENCE, words};
use crate::config::{ArgumentValue, Config, RabbitmqSource};
use crate::management::Management;
use crate::source::rabbitmq::{RabbitSettings, look};

/// Everything about one source's queues.
pub(in super::super) async fn rabbitmq(config: &Config, source: &RabbitmqSource) -> RabbitFacts {
    let section = &config.rabbitmq;
    let mut settings = RabbitSettings::from_config(&config.stream.name, section, source, 1, 1);
    settings.request_timeout = PATIENCE;
    let management = async {
        match section.management_url.expose() {
            "" => None,
            _ => Some(of_management(config, source).await),
        }
    };
    let (amqp, management) = tokio::join!(look(settings), management);
    match amqp {
        Ok(look) => {
            let declared = look.queues.into_iter().map(|(queue, there)| (queue, there.map_err(words))).collect();
            RabbitFacts { amqp: Ok(look.version), declared, management }
        }
        Err(error) => RabbitFacts { amqp: Err(words(error)), declared: [].into(), management },
    }
}

async fn of_management(config: &Config, source: &RabbitmqSource) -> Told<ManagementFacts> {
    let management = Management::with_timeout(&config.rabbitmq, PATIENCE)?;
    let mut facts = ManagementFacts { version: management.version().await?, ..ManagementFacts::default() };
    let mut exchanges: BTreeSet<String> = source.bind.iter().map(|bind| bind.exchange.clone()).collect();
    if let Some(ArgumentValue::Text(name)) = source.arguments.get("x-dead-letter-exchange") {
        exchanges.insert(name.clone());
    }
    for queue in source.queue_names() {
        if let Some(there) = management.get("queues", &[queue]).await? {
            let named = [
                &there["arguments"]["x-dead-letter-exchange"],
                &there["effective_policy_definition"]["dead-letter-exchange"],
            ];
            exchanges.extend(named.into_iter().filter_map(Value::as_str).map(str::to_owned));
            facts.queues.insert(queue.to_owned(), there);
        }
        for bind in &source.bind {
            let there = management.get("bindings", &["e", &bind.exchange, "q", queue]).await?.unwrap_or_default();
            let there = there.as_array().cloned().unwrap_or_default();
            facts.bindings.insert((bind.exchange.clone(), queue.to_owned()), there);
        }
    }
    // The default exchange has an empty name, and is always there.
    for exchange in exchanges.into_iter().filter(|exchange| !exchange.is_empty()) {
        if let Some(there) = management.get("exchanges", &[&exchange]).await? {
            facts.exchanges.insert(exchange, there);
        }
    }
    let permissions = management.get("permissions", &[management.username()]).await;
    facts.permissions = Some(permissions.and_then(|there| there.ok_or_else(|| "the user has none".to_owned())));
    Ok(facts)
}
