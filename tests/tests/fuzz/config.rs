//! Configuration files and environment variables: any text is a configuration, or a message that says what is wrong.

use std::collections::BTreeMap;
use std::fs;

use bridge_common::config::load;

use crate::engine::{Outcome, Plan, fuzz};

#[test]
fn config() {
    let directory = std::env::temp_dir().join(format!("bridge-fuzz-config-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for the test");
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/default.toml");
    fs::copy(default, directory.join("default.toml")).expect("the default configuration");
    fuzz(Plan { name: "config", inputs: 1_500, growth: 4000 }, |bytes| {
        // The file, and behind the line the variables.
        let text = String::from_utf8_lossy(bytes);
        let (file, variables) = text.split_once("\n===\n").unwrap_or((&text, ""));
        fs::write(directory.join("s.toml"), file).expect("the file can be written");
        let variables: BTreeMap<String, String> = variables
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (format!("BRIDGE__{name}"), value.to_owned()))
            .collect();
        match load(&directory, "s", variables.clone()) {
            Ok(config) => {
                let again = load(&directory, "s", variables).expect("the same");
                assert_eq!(format!("{config:?}"), format!("{again:?}"));
                Outcome { kind: "a configuration".to_owned(), bytes: 65_536 }
            }
            Err(error) => {
                let words = error.to_string();
                assert!(!words.is_empty());
                Outcome { kind: words.chars().take(30).collect(), bytes: 65_536 + words.len() }
            }
        }
    });
    fs::remove_dir_all(&directory).expect("it can be removed");
}
