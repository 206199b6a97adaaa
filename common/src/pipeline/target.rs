//! What the target must be before the first record is sent: deduplicating, and with a schema that takes the contract. Asked
//! of Pulsar's admin API where the bridge may use it; where not, the broker itself refuses the producers.

use std::time::Duration;

use tokio::sync::mpsc;

use super::start::{Problem, wait};
use crate::admin::{Admin, AdminError};
use crate::check::difference;
use crate::config::{Config, Deduplication, Guarantee, TopicName};
use crate::retry::Retry;
use crate::status::StatusBoard;
use crate::translate::Contract;

/// How often it is looked whether the target still deduplicates.
const LOOK: Duration = Duration::from_secs(5);

/// How often a topic must be found without deduplication, a second apart, before a start is refused.
const REFUSALS: u32 = 3;

/// Looks, as long as anybody listens, whether every topic that is written to still deduplicates: says what is wrong, and
/// `None` when it is right again. An admin API that does not answer tells nothing. `None` where it must not be asked.
pub(super) fn watch(config: &Config, admin: Option<Admin>) -> Option<mpsc::UnboundedReceiver<Option<String>>> {
    let admin = admin.filter(|_| config.target.guarantee == Guarantee::ExactlyOnce)?;
    let topics = written_to(config);
    // Bounded by construction: a word per change.
    let (out, changes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut said = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = out.closed() => return,
            }
            let Some(now) = without_deduplication(&admin, &topics).await else { continue };
            if now != said && out.send(now.clone()).is_err() {
                return;
            }
            said = now;
        }
    });
    Some(changes)
}

/// The first topic that does not deduplicate, in words; `None` where that is not known.
async fn without_deduplication(admin: &Admin, topics: &[TopicName]) -> Option<Option<String>> {
    for topic in topics {
        if !admin.deduplicates(topic).await.ok()? {
            return Some(Some(format!(
                "{topic} does not deduplicate any more: nothing is published until it does, since records could be doubled. \
                 Turn it on again (`bridgectl setup`); the bridge then goes on by itself"
            )));
        }
    }
    Some(None)
}

fn written_to(config: &Config) -> Vec<TopicName> {
    let own = [config.target.topic.clone(), config.dead_letter_topic(), config.checkpoint_topic()];
    own.into_iter().chain(config.route.values().map(|route| route.topic.clone())).collect()
}

/// Pulsar's admin API, where the bridge may use it.
pub(super) fn admin(config: &Config) -> Result<Option<Admin>, Problem> {
    match config.target.deduplication {
        Deduplication::Asserted => Ok(None),
        _ => Admin::new(&config.pulsar).map(Some).map_err(Problem::config),
    }
}

/// Checks the target, the dead letters and the checkpoints. Waits while the admin API does not answer.
pub(super) async fn check(config: &Config, contract: &Contract, board: &StatusBoard) -> Result<(), Problem> {
    let Some(admin) = admin(config)? else { return Ok(()) };
    if config.has_schema() {
        check_schema(config, &admin, contract, board).await?;
    }
    if config.target.guarantee == Guarantee::ExactlyOnce {
        for topic in written_to(config) {
            check_deduplication(config, &admin, &topic, board).await?;
        }
    }
    Ok(())
}

/// Exactly once needs deduplication on every topic that is written to.
async fn check_deduplication(
    config: &Config,
    admin: &Admin,
    topic: &TopicName,
    board: &StatusBoard,
) -> Result<(), Problem> {
    let mut retry = Retry::for_brokers();
    let mut refused = 0;
    loop {
        match admin.deduplicates(topic).await {
            Ok(true) => return Ok(()),
            // A broker that is just loading the topic, or going down, says so for a moment.
            Ok(false) if refused < REFUSALS => {
                refused += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(false) => {
                return Err(Problem::fault(format!(
                    "{topic} has no deduplication: records could be doubled. Run `bridgectl setup {}`, or write \
                     target.guarantee = \"at-least-once\"",
                    config.stream.name
                )));
            }
            Err(AdminError::NotFound { .. }) => return Err(missing(config, topic)),
            Err(error) => wait(&mut retry, board, &error.to_string()).await,
        }
    }
}

fn missing(config: &Config, topic: &TopicName) -> Problem {
    let stream = &config.stream.name;
    Problem::fault(format!("{topic} does not exist: run `bridgectl setup {stream}`, or correct the configuration"))
}

/// The target's schema must take the contract, by the target's own policy.
async fn check_schema(config: &Config, admin: &Admin, contract: &Contract, board: &StatusBoard) -> Result<(), Problem> {
    let topic = &config.target.topic;
    let mut retry = Retry::for_brokers();
    loop {
        let problem = match admin.schema(topic).await {
            Ok(None) => return Ok(()),
            Ok(Some(stored)) if stored.kind != "AVRO" => {
                return Err(Problem::fault(format!(
                    "{topic} has a schema of type {}, and what is published is Avro: choose another target",
                    stored.kind
                )));
            }
            // Each writer's schema is shown to the topic when it is first met.
            Ok(Some(_)) if config.is_mirror() => return Ok(()),
            Ok(Some(stored)) => match admin.takes_avro_schema(topic, contract.schema_json()).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    return Err(Problem::fault(format!(
                        "the schema of {topic} does not take the contract {}: {}. Change the contract so that readers \
                         of either can read the other, or choose another target",
                        contract.name(),
                        difference(&stored.data, contract.schema_json())
                    )));
                }
                Err(error) => error,
            },
            Err(AdminError::NotFound { .. }) => return Err(missing(config, topic)),
            Err(error) => error,
        };
        wait(&mut retry, board, &problem.to_string()).await;
    }
}
