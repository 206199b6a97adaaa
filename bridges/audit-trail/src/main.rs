//! Mirrors the audit trail from Kafka into Pulsar.

use std::process::ExitCode;

use bridge_common::cli::{self, Stream};
use bridge_common::pipeline;

const STREAM: Stream =
    Stream { name: "audit-trail", contract: include_str!("../contract.avsc"), version: env!("CARGO_PKG_VERSION") };

fn main() -> ExitCode {
    cli::main(STREAM, pipeline::run)
}
