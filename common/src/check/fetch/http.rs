//! The schema registry and polled endpoints: whether they answer.

use super::super::finding::Finding;
use super::PATIENCE;
use crate::config::Config;
use crate::registry::Registry;

/// The registry, where one is configured. Without its answers records wait.
pub(in super::super) async fn registry(config: &Config) -> Option<Finding> {
    let url = &config.registry.url;
    if url.is_empty() {
        return None;
    }
    let (check, on) = ("registry.reachable", format!("schema registry {url}"));
    let answer = tokio::time::timeout(PATIENCE, async { Registry::new(&config.registry)?.ping().await }).await;
    Some(match answer {
        Ok(Ok(())) => Finding::ok(check, on, "answers"),
        Ok(Err(error)) => Finding::error(check, on, format!("gives no schemas: {error}"), ""),
        Err(_) => Finding::error(check, on, format!("gives no answer within {PATIENCE:?}"), "See that it runs"),
    })
}

/// The polled endpoints of all sources, at once.
#[cfg(feature = "poll")]
pub(in super::super) async fn endpoints(config: &Config) -> Vec<Finding> {
    use crate::config::Source;
    let mut asked = tokio::task::JoinSet::new();
    for (name, source) in &config.source {
        let Source::Poll(poll) = source else { continue };
        for (endpoint, settings) in &poll.endpoint {
            let on = format!("endpoint {name}.{endpoint}");
            let (endpoint, settings, access) =
                (endpoint.clone(), settings.clone(), crate::source::poll::access(config));
            asked.spawn(async move {
                let answer = match access {
                    Ok(access) => crate::source::poll::ask(&endpoint, &settings, &access, PATIENCE).await,
                    Err(error) => Err(error.to_string()),
                };
                let check = "poll.endpoint";
                match answer {
                    Ok(()) => Finding::ok(check, on, "gives its figures"),
                    Err(why) => {
                        let what = format!("gives no figures: {why}");
                        Finding::warning(check, on, what, "Records say that it is not connected, until it answers")
                    }
                }
            });
        }
    }
    let mut found = asked.join_all().await;
    found.sort_by(|a, b| a.subject.cmp(&b.subject));
    found
}
