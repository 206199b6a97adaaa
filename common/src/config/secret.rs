//! Secrets: never printed, never in the TOML files themselves.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use serde::Deserialize;

use super::hidden::{HIDDEN, hide, is_hidden};
use super::{Config, ConfigError, Source};

/// A password, token or client secret. Its `Debug` shows nothing; there is no `Display`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret's text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The secret that a section names, either itself (from the environment) or by the file that holds it. Read when it is
/// needed, so that a file that is rotated is read anew at the next connection.
///
/// # Errors
/// When the file cannot be read or is empty; the message names the file, never its content.
pub fn read_secret(inline: Option<&Secret>, file: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
    match (inline, file) {
        (Some(secret), _) => Ok(Some(secret.clone())),
        (None, None) => Ok(None),
        (None, Some(path)) => read_file(path).map(|secret| {
            remember(&secret);
            Some(secret)
        }),
    }
}

/// Secrets that this process has read from files, the newest last. Files are rotated: who must not show a secret has to know the
/// new one as well.
static READ: RwLock<Vec<String>> = RwLock::new(Vec::new());
/// How many of them are remembered.
const READ_MAX: usize = 256;

fn remember(secret: &Secret) {
    let secret = secret.expose();
    let mut read = READ.write().unwrap_or_else(PoisonError::into_inner);
    if !is_hidden(secret) || read.iter().any(|known| known == secret) {
        return;
    }
    if read.len() >= READ_MAX {
        read.remove(0);
    }
    read.push(secret.to_owned());
}

/// Replaces what [`read_secret`] has read from files so far.
pub(crate) fn hide_read_secrets(text: &mut String) {
    hide(text, &READ.read().unwrap_or_else(PoisonError::into_inner));
}

fn read_file(path: &Path) -> Result<Secret, ConfigError> {
    let unreadable = |cause: String| ConfigError::SecretFile { path: PathBuf::from(path), cause };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(unreadable("it is empty".to_owned()));
    }
    Ok(Secret::new(text))
}

impl Config {
    /// Reads every file that the configuration names once, so that one that is missing is found before anything starts.
    ///
    /// # Errors
    /// The first file that cannot be read.
    pub fn check_files(&self) -> Result<(), ConfigError> {
        let tls = [&self.kafka.tls, &self.rabbitmq.tls, &self.pulsar.tls, &self.registry.tls];
        let tls_files = tls.into_iter().flat_map(|tls| [&tls.ca_file, &tls.certificate_file, &tls.key_file]);
        let others = [
            &self.kafka.sasl.password_file,
            &self.rabbitmq.password_file,
            &self.pulsar.auth.token_file,
            &self.pulsar.auth.credentials_file,
            &self.registry.password_file,
            &self.contract.file,
            &self.http.token_file,
        ];
        let of_sources = self.source.values().flat_map(|source| match source {
            Source::Poll(poll) => poll.files().collect(),
            source => source.schema_file().into_iter().collect::<Vec<_>>(),
        });
        for path in tls_files.chain(others).flatten().chain(of_sources) {
            read_file(path)?;
        }
        Ok(())
    }
}
