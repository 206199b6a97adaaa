//! `bridgectl setup` for RabbitMQ, through the management API: looks at what is there, plans what is missing, does it.

mod plan;
#[cfg(test)]
mod tests;
mod wanted;

use bridge_common::config::{RabbitmqSection, RabbitmqSource, UnroutableSection};
use bridge_common::management::Management;
use serde_json::json;

pub(crate) use plan::{Change, Plan};
use plan::{Observed, plan};
use wanted::{Wanted, wanted};

/// Brings one stream's part of RabbitMQ to what is wanted, and gives what that took (or would take, in a dry run).
///
/// # Errors
/// What went wrong, and with which URL; what was done before stays.
pub(crate) async fn set_up<'a>(
    section: &RabbitmqSection,
    sources: impl IntoIterator<Item = &'a RabbitmqSource>,
    unroutable: &[UnroutableSection],
    dry_run: bool,
) -> Result<Plan, String> {
    let management = Management::new(section)?;
    let version = management.version().await?;
    let wanted = wanted(sources, unroutable, &version);
    let first = plan(&wanted, &observe(&management, &wanted, version).await?);
    if !dry_run {
        for change in &first.changes {
            carry_out(&management, change).await?;
        }
    }
    Ok(first)
}

async fn observe(management: &Management, wanted: &Wanted, version: String) -> Result<Observed, String> {
    let mut observed = Observed { version, ..Observed::default() };
    let policies = management.get("policies", &[]).await?.unwrap_or_default();
    observed.policies = policies.as_array().cloned().unwrap_or_default();
    for unroutable in &wanted.unroutable {
        for exchange in [&unroutable.exchange, &unroutable.alternate] {
            observe_exchange(management, exchange, &mut observed).await?;
        }
    }
    for (queue, want) in &wanted.queues {
        if let Some(there) = management.get("queues", &[queue]).await? {
            observed.queues.insert(queue.clone(), there);
        }
        for binding in &want.bindings {
            let exchange = &binding.exchange;
            observe_exchange(management, exchange, &mut observed).await?;
            let there = management.get("bindings", &["e", exchange, "q", queue]).await?.unwrap_or_default();
            let there = there.as_array().cloned().unwrap_or_default();
            observed.bindings.insert((exchange.clone(), queue.clone()), there);
        }
    }
    Ok(observed)
}

async fn observe_exchange(management: &Management, exchange: &str, observed: &mut Observed) -> Result<(), String> {
    if !observed.exchanges.contains_key(exchange)
        && let Some(there) = management.get("exchanges", &[exchange]).await?
    {
        observed.exchanges.insert(exchange.to_owned(), there);
    }
    Ok(())
}

async fn carry_out(management: &Management, change: &Change) -> Result<(), String> {
    match change {
        Change::CreateExchange { exchange } => {
            let body = json!({ "type": "fanout", "durable": true, "auto_delete": false, "internal": false });
            management.put("exchanges", &[exchange], &body).await
        }
        Change::DivertUnroutable { exchange, alternate } => {
            let body = json!({
                "pattern": format!("^{}$", escaped(exchange)),
                "definition": { "alternate-exchange": alternate },
                "priority": 0,
                "apply-to": "exchanges",
            });
            management.put("policies", &[&format!("bridge-unroutable-{exchange}")], &body).await
        }
        Change::CreateQueue { queue, arguments } => {
            let body = json!({ "durable": true, "auto_delete": false, "arguments": arguments });
            management.put("queues", &[queue], &body).await
        }
        Change::Bind { queue, binding } => {
            let body = json!({ "routing_key": binding.routing_key, "arguments": binding.arguments });
            management.post("bindings", &["e", &binding.exchange, "q", queue], &body).await.map(drop)
        }
    }
}

/// A name as a regular expression that matches nothing else.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for character in name.chars() {
        if !character.is_alphanumeric() && !matches!(character, '_' | '-' | ' ') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
