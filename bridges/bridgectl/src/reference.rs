//! `bridgectl config`: the configuration's reference and its schema for editors.

use bridge_common::config;
use bridge_common::shutdown::Exit;
use clap::Subcommand;

use crate::terminal;

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every key with its type, default and meaning, in Markdown: `config/REFERENCE.md`
    Reference,
    /// The JSON Schema of a stream's file: `config/schema.json`
    Schema,
    /// Every verb of bridgectl with its options, in Markdown: `bridges/bridgectl/REFERENCE.md`
    Cli,
}

/// Runs the verb.
pub(crate) fn run(command: ConfigCommand) -> Exit {
    match command {
        ConfigCommand::Reference => terminal::out(&config::reference()),
        ConfigCommand::Cli => terminal::out(&crate::cli_reference::reference(crate::command())),
        ConfigCommand::Schema => terminal::out(&format!("{:#}\n", config::json_schema())),
    }
    Exit::Clean
}
