//! From files and environment to a checked [`Config`], or to a message that says which key, where, and what is allowed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat, Value, ValueKind};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use thiserror::Error;

use super::sections::Config;
use super::source::Source;
use super::validate;

/// Why a configuration is refused. A bridge exits with 2 and this message.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A file that must be there cannot be read.
    #[error("{}: cannot be read: {cause}. {hint}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// A file is not TOML.
    #[error("{file}: not valid TOML: {cause}")]
    Syntax {
        /// The file.
        file: String,
        /// What and where, from the parser.
        cause: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key {key}.{}{allowed}", suggestion.as_ref().map(|s| format!(" Did you mean {s}?")).unwrap_or_default())]
    UnknownKey {
        /// The file, or the environment variable.
        place: String,
        /// The key's whole path.
        key: String,
        /// The nearest key that exists.
        suggestion: Option<String>,
        /// The keys that exist there.
        allowed: String,
    },
    /// A key that must be set is not.
    #[error("{key} is not set: write it in {}, or set {}", file.display(), variable_of(key))]
    Missing {
        /// The key's whole path.
        key: String,
        /// The stream's file.
        file: PathBuf,
    },
    /// A value that is of the wrong type, out of range, or not among the allowed ones.
    #[error("{place}: {key}: {problem}")]
    Value {
        /// The file, or the environment variable.
        place: String,
        /// The key's whole path.
        key: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A file that a key names cannot be used.
    #[error("{}: the file cannot be used: {cause}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
}

/// The prefix of every environment variable that is a setting.
const PREFIX: &str = "BRIDGE__";
/// What the `config` crate says where a value came from the environment.
const ENVIRONMENT: &str = "the environment";

/// Reads and checks the configuration of `stream`: `<dir>/default.toml`, `<dir>/<stream>.toml`, then those of `variables`
/// that begin with `BRIDGE__` (pass [`std::env::vars`]). Relative paths in it become paths below `dir`.
///
/// # Errors
/// The first problem found, in words for whoever wrote the configuration.
pub fn load(
    dir: &Path,
    stream: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let variables = settings_among(variables)?;
    let layers = Layers::merge(dir, stream, variables)?;
    layers.sources_have_their_shape()?;
    let mut config: Config = layers.tree.clone().try_deserialize().map_err(|error| layers.explain(error, ""))?;
    let refused = |(key, problem)| layers.value_error(key, problem);
    validate::secrets_come_from_outside(&layers.tree, ENVIRONMENT).map_err(refused)?;
    validate::check(&config, stream).map_err(refused)?;
    make_paths_absolute(&mut config, dir);
    Ok(config)
}

/// The streams that a configuration directory describes: its `*.toml` files but `default.toml`, sorted.
///
/// # Errors
/// When the directory cannot be read.
pub fn streams_in(dir: &Path) -> Result<Vec<String>, ConfigError> {
    let unreadable = |error: std::io::Error| ConfigError::File {
        path: dir.to_owned(),
        cause: error.to_string(),
        hint: "Name the directory of the configuration with --config.".to_owned(),
    };
    let mut streams = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if path.extension().is_some_and(|extension| extension == "toml")
            && let Some(stem) = stem
            && stem != "default"
        {
            streams.push(stem.to_owned());
        }
    }
    streams.sort();
    Ok(streams)
}

/// The variables that are settings. Their names are matched without regard to case, as keys are lower case anyway.
fn settings_among(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut settings = BTreeMap::new();
    for (name, value) in variables {
        if !name.to_ascii_uppercase().starts_with(PREFIX) {
            continue;
        }
        if name[PREFIX.len()..].split("__").any(str::is_empty) {
            return Err(ConfigError::UnknownKey {
                place: format!("environment variable {name}"),
                key: format!("\"{}\"", &name[PREFIX.len()..]),
                suggestion: None,
                allowed: " Write BRIDGE__SECTION__KEY.".to_owned(),
            });
        }
        settings.insert(name, value);
    }
    Ok(settings)
}

/// What files and environment say together, before it is typed.
struct Layers<'a> {
    /// Each value knows where it came from.
    tree: Value,
    dir: &'a Path,
    stream_file: PathBuf,
}

impl<'a> Layers<'a> {
    fn merge(dir: &'a Path, stream: &str, variables: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let (default_file, stream_file) = (dir.join("default.toml"), dir.join(format!("{stream}.toml")));
        for (path, hint) in [
            (&default_file, "Name the directory of the configuration with --config.".to_owned()),
            (&stream_file, format!("Every stream has a file of its own: write {stream}.toml.")),
        ] {
            if let Err(error) = std::fs::metadata(path) {
                return Err(ConfigError::File { path: path.clone(), cause: error.to_string(), hint });
            }
        }
        let file = |path: &Path| File::from(path.to_owned()).format(FileFormat::Toml).required(true);
        let environment = Environment::with_prefix("BRIDGE").separator("__").prefix_separator("__");
        let tree = config::Config::builder()
            .add_source(file(&default_file))
            .add_source(file(&stream_file))
            .add_source(environment.source(Some(variables.into_iter().collect())))
            .build()
            .map_err(|error| syntax_error(dir, error))?
            .cache;
        Ok(Self { tree, dir, stream_file })
    }

    /// Says where a key was set: the file, or the variable.
    fn place_of(&self, key: &str) -> String {
        let mut node = &self.tree;
        let mut origin = None;
        for part in key.split('.') {
            let ValueKind::Table(table) = &node.kind else { break };
            let Some(child) = table.get(part) else { break };
            node = child;
            origin = node.origin().or_else(|| origin_within(node)).or(origin);
        }
        match origin {
            Some(ENVIRONMENT) => format!("environment variable {}", variable_of(key)),
            Some(file) => file_in(self.dir, file).display().to_string(),
            None => self.stream_file.display().to_string(),
        }
    }

    fn value_error(&self, key: String, problem: String) -> ConfigError {
        ConfigError::Value { place: self.place_of(&key), key, problem }
    }

    /// Each source by itself and by its kind, so that an error is that kind's and names the whole path.
    fn sources_have_their_shape(&self) -> Result<(), ConfigError> {
        let ValueKind::Table(root) = &self.tree.kind else { return Ok(()) };
        let Some(ValueKind::Table(sources)) = root.get("source").map(|node| &node.kind) else { return Ok(()) };
        for (name, source) in sources {
            source_of(source.clone()).map_err(|error| self.explain(error, &format!("source.{name}")))?;
        }
        Ok(())
    }

    /// Turns the `config` crate's error into one that names key, place and what is allowed. `base` is the path of what
    /// was deserialised, empty for the whole.
    fn explain(&self, error: config::ConfigError, base: &str) -> ConfigError {
        use config::ConfigError as Cause;
        match error {
            Cause::NotFound(key) => ConfigError::Missing { key: joined(base, &key), file: self.stream_file.clone() },
            Cause::Type { unexpected, expected, key, .. } => {
                let found = unexpected.to_string();
                let problem = format!("expected {expected}, found {found}{}", hint(expected, &found));
                self.value_error(joined(base, &key.unwrap_or_default()), problem)
            }
            Cause::At { error, key, .. } => self.explain(*error, &joined(base, &key.unwrap_or_default())),
            Cause::Message(message) => self.explain_message(&message, base),
            other => self.value_error(base.to_owned(), other.to_string()),
        }
    }

    /// serde says of unknown names only "unknown field `x`, expected one of `a`, `b`": the names are taken out of it.
    fn explain_message(&self, message: &str, base: &str) -> ConfigError {
        let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        match names.split_first() {
            Some((unknown, allowed)) if message.starts_with("unknown field ") => {
                let key = joined(base, unknown);
                ConfigError::UnknownKey {
                    place: self.place_of(&key),
                    suggestion: nearest(unknown, allowed).map(|near| joined(base, near)),
                    allowed: format!(" Allowed here: {}.", allowed.join(", ")),
                    key,
                }
            }
            Some((unknown, allowed)) if message.starts_with("unknown variant ") => {
                let problem = format!("\"{unknown}\" is not known. Allowed here: {}.", allowed.join(", "));
                self.value_error(base.to_owned(), problem)
            }
            _ => self.value_error(base.to_owned(), message.to_owned()),
        }
    }
}

/// What to write instead, where a number came with its unit, or is below what the key can be. `found` is the `config` crate's
/// name for it: `string "64 MiB"`, `integer `-1``.
fn hint(expected: &str, found: &str) -> &'static str {
    let value = found.split(['"', '`']).nth(1).unwrap_or_default();
    match value.strip_prefix('-').unwrap_or(value).chars().next() {
        _ if !expected.contains("integer") => "",
        Some('0'..='9') if value.parse::<i128>().is_ok_and(|number| number < 0) => ": it cannot be negative",
        Some('0'..='9') if found.starts_with("string") && value.parse::<f64>().is_err() => {
            ": write the number alone, its unit is the end of the key's name"
        }
        _ => "",
    }
}

fn syntax_error(dir: &Path, error: config::ConfigError) -> ConfigError {
    match error {
        config::ConfigError::FileParse { uri, cause } => ConfigError::Syntax {
            file: uri.map_or(dir.to_owned(), |uri| file_in(dir, &uri)).display().to_string(),
            cause: cause.to_string().trim_end().to_owned(),
        },
        other => ConfigError::Syntax { file: dir.display().to_string(), cause: other.to_string() },
    }
}

/// The `config` crate names files relative to where the process happens to stand: here they are named as they were given.
fn file_in(dir: &Path, origin: &str) -> PathBuf {
    dir.join(Path::new(origin).file_name().unwrap_or_default())
}

/// Tables carry no origin of their own: any of their values' will do.
fn origin_within(node: &Value) -> Option<&str> {
    match &node.kind {
        ValueKind::Table(table) => table.values().find_map(|child| child.origin().or_else(|| origin_within(child))),
        _ => None,
    }
}

/// The environment variable of a key.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

fn joined(base: &str, key: &str) -> String {
    let key = key.trim_end_matches('.');
    match (base, key) {
        ("", key) => key.to_owned(),
        (base, "") => base.to_owned(),
        (base, key) => format!("{base}.{key}"),
    }
}

/// The candidate with the smallest edit distance, where it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let (distance, best) = candidates.iter().map(|name| (edit_distance(word, name), *name)).min()?;
    (distance <= word.len().max(best.len()) / 3 + 1).then_some(best)
}

/// Levenshtein's distance, row by row.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn make_paths_absolute(config: &mut Config, dir: &Path) {
    for source in config.source.values_mut() {
        if let Some(path) = source.schema_file_mut() {
            *path = dir.join(&path);
        }
        if let Source::Poll(poll) = source {
            for endpoint in poll.endpoint.values_mut() {
                let files = [&mut endpoint.password_file, &mut endpoint.token_file, &mut endpoint.ca_file];
                files.into_iter().flatten().for_each(|path| *path = dir.join(&path));
            }
        }
    }
    let tls = [&mut config.kafka.tls, &mut config.rabbitmq.tls, &mut config.pulsar.tls, &mut config.registry.tls];
    let tls_files = tls.into_iter().flat_map(|tls| [&mut tls.ca_file, &mut tls.certificate_file, &mut tls.key_file]);
    let others = [
        &mut config.kafka.sasl.password_file,
        &mut config.rabbitmq.password_file,
        &mut config.pulsar.auth.token_file,
        &mut config.pulsar.auth.credentials_file,
        &mut config.registry.password_file,
        &mut config.contract.file,
        &mut config.http.token_file,
    ];
    for path in tls_files.chain(others).flatten() {
        *path = dir.join(&path);
    }
}

/// Goes by `kind` first: it says which keys there are.
fn source_of(value: Value) -> Result<Source, config::ConfigError> {
    let mut table = value.into_table()?;
    let kind = table.remove("kind").ok_or_else(|| config::ConfigError::NotFound("kind".to_owned()))?;
    match kind.into_string()?.as_str() {
        "kafka" => Value::new(None, ValueKind::Table(table)).try_deserialize().map(Source::Kafka),
        "rabbitmq" => Value::new(None, ValueKind::Table(table)).try_deserialize().map(Source::Rabbitmq),
        "poll" => Value::new(None, ValueKind::Table(table)).try_deserialize().map(Source::Poll),
        other => {
            let expected = "expected one of `kafka`, `rabbitmq`, `poll`";
            let message = config::ConfigError::Message(format!("unknown variant `{other}`, {expected}"));
            Err(config::ConfigError::At { error: Box::new(message), origin: None, key: Some("kind".to_owned()) })
        }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        source_of(Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
