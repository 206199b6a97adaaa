//! Watches how many partitions the targets have: topics grow while a bridge runs, and nobody tells it.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::lane::Routing;
use crate::logging::events;
use crate::pulsar::Client;

/// How often the targets are asked for their partition counts.
const PAUSE: Duration = Duration::from_secs(10);

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts a task that asks, until nobody listens any more. Gives the routing with the numbers as they are now, whenever one
/// has changed: within `PAUSE`, and `PATIENCE` for each topic, while Pulsar answers.
pub(super) fn watch(client: Client, mut routing: Routing) -> mpsc::UnboundedReceiver<Routing> {
    let (changes, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = changes.closed() => return,
            }
            let now = asked(&client, &routing).await;
            if now != routing {
                tracing::info!(event = events::TARGET_GREW, from = ?partition_counts(&routing), to = ?partition_counts(&now), "the targets' partitions changed");
                routing = now.clone();
                let _ = changes.send(now);
            }
        }
    });
    receiver
}

/// The routing with today's partition counts; what is not answered stays as it is.
async fn asked(client: &Client, known: &Routing) -> Routing {
    let mut now = known.clone();
    if let Some(partitions) = partitions(client, &known.topic).await {
        now.partitions = partitions;
    }
    for route in &mut now.routes {
        if let Some(partitions) = partitions(client, &route.topic).await {
            route.partitions = partitions;
        }
    }
    now
}

/// The partitions of a topic; `None` where it does not answer, or is not partitioned, which it stays.
async fn partitions(client: &Client, topic: &str) -> Option<u32> {
    let asked = tokio::time::timeout(PATIENCE, client.partitions(topic));
    asked.await.ok()?.ok().filter(|partitions| *partitions > 0)
}

/// Of the target, and of each route.
fn partition_counts(routing: &Routing) -> Vec<(&str, u32)> {
    let routes = routing.routes.iter().map(|route| (route.topic.as_str(), route.partitions));
    std::iter::once((routing.topic.as_str(), routing.partitions)).chain(routes).collect()
}
