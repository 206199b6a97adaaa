//! The secrets of a configuration, for whoever must not show them.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Config, Source, read_secret};

/// What stands in a secret's place.
pub(crate) const HIDDEN: &str = "<redacted>";

/// What is shorter would hide ordinary words of the log.
const HIDDEN_CHARS_MIN: usize = 5;

/// RabbitMQ's own login, which everybody knows, and which stands in its errors.
const NO_SECRET: &str = "guest";

/// Whether a secret can be hidden without hiding what is none.
pub(super) fn is_hidden(secret: &str) -> bool {
    secret.chars().count() >= HIDDEN_CHARS_MIN && secret != NO_SECRET
}

/// Puts [`HIDDEN`] in the place of each secret.
pub(crate) fn hide(text: &mut String, secrets: &[String]) {
    for secret in secrets {
        if text.contains(secret) {
            *text = text.replace(secret, HIDDEN);
        }
    }
}

impl Config {
    /// Every secret that the configuration holds or names the file of, as far as it can be read now. Also passwords within
    /// URLs, and logins as they travel in HTTP's basic authentication. The longest come first, since one may be part of another.
    pub fn secrets_to_hide(&self) -> Vec<String> {
        let mut secrets = self.secrets();
        secrets.retain(|secret| is_hidden(secret));
        let users = [&self.kafka.sasl.username, &self.rabbitmq.username, &self.registry.username];
        let endpoints = self.source.values().filter_map(|source| match source {
            Source::Poll(poll) => Some(poll.endpoint.values().map(|endpoint| &endpoint.username)),
            _ => None,
        });
        let basic = |user: &String| {
            let of_user = |secret: &String| STANDARD.encode(format!("{user}:{secret}"));
            secrets.iter().map(of_user).collect::<Vec<_>>()
        };
        let encoded: Vec<String> = users.into_iter().chain(endpoints.flatten()).flatten().flat_map(basic).collect();
        // Errors quote what they show, and then it is not the same text any more.
        let quoted = secrets.iter().map(|secret| format!("{secret:?}"));
        let quoted = quoted.filter_map(|text| Some(text.strip_prefix('"')?.strip_suffix('"')?.to_owned()));
        let quoted: Vec<String> = quoted.filter(|text| !secrets.contains(text)).collect();
        secrets.extend(encoded);
        secrets.extend(quoted);
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        secrets
    }

    fn secrets(&self) -> Vec<String> {
        let inline =
            [&self.kafka.sasl.password, &self.rabbitmq.password, &self.pulsar.auth.token, &self.registry.password];
        let mut files = vec![
            &self.kafka.sasl.password_file,
            &self.rabbitmq.password_file,
            &self.pulsar.auth.token_file,
            &self.registry.password_file,
            &self.http.token_file,
        ];
        for source in self.source.values() {
            if let Source::Poll(poll) = source {
                files.extend(poll.endpoint.values().flat_map(|of| [&of.password_file, &of.token_file]));
            }
        }
        let urls = [&self.rabbitmq.url, &self.rabbitmq.management_url];
        let inline = inline.into_iter().flatten().map(|secret| secret.expose().to_owned());
        let in_files = files.into_iter().flatten().filter_map(|path| read_secret(None, Some(path)).ok()?);
        let in_urls = urls.into_iter().filter_map(|url| password_within(url.expose()));
        let of_oauth2 = self.pulsar.auth.credentials_file.as_deref().and_then(client_secret);
        inline.chain(in_files.map(|secret| secret.expose().to_owned())).chain(in_urls).chain(of_oauth2).collect()
    }
}

/// The password in `scheme://user:password@host`.
fn password_within(url: &str) -> Option<String> {
    let (login, _) = url.split_once("://")?.1.split(['/', '?', '#']).next()?.rsplit_once('@')?;
    Some(login.split_once(':')?.1.to_owned())
}

/// That of OAuth2, in its JSON file.
fn client_secret(path: &Path) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    Some(json["client_secret"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_secret_of_a_configuration_is_known_to_who_must_hide_it() {
        let directory = std::env::temp_dir().join(format!("secrets-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(directory.join(name), text).unwrap();
            directory.join(name)
        };
        let config: Config = serde_json::from_value(json!({
            "stream": {"name": "s"},
            "target": {"topic": "persistent://public/default/t"},
            "kafka": {"sasl": {"mechanism": "PLAIN", "username": "me", "password": "of-kafka"}},
            "rabbitmq": {"url": "amqp://u:of-the-url@h:1/v", "password_file": file("rabbitmq", "of-rabbitmq\n")},
            "pulsar": {"auth": {"token": "of-pulsar", "credentials_file": file("oauth", r#"{"client_secret": "of-oauth2"}"#)}},
            "registry": {"username": "me", "password": "of-the-registry"},
            "http": {"token_file": file("http", "of-the-controls")},
            "source": {"polled": {"kind": "poll", "endpoint": {"e": {
                "kind": "pulsar", "url": "http://e", "token_file": file("endpoint", "of-an-endpoint")}, "f": {
                "kind": "pulsar", "url": "http://f", "username": "us", "password_file": file("basic", "of \"another\"")}, "g": {
                "kind": "pulsar", "url": "http://g", "token_file": file("same", "of-kafka")}, "h": {
                "kind": "pulsar", "url": "http://h", "token_file": file("long", "of-mongo")}, "i": {
                "kind": "pulsar", "url": "http://i", "token_file": file("twin", "of-kafka")}}}},
        }))
        .unwrap();
        let hidden = config.secrets_to_hide();
        let once: std::collections::BTreeSet<&String> = hidden.iter().collect();
        assert_eq!(once.len(), hidden.len(), "each secret is looked for once: {hidden:?}");
        for secret in [
            "of-kafka",
            "of-rabbitmq",
            "of-the-url",
            "of-pulsar",
            "of-oauth2",
            "of-the-registry",
            "of-the-controls",
            "of-an-endpoint",
            &STANDARD.encode("me:of-the-registry"),
            &STANDARD.encode("us:of \"another\""),
            r#"of \"another\""#,
        ] {
            assert!(hidden.iter().any(|known| known == secret), "{secret} is missing in {hidden:?}");
        }
        // One that is rotated is known from when it is read on.
        let rotated = file("rotated", "of-the-next-week");
        read_secret(None, Some(&rotated)).unwrap();
        let mut text = "the server says: of-the-next-week".to_owned();
        crate::config::hide_read_secrets(&mut text);
        assert_eq!(text, format!("the server says: {HIDDEN}"));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
