//! What the target must be before the first record is sent: deduplicating, and with a schema that takes the contract. Asked
//! of Pulsar's admin API where the bridge may use it; where not, the broker itself refuses the producers.

use super::start::{Problem, wait};
use crate::admin::{Admin, AdminError};
use crate::check::difference;
use crate::config::{Config, Deduplication, Guarantee, TopicName};
use crate::retry::Retry;
use crate::status::StatusBoard;
use crate::translate::Contract;

/// Checks the target, the dead letters and the checkpoints. Waits while the admin API does not answer.
pub(super) async fn check(config: &Config, contract: &Contract, board: &StatusBoard) -> Result<(), Problem> {
    if config.target.deduplication == Deduplication::Asserted {
        return Ok(());
    }
    let admin = Admin::new(&config.pulsar).map_err(Problem::config)?;
    if config.has_schema() {
        check_schema(config, &admin, contract, board).await?;
    }
    if config.target.guarantee == Guarantee::ExactlyOnce {
        let own = [config.target.topic.clone(), config.dead_letter_topic(), config.checkpoint_topic()];
        for topic in own.iter().chain(config.route.values().map(|route| &route.topic)) {
            check_deduplication(config, &admin, topic, board).await?;
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
    loop {
        match admin.deduplicates(topic).await {
            Ok(true) => return Ok(()),
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
