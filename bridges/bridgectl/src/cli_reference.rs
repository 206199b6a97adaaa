//! `bridges/bridgectl/REFERENCE.md`: every verb with its arguments and options, from the command line's own definition.

use std::fmt::Write;

use clap::{Arg, Command};

const HEAD: &str = "# bridgectl\n\n\
    Generated from the command line itself (`bridgectl config cli`); a test keeps it true.\n\
    Exit codes: 0 done, 1 something failed or needs a person, 2 the configuration or the command line is wrong, 3 `check` \
    found nothing worse than warnings, 4 `replay --missing --dry-run` found something to be replayed.\n";

/// The whole text.
pub(crate) fn reference(mut command: Command) -> String {
    command.build();
    let mut text = HEAD.to_owned();
    for verb in command.get_subcommands() {
        section(verb, "bridgectl", &mut text);
    }
    text
}

fn section(command: &Command, parent: &str, text: &mut String) {
    let name = format!("{parent} {}", command.get_name());
    // Writing to a String cannot fail.
    let _ = write!(text, "\n## `{name}`\n\n{}\n", prose(command));
    if !command.has_subcommands() {
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim();
        let usage = usage.strip_prefix(command.get_bin_name().unwrap_or_default()).unwrap_or(usage);
        let _ = write!(text, "\n```\n{name}{usage}\n```\n");
    }
    let shown: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help").collect();
    if !shown.is_empty() {
        text.push_str("\n| | | default |\n|---|---|---|\n");
    }
    for arg in shown {
        let default = arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
        let default = if takes_value(arg) { default.collect::<Vec<_>>().join(" ") } else { String::new() };
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "| {} | {} | {default} |", named(arg), help.replace('\n', " "));
    }
    if let Some(examples) = command.get_after_help() {
        let _ = write!(text, "\n```\n{}\n```\n", examples.to_string().trim_end());
    }
    for verb in command.get_subcommands() {
        section(verb, &name, text);
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn prose(command: &Command) -> String {
    command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default()
}

fn named(arg: &Arg) -> String {
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
    match arg.get_long() {
        Some(long) if takes_value(arg) => format!("`--{long} {value}`"),
        Some(long) => format!("`--{long}`"),
        None => format!("`{value}`"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reference_that_ships_is_that_of_the_command_line() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("REFERENCE.md");
        let text = reference(crate::command());
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == text,
            "bridges/bridgectl/REFERENCE.md is not what the command line says: run `UPDATE_REFERENCE=1 cargo test -p bridgectl`"
        );
    }

    #[test]
    fn every_verb_and_every_option_says_what_it_is() {
        fn check(command: &Command, name: &str) {
            assert!(command.get_about().is_some(), "{name}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name} {}", arg.get_id());
            }
            for verb in command.get_subcommands() {
                check(verb, &format!("{name} {}", verb.get_name()));
            }
        }
        let mut command = crate::command();
        command.build();
        command.get_subcommands().for_each(|verb| check(verb, verb.get_name()));
    }
}
