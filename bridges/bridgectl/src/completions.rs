//! `bridgectl completions`: what a shell needs to complete verbs and options.

use bridge_common::shutdown::Exit;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::terminal;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Writes the script to standard output.
pub(crate) fn run(arguments: &CompletionsArguments, mut command: Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "bridgectl", &mut script);
    terminal::out(&String::from_utf8_lossy(&script));
    Exit::Clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut crate::command(), "bridgectl", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("dead-letters") && script.contains("redrive"), "{shell}");
        }
    }
}
