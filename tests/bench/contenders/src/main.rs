//! Contenders of the benchmark that are no programs of their own elsewhere. They stand apart from the harness so that they are
//! built as the bridges are: released, with link-time optimisation and the bridges' allocator.

mod kafka_loop;
mod rabbit_loop;
mod readers;
mod target;
mod translate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Whatever goes wrong ends the contender, and is told.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(name = "bench-contenders", about = "Contenders of the benchmark; bridge-bench starts them")]
struct Arguments {
    #[command(subcommand)]
    contender: Contender,
}

#[derive(Subcommand)]
enum Contender {
    /// From Kafka into Pulsar as an able user writes it
    KafkaLoop {
        brokers: String,
        topic: String,
        group: String,
        #[command(flatten)]
        target: target::Place,
        #[command(flatten)]
        how: translate::How,
    },
    /// From RabbitMQ into Pulsar as an able user writes it
    RabbitLoop {
        url: String,
        queue: String,
        kind: String,
        #[command(flatten)]
        target: target::Place,
        #[command(flatten)]
        how: translate::How,
    },
    /// Read a Kafka topic as the bridges do
    ReadKafka { brokers: String, topic: String, records: u64 },
    /// Read a RabbitMQ queue
    ReadRabbit { url: String, queue: String, kind: String, records: u64 },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().contender {
        Contender::KafkaLoop { brokers, topic, group, target, how } => {
            kafka_loop::run(&brokers, &topic, &group, &target, &how).await
        }
        Contender::RabbitLoop { url, queue, kind, target, how } => {
            rabbit_loop::run(&url, &queue, &kind, &target, &how).await
        }
        Contender::ReadKafka { brokers, topic, records } => {
            tokio::task::block_in_place(|| readers::read_kafka(&brokers, &topic, records))
        }
        Contender::ReadRabbit { url, queue, kind, records } => readers::read_rabbit(&url, &queue, &kind, records).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-contenders: {error}");
            ExitCode::FAILURE
        }
    }
}
