//! The contenders that are written for the benchmark, in `bench-contenders`: plain loops, and readers.

use std::process::Command;

use bridge_tests::Result;
use serde::Deserialize;

use super::{Ground, Job, Origin};
use crate::events::{Form, contract, writer_schema};

/// What a reader says when it is done, as one line of JSON.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Finished {
    /// Records behind its first look.
    pub(crate) records: u64,
    /// From the first look to the last record.
    pub(crate) seconds: f64,
    /// CPU time in between.
    pub(crate) cpu_seconds: f64,
    /// The most memory.
    pub(crate) peak_rss_bytes: u64,
}

fn program(ground: &Ground) -> Result<Command> {
    let path = &ground.own_contenders;
    let missing = || format!("{} is missing: cargo build --release -p bench-contenders", path.display());
    if path.is_file() { Ok(Command::new(path)) } else { Err(missing().into()) }
}

/// The command that reads this job's source and does nothing with it: Kafka by the bridges' own bulk call.
pub(crate) fn reader(job: &Job, ground: &Ground) -> Result<Command> {
    let mut command = program(ground)?;
    let (stack, records) = (&ground.stack, job.records.to_string());
    match &job.origin {
        Origin::Kafka { topic, .. } => command.args(["read-kafka", stack.kafka(), topic, &records]),
        Origin::Rabbit { queue, kind } => command.args(["read-rabbit", stack.rabbitmq(), queue, kind.name(), &records]),
    };
    Ok(command)
}

/// The command of the loop that does this job.
pub(crate) fn plain_loop(job: &Job, ground: &Ground) -> Result<Command> {
    let mut command = program(ground)?;
    let stack = &ground.stack;
    match &job.origin {
        Origin::Kafka { topic, .. } => command.args(["kafka-loop", stack.kafka(), topic, &job.name]),
        Origin::Rabbit { queue, kind } => command.args(["rabbit-loop", stack.rabbitmq(), queue, kind.name()]),
    };
    let directory = ground.directory.join(&job.name);
    std::fs::create_dir_all(&directory)?;
    let contract_file = directory.join("contract.avsc");
    std::fs::write(&contract_file, contract()?)?;
    command.args(["--pulsar", &job.pulsar, "--target", &job.target.topic, "--contract"]).arg(contract_file);
    let form = match job.form {
        Form::Sized(_) => "bytes",
        Form::Event | Form::LargeEvent => "json",
        Form::ConfluentSame | Form::ConfluentEvolved => "confluent-avro",
    };
    command.args(["--form", form]);
    if job.form == Form::ConfluentEvolved {
        let writer_file = directory.join("writer.avsc");
        std::fs::write(&writer_file, writer_schema(job.form)?.to_string())?;
        command.arg("--writer").arg(writer_file);
    }
    Ok(command)
}
