//! Who asks.

use std::os::unix::fs::MetadataExt;

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

/// From the option, the environment, and the system.
pub(super) fn who(said: Option<&str>, environment: impl Iterator<Item = (String, String)>) -> Who {
    let variables: Vec<(String, String)> = environment.collect();
    let variable = |wanted: &str| {
        variables.iter().find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value.clone())
    };
    // Of somebody who became root the name before says more.
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(variable).unwrap_or_else(uid);
    let account = format!("{user}@{}", host());
    let name = said.map(str::to_owned).or_else(|| variable(VARIABLE)).unwrap_or_else(|| account.clone());
    Who { name, account }
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
        let by_account = who(None, environment(&root));
        assert!(by_account.name == by_account.account && by_account.account.starts_with("ada@"), "{by_account:?}");
        let named = [("USER", "root"), (VARIABLE, "on-call")];
        assert_eq!(who(None, environment(&named)).name, "on-call");
        let said = who(Some("grace"), environment(&named));
        assert!(said.name == "grace" && said.account.starts_with("root@"), "{said:?}");
        assert!(who(None, environment(&[])).account.contains('@'));
        assert_eq!(name_of(7, "root:x:0:0::/root:/bin/sh\nada:x:7:7::/:/bin/sh\n"), Some("ada"));
        assert_eq!(name_of(8, "ada:x:7:7::/:/bin/sh\n"), None);
    }
}
