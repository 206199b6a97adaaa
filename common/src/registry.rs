//! A schema registry of Confluent's kind: schema ids to writer schemas.
//!
//! Our own few lines on reqwest rather than `schema_registry_converter`: all that a bridge needs is two GET requests whose
//! answers are bounded, and a strict difference between a registry that has no answer and an id that it does not have, for
//! on that no record may be lost. That crate's TLS features also choose a provider of their own (`reqwest/rustls`), where
//! this program installs one for all its connections.
//!
//! The registry that has no answer is asked again for ever by the caller; what it says about an id never changes, so the
//! answer is kept ([`crate::translate::AvroSchemas`]). Ids of deleted subjects stay; so do versions that only others refer to.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url, header};
use serde::Deserialize;
use thiserror::Error;

use crate::config::{RegistrySection, read_secret};
use crate::translate::{Permanent, SCHEMA_BYTES_MAX, SchemaError, SchemaId, WriterSchema};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer: a schema within JSON, where each of its quotes takes two bytes.
const ANSWER_BYTES_MAX: usize = 2 * SCHEMA_BYTES_MAX + 65_536;
/// How many schemas one may refer to, all levels together.
const REFERENCES_MAX: usize = 200;
/// How much of a registry's own words is kept.
const REASON_CHARS: usize = 500;

/// Why there is no schema.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The settings do not make a client.
    #[error("{0}")]
    Setting(String),
    /// No answer, or none that makes sense: to be tried again, for ever.
    #[error("{url}: {cause}. Records wait. Check that the schema registry runs, and registry.url")]
    Unavailable {
        /// The request's URL.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The registry does not let us: to be tried again, for somebody may correct it.
    #[error(
        "{url}: {status}: {reason}. Records wait. Check registry.username and registry.password, and the user's rights"
    )]
    Refused {
        /// The request's URL.
        url: String,
        /// 401 or 403.
        status: u16,
        /// The registry's words.
        reason: String,
    },
    /// It will never be a schema to us.
    #[error("schema id {id}: {reason}")]
    Permanent {
        /// The schema's id.
        id: SchemaId,
        /// Why.
        reason: Permanent,
    },
}

impl RegistryError {
    /// What to install for the id, where trying again is of no use.
    pub fn permanent(&self) -> Option<&Permanent> {
        match self {
            Self::Permanent { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

/// The client. Keeps its connections.
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
    base: Url,
    settings: RegistrySection,
}

/// What the registry says about a schema.
#[derive(Debug, Deserialize)]
struct Stored {
    schema: String,
    /// Absent: Avro.
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    subject: String,
    version: i64,
}

/// How one request ended, besides with a schema.
#[derive(Debug)]
enum Failure {
    Error(RegistryError),
    /// There is no such thing, in the registry's own words.
    Unknown(String),
}

impl Registry {
    /// A client for `[registry]`. Opens no connection yet. The process's TLS provider must be installed
    /// ([`crate::cli::install_tls`]).
    ///
    /// # Errors
    /// [`RegistryError::Setting`] when the URL is none, or a file of the section cannot be used.
    pub fn new(settings: &RegistrySection) -> Result<Self, RegistryError> {
        if settings.url.is_empty() {
            return Err(setting(
                "registry.url is empty: format = \"confluent-avro\" needs a schema registry".to_owned(),
            ));
        }
        let wrong = |cause: String| setting(format!("registry.url: {cause}: write http://host:port or https://..."));
        let mut base = Url::parse(&settings.url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(wrong("is no HTTP address".to_owned()));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong(
                "holds a password, which errors would show; use registry.username and password".to_owned(),
            ));
        }
        base.set_path(&format!("{}/", base.path().trim_end_matches('/')));
        let mut builder = Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
        if let Some(path) = &settings.tls.ca_file {
            let certificates = reqwest::Certificate::from_pem_bundle(&read(path)?).map_err(|e| unusable(path, &e))?;
            builder = builder.tls_certs_only(certificates);
        }
        if let (Some(certificate), Some(key)) = (&settings.tls.certificate_file, &settings.tls.key_file) {
            let mut pem = read(certificate)?;
            pem.extend(read(key)?);
            builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(|e| unusable(key, &e))?);
        }
        let client = builder.build().map_err(|error| setting(format!("registry.tls: {}", causes(&error))))?;
        Ok(Self { client, base, settings: settings.clone() })
    }

    /// The schema of an id, with all that it refers to.
    ///
    /// # Errors
    /// See [`RegistryError`]; what is no [`RegistryError::Permanent`] is worth trying again.
    pub async fn schema(&self, id: SchemaId) -> Result<WriterSchema, RegistryError> {
        let permanent = |reason: Permanent| RegistryError::Permanent { id, reason };
        let top = self.get(&["schemas", "ids", &id.to_string()], false).await;
        let top = top.map_err(|failure| failure.of(id))?;
        if let Some(kind) = top.kind.as_ref().filter(|kind| *kind != "AVRO") {
            return Err(permanent(Permanent::OtherType(shorten(kind))));
        }
        let references = self.references(id, &top).await?;
        WriterSchema::parse(&top.schema, &references).map_err(|error| permanent(Permanent::Unusable(error)))
    }

    /// The texts of everything that a schema refers to, each once.
    async fn references(&self, id: SchemaId, top: &Stored) -> Result<Vec<String>, RegistryError> {
        let too_large =
            |what: String| RegistryError::Permanent { id, reason: Permanent::Unusable(SchemaError::TooLarge(what)) };
        let mut texts = Vec::new();
        let mut bytes = top.schema.len();
        let mut seen = HashSet::new();
        let mut open: Vec<_> = targets(top);
        while let Some((subject, version)) = open.pop() {
            if !seen.insert((subject.clone(), version)) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Err(too_large(format!("it refers to more than {REFERENCES_MAX} others")));
            }
            // A subject that was deleted is still there for those that refer to it.
            let path = ["subjects", &subject, "versions", &version.to_string()];
            let stored = self.get(&path, true).await.map_err(|failure| failure.of(id))?;
            bytes = bytes.saturating_add(stored.schema.len());
            if bytes > SCHEMA_BYTES_MAX {
                return Err(too_large(format!("more than {SCHEMA_BYTES_MAX} bytes with what it refers to")));
            }
            open.extend(targets(&stored));
            texts.push(stored.schema);
        }
        Ok(texts)
    }

    /// Whether it answers, and lets us in.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::Refused`].
    pub async fn ping(&self) -> Result<(), RegistryError> {
        // An id that no registry gives: its own words for that are an answer, too.
        match self.get(&["schemas", "ids", "2147483647"], false).await {
            Ok(_) | Err(Failure::Unknown(_)) => Ok(()),
            Err(Failure::Error(error)) => Err(error),
        }
    }

    async fn get(&self, path: &[&str], deleted: bool) -> Result<Stored, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Names of subjects may hold slashes: each is one segment.
            segments.pop_if_empty().extend(path);
        }
        if deleted {
            url.set_query(Some("deleted=true"));
        }
        let unavailable = |cause: String| RegistryError::Unavailable { url: url.to_string(), cause };
        let mut request = self.client.get(url.clone());
        request = request.header(header::ACCEPT, "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(user) = &self.settings.username {
            // Read for each request: schemas are rare, and a password file may be replaced.
            let password = read_secret(self.settings.password.as_ref(), self.settings.password_file.as_deref());
            let password = password.map_err(|error| Failure::Error(unavailable(error.to_string())))?;
            request = request.basic_auth(user, password.map(|password| password.expose().to_owned()));
        }
        let answer = request.send().await.map_err(|error| Failure::Error(unavailable(causes(&error))))?;
        let status = answer.status();
        let body = bounded(answer).await.map_err(|cause| Failure::Error(unavailable(cause)))?;
        judge(&url, status, &body)
    }
}

fn targets(stored: &Stored) -> Vec<(String, i64)> {
    let references = stored.references.iter().flatten();
    references.map(|reference| (reference.subject.clone(), reference.version)).collect()
}

/// Reads an answer, up to a length that none has.
async fn bounded(mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| causes(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("an answer of more than {ANSWER_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What an answer means. "Not found" is believed only in the registry's own words: a wrong path, or somebody else's
/// server, also answers 404, and would turn every record into a dead letter.
fn judge(url: &Url, status: StatusCode, body: &[u8]) -> Result<Stored, Failure> {
    #[derive(Deserialize)]
    struct Refusal {
        error_code: i64,
        #[serde(default)]
        message: String,
    }
    let url = || url.to_string();
    let unavailable = |cause: String| Failure::Error(RegistryError::Unavailable { url: url(), cause });
    if status.is_success() {
        let wrong = |error| unavailable(format!("an answer that no schema registry gives ({error})"));
        return serde_json::from_slice(body).map_err(wrong);
    }
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
    let reason = match &refusal {
        Some(refusal) => shorten(&refusal.message),
        None => shorten(&String::from_utf8_lossy(body)),
    };
    match (status, refusal.map(|refusal| refusal.error_code)) {
        // Subject, version, schema not found.
        (StatusCode::NOT_FOUND, Some(40401..=40403)) => Err(Failure::Unknown(reason)),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            Err(Failure::Error(RegistryError::Refused { url: url(), status: status.as_u16(), reason }))
        }
        _ => Err(unavailable(format!("{}: {reason}", status.as_u16()))),
    }
}

impl Failure {
    fn of(self, id: SchemaId) -> RegistryError {
        match self {
            Self::Error(error) => error,
            Self::Unknown(reason) => RegistryError::Permanent { id, reason: Permanent::Unknown(reason) },
        }
    }
}

fn setting(problem: String) -> RegistryError {
    RegistryError::Setting(problem)
}

fn read(path: &Path) -> Result<Vec<u8>, RegistryError> {
    std::fs::read(path).map_err(|error| setting(format!("{}: cannot be read: {error}", path.display())))
}

fn unusable(path: &Path, error: &reqwest::Error) -> RegistryError {
    setting(format!("{}: is not usable PEM: {}", path.display(), causes(error)))
}

/// One line of bounded length.
fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(REASON_CHARS).collect::<String>().trim_end_matches('.').to_owned()
}

/// An error with its causes: the outermost alone says little. Without the URL, which is said already.
fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { "no answer".to_owned() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What an answer means, in words: a schema's text with the number of its references, or why there is none.
#[cfg(feature = "fuzzing")]
pub(crate) fn answer(status: u16, body: &[u8]) -> Result<(String, usize), String> {
    let url = Url::parse("http://registry/schemas/ids/7").map_err(|error| error.to_string())?;
    let status = StatusCode::from_u16(status).map_err(|error| error.to_string())?;
    match judge(&url, status, body) {
        Ok(stored) => Ok((stored.schema.clone(), targets(&stored).len())),
        Err(failure) => Err(failure.of(7).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Failure {
        let url = Url::parse("http://r/schemas/ids/7").unwrap();
        judge(&url, StatusCode::from_u16(status).unwrap(), body.as_bytes()).unwrap_err()
    }

    #[test]
    fn only_the_registrys_own_words_say_that_an_id_is_unknown() {
        let unknown = judged(404, r#"{"error_code":40403,"message":"Schema 7 not found."}"#);
        assert!(matches!(&unknown, Failure::Unknown(reason) if reason == "Schema 7 not found"), "{unknown:?}");
        assert!(unknown.of(7).permanent().is_some());
        let waits = [
            (404, "<html>not found</html>"),
            (404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
            (404, r#"{"error_code":0,"message":"Could not find resource"}"#),
            (500, r#"{"error_code":50001,"message":"Error in the backend datastore"}"#),
            (429, ""),
            (200, "<html>a proxy's page</html>"),
            (200, "{}"),
        ];
        for (status, body) in waits {
            let Failure::Error(error) = judged(status, body) else { panic!("{status} {body}") };
            assert!(matches!(error, RegistryError::Unavailable { .. }) && error.permanent().is_none(), "{error}");
        }
        let Failure::Error(refused) = judged(401, r#"{"error_code":401,"message":"Unauthorized"}"#) else { panic!() };
        assert_eq!(
            refused.to_string(),
            "http://r/schemas/ids/7: 401: Unauthorized. Records wait. Check registry.username and registry.password, \
             and the user's rights"
        );
    }

    #[test]
    fn settings_that_make_no_client_are_named() {
        crate::cli::install_tls();
        let refused = |url: &str| {
            let settings = RegistrySection { url: url.to_owned(), ..RegistrySection::default() };
            Registry::new(&settings).unwrap_err().to_string()
        };
        assert!(refused("").contains("registry.url is empty"));
        assert!(refused("localhost:8081").contains("registry.url"));
        assert!(refused("ftp://host").contains("no HTTP address"));
        let leaked = refused("http://user:secret@host");
        assert!(leaked.contains("registry.username") && !leaked.contains("secret"), "{leaked}");
    }
}
