//! Who asks.

use std::os::unix::fs::MetadataExt;

use crate::terminal::one_line;

/// The environment's variable for `--as`.
const VARIABLE: &str = "BRIDGECTL_AS";

/// Who asks, by what they say and by what the system says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// What was said with `--as` or `BRIDGECTL_AS`; else the account.
    pub(super) name: String,
    /// `user@host`.
    pub(super) account: String,
}

/// Reads a name. One with a line of its own, or with orders to a terminal, would forge what the log shows.
pub(super) fn parse_name(name: &str) -> Result<String, String> {
    match one_line(name) == name && !name.trim().is_empty() {
        true => Ok(name.to_owned()),
        false => Err("a name has neither control characters nor line breaks, and is not empty".to_owned()),
    }
}

/// From the option, the environment, and the system.
///
/// # Errors
/// When the name in the environment is none.
pub(super) fn who(said: Option<&str>, environment: impl Iterator<Item = (String, String)>) -> Result<Who, String> {
    let variables: Vec<(String, String)> = environment.collect();
    let variable = |wanted: &str| {
        variables.iter().find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value.clone())
    };
    // Of somebody who became root the name before says more.
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(variable).unwrap_or_else(uid);
    // The account comes from the environment, too, and is nobody's choice: it is noted as it can be.
    let account = one_line(&format!("{user}@{}", host()));
    let name = match said.map(str::to_owned).or_else(|| variable(VARIABLE)) {
        Some(name) => parse_name(&name).map_err(|problem| format!("{VARIABLE} or --as: {problem}"))?,
        None => account.clone(),
    };
    Ok(Who { name, account })
}

/// The user by the system's table; containers often have no name for theirs.
fn uid() -> String {
    let Ok(process) = std::fs::metadata("/proc/self") else { return "unknown".to_owned() };
    let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(process.uid(), &table).map_or_else(|| format!("uid-{}", process.uid()), str::to_owned)
}

/// `name:x:uid:...`, a line each.
fn name_of(uid: u32, table: &str) -> Option<&str> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_wins_and_the_account_is_noted_in_any_case() {
        let environment = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            pairs.into_iter()
        };
        let root = [("USER", "root"), ("SUDO_USER", "ada")];
        let by_account = who(None, environment(&root)).unwrap();
        assert!(by_account.name == by_account.account && by_account.account.starts_with("ada@"), "{by_account:?}");
        let named = [("USER", "root"), (VARIABLE, "on-call")];
        assert_eq!(who(None, environment(&named)).unwrap().name, "on-call");
        let said = who(Some("grace"), environment(&named)).unwrap();
        assert!(said.name == "grace" && said.account.starts_with("root@"), "{said:?}");
        assert!(who(None, environment(&[])).unwrap().account.contains('@'));
        assert_eq!(name_of(7, "root:x:0:0::/root:/bin/sh\nada:x:7:7::/:/bin/sh\n"), Some("ada"));
        assert_eq!(name_of(8, "ada:x:7:7::/:/bin/sh\n"), None);
    }

    #[test]
    fn a_name_forges_no_line_of_the_log() {
        let environment = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into_iter();
        for wrong in ["ada\nforged", "\u{1b}[2Jada", "a\tb", " "] {
            assert!(parse_name(wrong).is_err() && who(Some(wrong), environment("USER", "ada")).is_err(), "{wrong:?}");
            assert!(who(None, environment(VARIABLE, wrong)).unwrap_err().contains(VARIABLE), "{wrong:?}");
        }
        assert_eq!(parse_name("Ada Lovelace (on-call), é"), Ok("Ada Lovelace (on-call), é".to_owned()));
        assert!(who(None, environment("USER", "a\nb")).unwrap().account.starts_with("a\\nb@"));
    }
}
