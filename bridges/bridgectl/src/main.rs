//! The operator's tool of the stream bridges. Exit codes: 0 done, 1 something failed or needs a person, 2 the
//! configuration or the command line is wrong.

mod checkpoint;
mod rabbitmq;
mod setup;

use std::path::PathBuf;
use std::process::ExitCode;

use bridge_common::cli;
use bridge_common::shutdown::Exit;
use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bridgectl", version, about = "Operates the stream bridges", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create and set what the bridges need in Pulsar: namespaces, topics, deduplication, retention, schemas
    ///
    /// Changes only what differs, so that a second run finds nothing to do. Never deletes, never shortens a retention,
    /// never changes the partitions of an existing topic.
    Setup(SetupArguments),
    /// Show, set or forget how far a stream's source partitions are mirrored
    ///
    /// `set` and `forget` first take the partitions' producer names, so that no bridge works on them meanwhile: where one
    /// does, they say who holds the name, and change nothing.
    Checkpoint(checkpoint::Arguments),
}

#[derive(Debug, Args)]
struct SetupArguments {
    /// The streams to set up, by the names of their files in the configuration
    #[arg(value_name = "STREAM", required_unless_present = "all", conflicts_with = "all")]
    streams: Vec<String>,
    /// All streams of the configuration
    #[arg(long)]
    all: bool,
    /// Directory of default.toml and the streams' own files
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, too; where even printing fails, nothing is left to say.
            let _ = error.print();
            return if error.use_stderr() { Exit::Config.into() } else { Exit::Clean.into() };
        }
    };
    cli::install_tls();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bridgectl: the system gives no event queue: {error}");
            return Exit::Fault.into();
        }
    };
    match arguments.command {
        Command::Setup(arguments) => runtime.block_on(setup::run(&arguments)).into(),
        Command::Checkpoint(arguments) => runtime.block_on(checkpoint::run(&arguments)).into(),
    }
}
