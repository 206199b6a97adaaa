//! Servers: their addresses, TLS and logins.

use std::path::PathBuf;

use super::super::choices::*;
use super::super::sections::*;
use super::{Problem, in_range, refuse};

/// librdkafka's settings that the exactly-once rules, the group's name or the memory budget depend on.
const OWN_PROPERTIES: &[&str] = &[
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "debug",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.message.max.bytes",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
];

pub(super) fn check_kafka(kafka: &KafkaSection) -> Result<(), Problem> {
    for broker in kafka.brokers.split(',') {
        let port = broker.trim().rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
        if port.and_then(|port| port.parse::<u16>().ok()).is_none() {
            return refuse("kafka.brokers", format!("\"{}\": write host:port, separated by commas", broker.trim()));
        }
    }
    in_range("kafka.session_timeout_ms", kafka.session_timeout_ms, 1_000, 3_600_000)?;
    let prefix = &kafka.group_prefix;
    if prefix.len() > MAX_PREFIX || !is_plain(prefix) {
        let reason = format!("\"{prefix}\": letters, digits, '.', '_' and '-', {MAX_PREFIX} at most");
        return refuse("kafka.group_prefix", reason);
    }
    match kafka.instance_id.as_deref() {
        Some("") => return refuse("kafka.instance_id", "is empty: leave it out for dynamic membership"),
        Some(id) if id.len() > MAX_IDENTITY || !is_plain(id) => {
            let reason =
                format!("\"{id}\": Kafka takes letters, digits, '.', '_' and '-', here {MAX_IDENTITY} at most");
            return refuse("kafka.instance_id", reason);
        }
        _ => {}
    }
    check_tls("kafka.tls", &kafka.tls)?;
    let some_tls = kafka.tls.ca_file.is_some() || kafka.tls.certificate_file.is_some();
    if some_tls && !kafka.tls.enabled {
        return refuse("kafka.tls.enabled", "is false, but kafka.tls names files: set it to true, or leave them out");
    }
    check_sasl(kafka)?;
    match kafka.properties.keys().find(|name| OWN_PROPERTIES.contains(&name.as_str())) {
        Some(name) => refuse(
            "kafka.properties",
            format!("\"{name}\" is set by the bridge itself: use the keys of [kafka], or leave it out"),
        ),
        None => Ok(()),
    }
}

/// Kafka takes 249 bytes, and the source's name is added.
const MAX_IDENTITY: usize = 200;

/// The stream's name is added.
const MAX_PREFIX: usize = 100;

/// Whether Kafka takes it in a static member's name; groups may be called anything, and are compared, typed and matched by access lists.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn check_sasl(kafka: &KafkaSection) -> Result<(), Problem> {
    let sasl = &kafka.sasl;
    one_of_two("kafka.sasl.password", sasl.password.is_some(), "kafka.sasl.password_file", &sasl.password_file)?;
    let has_password = sasl.password.is_some() || sasl.password_file.is_some();
    let has_user = sasl.username.as_deref().is_some_and(|name| !name.is_empty());
    match sasl.mechanism {
        SaslMechanism::None if has_password || sasl.username.is_some() => refuse(
            "kafka.sasl.mechanism",
            "is \"none\", but kafka.sasl names a user or a password: allowed are \"PLAIN\", \"SCRAM-SHA-256\", \"SCRAM-SHA-512\"",
        ),
        SaslMechanism::None => Ok(()),
        _ if !has_user => refuse("kafka.sasl.username", "is needed by kafka.sasl.mechanism"),
        _ if !has_password => {
            refuse("kafka.sasl.password_file", "is needed by kafka.sasl.mechanism (or BRIDGE__KAFKA__SASL__PASSWORD)")
        }
        _ => Ok(()),
    }
}

pub(super) fn check_pulsar(pulsar: &PulsarSection) -> Result<(), Problem> {
    check_url("pulsar.url", &pulsar.url, &["pulsar", "pulsar+ssl"])?;
    if !pulsar.admin_url.is_empty() {
        check_url("pulsar.admin_url", &pulsar.admin_url, &["http", "https"])?;
    }
    check_tls("pulsar.tls", &pulsar.tls)?;
    if pulsar.tls.enabled && !pulsar.url.starts_with("pulsar+ssl://") {
        return refuse(
            "pulsar.tls.enabled",
            "is for Kafka only: Pulsar speaks TLS when pulsar.url begins with pulsar+ssl://",
        );
    }
    let auth = &pulsar.auth;
    one_of_two("pulsar.auth.token", auth.token.is_some(), "pulsar.auth.token_file", &auth.token_file)?;
    let has_token = auth.token.is_some() || auth.token_file.is_some();
    match auth.kind {
        PulsarAuthKind::Token if !has_token => refuse(
            "pulsar.auth.token_file",
            "is needed by pulsar.auth.kind = \"token\" (or BRIDGE__PULSAR__AUTH__TOKEN)",
        ),
        PulsarAuthKind::OAuth2 if auth.issuer_url.is_none() => {
            refuse("pulsar.auth.issuer_url", "is needed by pulsar.auth.kind = \"oauth2\"")
        }
        PulsarAuthKind::OAuth2 if auth.credentials_file.is_none() => {
            refuse("pulsar.auth.credentials_file", "is needed by pulsar.auth.kind = \"oauth2\"")
        }
        kind if has_token && kind != PulsarAuthKind::Token => {
            refuse("pulsar.auth.kind", "is not \"token\", but a token is set: set the kind, or leave the token out")
        }
        _ => Ok(()),
    }
}

pub(super) fn check_registry(registry: &RegistrySection) -> Result<(), Problem> {
    if !registry.url.is_empty() {
        check_url("registry.url", &registry.url, &["http", "https"])?;
    }
    check_tls("registry.tls", &registry.tls)?;
    one_of_two("registry.password", registry.password.is_some(), "registry.password_file", &registry.password_file)
}

fn check_tls(section: &str, tls: &TlsSection) -> Result<(), Problem> {
    match (&tls.certificate_file, &tls.key_file) {
        (Some(_), None) => refuse(&format!("{section}.key_file"), "is needed by certificate_file"),
        (None, Some(_)) => refuse(&format!("{section}.certificate_file"), "is needed by key_file"),
        _ => Ok(()),
    }
}

fn one_of_two(key: &str, inline: bool, file_key: &str, file: &Option<PathBuf>) -> Result<(), Problem> {
    if inline && file.is_some() {
        return refuse(key, format!("and {file_key} are both set: leave one out"));
    }
    Ok(())
}

pub(super) fn check_url(key: &str, url: &str, schemes: &[&str]) -> Result<(), Problem> {
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        let forms: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}://host:port")).collect();
        return refuse(key, format!("\"{}\" is not a URL for it: write {}", without_user(url), forms.join(" or ")));
    };
    if rest.contains('@') {
        return refuse(key, "holds a user or password: use the keys for them, so that they reach no log");
    }
    Ok(())
}

/// The URL with what stands before an `@` hidden.
fn without_user(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("...@{host}"),
        None => url.to_owned(),
    }
}
