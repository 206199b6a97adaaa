//! Mirrors the health events from Kafka, brokers' figures from RabbitMQ, and the figures that it polls itself, into Pulsar.

use std::process::ExitCode;

use bridge_common::cli::{self, Stream};
use bridge_common::pipeline;

const STREAM: Stream =
    Stream { name: "broker-metrics", contract: include_str!("../contract.avsc"), version: env!("CARGO_PKG_VERSION") };

fn main() -> ExitCode {
    cli::main(STREAM, pipeline::run)
}
