//! The operator's tool of the stream bridges. Exit codes: 0 done, 1 something failed or needs a person, 2 the
//! configuration or the command line is wrong, 3 `check` found nothing worse than warnings. Each verb has a module.

mod check;
mod checkpoint;
mod rabbitmq;
mod reference;
mod setup;
mod streams;

use std::process::ExitCode;

use bridge_common::cli;
use bridge_common::shutdown::Exit;
use clap::{Parser, Subcommand};

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
    Setup(setup::SetupArguments),
    /// Look at everything that the configurations name, change nothing, and say what is wrong and what to do
    ///
    /// Exit codes: 0 all well, 1 errors, 2 a configuration is wrong, 3 nothing worse than warnings.
    Check(check::CheckArguments),
    /// Show, set or forget how far a stream's source partitions are mirrored
    ///
    /// `set` and `forget` first take the partitions' producer names, so that no bridge works on them meanwhile: where one
    /// does, they say who holds the name, and change nothing.
    Checkpoint(checkpoint::Arguments),
    /// Print the configuration's reference, or its schema for editors
    #[command(subcommand)]
    Config(reference::ConfigCommand),
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
    let exit = match arguments.command {
        Command::Setup(arguments) => runtime.block_on(setup::run(&arguments)),
        Command::Check(arguments) => runtime.block_on(check::run(&arguments)),
        Command::Checkpoint(arguments) => runtime.block_on(checkpoint::run(&arguments)),
        Command::Config(command) => reference::run(command),
    };
    // Threads that still wait for a server that does not answer must not keep the process.
    runtime.shutdown_background();
    exit.into()
}
