//! A secret in a TOML file ends up in a repository or a ConfigMap.

use config::{Value, ValueKind};

use super::{Problem, refuse};

const SECRETS: &[&str] = &["kafka.sasl.password", "rabbitmq.password", "pulsar.auth.token", "registry.password"];

/// URLs that may hold a login where they come from the environment.
const URLS: &[&str] = &["rabbitmq.url", "rabbitmq.management_url"];

/// Only the environment and files of their own hold secrets.
pub(in super::super) fn secrets_come_from_outside(tree: &Value, environment: &str) -> Result<(), Problem> {
    for key in SECRETS {
        if value_of(tree, key).is_some_and(|found| is_from_a_file(found, environment)) {
            let problem = "a secret does not belong into this file: set it in the environment, or name its file in";
            return refuse(key, format!("{problem} {key}_file"));
        }
    }
    for key in URLS {
        let Some(found) = value_of(tree, key) else { continue };
        let ValueKind::String(url) = &found.kind else { continue };
        if holds_a_login(url) && is_from_a_file(found, environment) {
            let problem = "a user or password does not belong into a URL in this file: use rabbitmq.username and \
                           rabbitmq.password_file, or set the whole URL in the environment";
            return refuse(key, problem);
        }
    }
    Ok(())
}

fn value_of<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(tree, |node, part| match &node.kind {
        ValueKind::Table(table) => table.get(part),
        _ => None,
    })
}

fn is_from_a_file(value: &Value, environment: &str) -> bool {
    value.origin().is_some_and(|origin| origin != environment)
}

fn holds_a_login(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@'))
}
