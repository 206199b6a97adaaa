//! The operator's tool of the stream bridges. Exit codes: 0 done, 1 something failed or needs a person, 2 the
//! configuration or the command line is wrong, 3 `check` found nothing worse than warnings, 4 `replay --missing --dry-run` found
//! something to be replayed. Each verb has a module.

mod audit;
mod check;
mod checkpoint;
mod cli_reference;
mod completions;
mod control;
mod dead_letters;
mod examples;
mod held;
mod html;
mod rabbitmq;
mod reference;
mod replay;
mod replicas;
mod setup;
mod slo;
mod status;
mod streams;
mod terminal;
mod topic;
mod verify;

use std::process::ExitCode;

use bridge_common::cli;
use bridge_common::shutdown::Exit;
use clap::{CommandFactory, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bridgectl", version = cli::version(env!("CARGO_PKG_VERSION")), about = "Operates the stream bridges", disable_help_subcommand = true)]
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
    #[command(after_help = examples::SETUP)]
    Setup(setup::SetupArguments),
    /// Look at everything that the configurations name, change nothing, and say what is wrong and what to do
    ///
    /// Exit codes: 0 all well, 1 errors, 2 a configuration is wrong, 3 nothing worse than warnings.
    #[command(after_help = examples::CHECK)]
    Check(check::CheckArguments),
    /// Show what all bridges do, in one table: also those that are dead, by what the brokers say
    ///
    /// Exit codes: 0 all well, 1 something is wrong (it is named below the table), 2 a configuration is wrong.
    #[command(after_help = examples::STATUS)]
    Status(status::StatusArguments),
    /// Have a bridge read no more, and settle what is in flight: all of it, or single partitions
    ///
    /// Every replica is told, and holds to it until it is started again; `stream.paused = true` in the configuration is what lasts.
    /// Asks first, unless it is about single partitions.
    #[command(after_help = examples::PAUSE)]
    Pause(control::PauseArguments),
    /// Have a bridge that was paused read again: all of it, or single partitions
    #[command(after_help = examples::RESUME)]
    Resume(control::ResumeArguments),
    /// Have a bridge settle what is in flight and leave its sources for good: other instances take over, where there are any
    ///
    /// The processes go on to answer, and read again when they are started again.
    #[command(after_help = examples::DRAIN)]
    Drain(control::DrainArguments),
    /// Show, set or forget how far a stream's source partitions are mirrored
    ///
    /// `set` and `forget` first take the partitions' producer names, so that no bridge works on them meanwhile, and no replay: where
    /// one does, they say so, and change nothing.
    #[command(after_help = examples::CHECKPOINT)]
    Checkpoint(checkpoint::Arguments),
    /// Show whether the target holds what the source holds: missing, extra, doubled, reordered and altered records, by position
    ///
    /// Reads both sides by readers of its own, translates again by the present contract, and compares. Changes nothing.
    #[command(after_help = examples::VERIFY)]
    Verify(verify::VerifyArguments),
    /// Publish records of the source once more: what the target lacks, or a range to another topic
    ///
    /// Exit codes: 0 done, or nothing to do, 1 not done, or records are gone from the source, 2 a configuration is wrong, 4 with
    /// --missing --dry-run there is something to be published.
    #[command(after_help = examples::REPLAY)]
    Replay(replay::ReplayArguments),
    /// Show, export or redrive what could not be mirrored
    #[command(after_help = examples::DEAD_LETTERS)]
    DeadLetters(dead_letters::Arguments),
    /// Measure what a bridge promises, from real records: how long they take, and what is missing
    ///
    /// Reads the target as its consumers do, and the source beside the bridge as the source's own consumers do; nothing is injected.
    /// Writes one JSON file. Exit codes: 0 measured, 1 records are missing, or nothing came.
    #[command(after_help = examples::SLO)]
    Slo(slo::SloArguments),
    /// Show the operations log: who changed what and when, by `bridgectl`
    #[command(after_help = examples::OPERATIONS)]
    Operations(audit::OperationsArguments),
    /// Print the configuration's reference, or its schema for editors
    #[command(subcommand)]
    Config(reference::ConfigCommand),
    /// Print what a shell needs to complete verbs and options
    #[command(after_help = examples::COMPLETIONS)]
    Completions(completions::CompletionsArguments),
}

/// The command line's definition.
fn command() -> clap::Command {
    Arguments::command()
}

/// What is written with --json where the command line is wrong: as when any verb fails, on one line.
fn refusal(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.trim().trim_start_matches("error: ");
    // What follows is how to ask for help, for a person.
    let end = ["\n\nUsage:", "\n\nFor more information"].into_iter().filter_map(|mark| text.find(mark)).min();
    let problem = text[..end.unwrap_or(text.len())].trim_end();
    format!("{}\n", serde_json::json!({ "version": 1, "error": problem }))
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, too; where even printing fails, nothing is left to say.
            let _ = error.print();
            if !error.use_stderr() {
                return Exit::Clean.into();
            }
            // A program that asked for JSON reads standard output, and finds the reason there.
            if std::env::args_os().any(|argument| argument == "--json") {
                terminal::say(&refusal(&error));
            }
            return Exit::Config.into();
        }
    };
    cli::install_tls();
    // Several threads: `verify` takes the target's partitions apart side by side.
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bridgectl: the system gives no event queue: {error}");
            return Exit::Fault.into();
        }
    };
    let exit = match arguments.command {
        Command::Setup(arguments) => runtime.block_on(setup::run(&arguments)),
        Command::Check(arguments) => runtime.block_on(check::run(&arguments)),
        Command::Status(arguments) => runtime.block_on(status::run(&arguments)),
        Command::Pause(arguments) => runtime.block_on(control::pause(&arguments)),
        Command::Resume(arguments) => runtime.block_on(control::resume(&arguments)),
        Command::Drain(arguments) => runtime.block_on(control::drain(&arguments)),
        Command::Checkpoint(arguments) => runtime.block_on(checkpoint::run(&arguments)),
        Command::Verify(arguments) => runtime.block_on(verify::run(&arguments)),
        Command::Replay(arguments) => runtime.block_on(replay::run(&arguments)),
        Command::DeadLetters(arguments) => runtime.block_on(dead_letters::run(&arguments)),
        Command::Slo(arguments) => runtime.block_on(slo::run(&arguments)),
        Command::Operations(arguments) => runtime.block_on(audit::run(&arguments)),
        Command::Config(command) => reference::run(command),
        Command::Completions(arguments) => completions::run(&arguments, command()),
    };
    // Threads that still wait for a server that does not answer must not keep the process.
    runtime.shutdown_background();
    cli::exit_of(exit).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_in_json_without_the_advice_for_persons() {
        let told = |arguments: &[&str]| {
            let refused = Arguments::try_parse_from(arguments).unwrap_err();
            let text = refusal(&refused);
            assert_eq!(text.lines().count(), 1, "{text}");
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["version"], 1);
            json["error"].as_str().unwrap().to_owned()
        };
        let problem = told(&["bridgectl", "slo", "demo", "--grace", "18446744073709551615", "--json"]);
        assert!(problem.starts_with("invalid value '18446744073709551615' for '--grace <N>'"), "{problem}");
        assert!(!problem.contains("--help"), "{problem}");
        let problem = told(&["bridgectl", "dead-letters", "demo", "list", "--cause", "wrong_typ", "--json"]);
        assert!(problem.contains("Did you mean wrong_type?"), "{problem}");
        assert!(told(&["bridgectl", "pause", "--json"]).contains("required arguments"));
    }

    #[test]
    fn seconds_that_no_clock_holds_are_refused() {
        for verb in ["pause", "resume", "drain"] {
            assert!(Arguments::try_parse_from(["bridgectl", verb, "demo", "--wait", "86401"]).is_err(), "{verb}");
            assert!(Arguments::try_parse_from(["bridgectl", verb, "demo", "--wait", "86400"]).is_ok(), "{verb}");
        }
        assert!(Arguments::try_parse_from(["bridgectl", "slo", "demo", "--grace", "86401"]).is_err());
    }
}
