//! Our bridges: the released binaries, set up by `bridgectl`, exactly once.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bridge_tests::Result;
use bridge_tests::stack::repository;

use super::{Ground, Job, Origin};
use crate::events::{Form, contract};

/// Writes the configuration, runs `bridgectl setup`, and gives the command that mirrors.
pub(crate) fn prepare(job: &Job, ground: &Ground) -> Result<Command> {
    let stream = stream(job);
    let directory = ground.directory.join(&job.name);
    std::fs::create_dir_all(&directory)?;
    std::fs::copy(repository().join("config/default.toml"), directory.join("default.toml"))?;
    std::fs::write(directory.join("contract.avsc"), contract()?)?;
    std::fs::write(directory.join(stream).with_extension("toml"), configuration(job, ground)?)?;
    let mut setup = Command::new(binary(ground, "bridgectl")?);
    setup.args(["setup", stream, "--config"]).arg(&directory).envs(job.settings.iter().cloned()).stdin(Stdio::null());
    // The relay that it may reach Pulsar by is a task of this runtime.
    let output = tokio::task::block_in_place(|| setup.output())?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        return Err(format!("bridgectl setup: {}\n{}", output.status, String::from_utf8_lossy(&said)).into());
    }
    let mut command = Command::new(binary(ground, &format!("{stream}-bridge"))?);
    command.args(["run", "--config"]).arg(&directory).envs(job.settings.iter().cloned());
    Ok(command)
}

/// The stream whose binary does it: the smallest that reads such a source.
pub(crate) fn stream(job: &Job) -> &'static str {
    match job.origin {
        Origin::Kafka { .. } => "job-lifecycle",
        Origin::Rabbit { .. } => "notifications",
    }
}

/// A binary of ours, or how to build it.
pub(crate) fn binary(ground: &Ground, name: &str) -> Result<PathBuf> {
    let path = ground.binaries.join(name);
    let missing = || format!("{} is missing: cargo build --release -p {name}", path.display());
    if path.is_file() { Ok(path) } else { Err(missing().into()) }
}

/// A group of its own for every run: with the offsets that a run before has committed, a bridge rightly refuses to begin
/// anew in an empty target.
fn generation() -> u64 {
    bridge_tests::events::now_ms() / 100 % 1_000_000_000
}

fn configuration(job: &Job, ground: &Ground) -> Result<String> {
    let stack = &ground.stack;
    let stream = stream(job);
    let mut text = format!("[stream]\nname = \"{stream}\"\n[http]\nlisten = \"127.0.0.1:0\"\n");
    let (url, admin_url) = (&job.pulsar, stack.pulsar_admin());
    write!(text, "[pulsar]\nurl = \"{url}\"\nadmin_url = \"{admin_url}\"\n")?;
    let format = match job.form {
        Form::Sized(_) => "bytes",
        Form::Event | Form::LargeEvent => "json",
        Form::ConfluentSame | Form::ConfluentEvolved => "confluent-avro",
    };
    if format == "confluent-avro" {
        write!(text, "[registry]\nurl = \"{}\"\n", stack.registry())?;
    }
    match &job.origin {
        Origin::Kafka { topic, .. } => write!(
            text,
            "[kafka]\nbrokers = \"{}\"\n[source.kafka]\nkind = \"kafka\"\ntopic = \"{topic}\"\nstart = \"earliest\"\nformat = \"{format}\"\n\
             generation = {}\n",
            stack.kafka(),
            generation()
        )?,
        Origin::Rabbit { queue, kind } => {
            let host = |url: &str| url.split_once('@').map_or_else(|| url.to_owned(), |(_, host)| host.to_owned());
            let (url, management) = (host(stack.rabbitmq()), host(stack.rabbitmq_management()));
            write!(
                text,
                "[rabbitmq]\nurl = \"amqp://{url}\"\nmanagement_url = \"http://{management}\"\n[source.rabbit]\nkind = \"rabbitmq\"\n\
                 queue = \"{queue}\"\nqueue_type = \"{}\"\ndeclare = true\nformat = \"{format}\"\n",
                kind.name()
            )?;
            text += match kind {
                bridge_tests::rabbit::QueueKind::Stream => "start = \"earliest\"\n",
                _ => "idempotency_key = \"json:event_id\"\n",
            };
        }
    }
    if format != "bytes" {
        text += "[contract]\nfile = \"contract.avsc\"\n";
    }
    let Job { target, .. } = job;
    write!(text, "[target]\ntopic = \"{}\"\n[setup]\npartitions = {}\n", target.topic, target.partitions)?;
    Ok(text)
}
