//! What makes a record the same as another: its idempotency key, and the digest of its body. Both travel with the message
//! as properties, so that whoever opens the partition next finds them in the target.

use std::borrow::Cow;

use crate::digest::{self, sha256};
use crate::recall;
use crate::record::Record;
use crate::translate::JsonPath;

/// The property with the idempotency key. An on-wire format.
pub const IDEMPOTENCY_KEY: &str = "bridge.idempotency-key";
/// The property with the SHA-256 of the source's bytes, 64 hexadecimal digits. An on-wire format.
pub const SHA256: &str = "bridge.sha256";

/// Longer keys travel as their digest: properties are not made for them.
const KEY_BYTES_MAX: usize = 512;

/// Where the idempotency key of a record is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IdentityBy {
    /// In this header; what AMQP calls `message_id` is the header `amqp.message-id`.
    Header(String),
    /// In this field of the JSON body.
    Json(JsonPath),
}

impl IdentityBy {
    /// From the configuration: `message-id`, `header:<name>`, `json:<path>`, or a path alone.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let path = |path: &str| JsonPath::parse(path).map(Self::Json).map_err(|error| error.to_string());
        match text.split_once(':') {
            _ if text == "message-id" => Ok(Self::message_id()),
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            Some(("json", field)) => path(field),
            None => path(text),
            Some(_) => Err(format!("\"{text}\": write message-id, header:<name> or json:<path>")),
        }
    }

    /// AMQP's own.
    pub(crate) fn message_id() -> Self {
        Self::Header("amqp.message-id".to_owned())
    }

    /// The key of a record; `None` where it has none.
    pub(crate) fn key<'r>(&self, record: &Record<'r>) -> Option<Cow<'r, str>> {
        let found = match self {
            Self::Header(name) => {
                let header = record.headers.iter().find(|header| header.name == name)?;
                // Bytes that are no text must not fall together.
                header.value.map(|value| match std::str::from_utf8(value) {
                    Ok(text) => Cow::Borrowed(text),
                    Err(_) => Cow::Owned(format!("sha256:{}", digest::hex(&sha256(value)))),
                })
            }
            Self::Json(path) => record.value.and_then(|body| path.find(body)),
        }?;
        Some(match found.len() {
            0 => return None,
            1..=KEY_BYTES_MAX => found,
            _ => Cow::Owned(format!("sha256:{}", digest::hex(&sha256(found.as_bytes())))),
        })
    }
}

/// What identifies one record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity<'r> {
    /// Its idempotency key, where it has one.
    pub(crate) key: Option<Cow<'r, str>>,
    /// The digest of its body, in hexadecimal digits as it travels.
    pub(crate) sha256: Option<String>,
    /// What deliveries are recognised by: key and digest.
    pub(crate) hash: u128,
}

impl<'r> Identity<'r> {
    /// Of a record, by its key and, where `digested`, its body too.
    pub(crate) fn of(record: &Record<'r>, by: Option<&IdentityBy>, digested: bool) -> Self {
        let key = by.and_then(|by| by.key(record));
        let digest = digested.then(|| sha256(record.value.unwrap_or_default()));
        let hash = recall::hash(key.as_deref().unwrap_or_default().as_bytes(), digest.as_ref().unwrap_or(&[0; 32]));
        Self { key, sha256: digest.as_ref().map(digest::hex), hash }
    }

    /// The properties that travel with the message.
    pub(crate) fn properties(&self, put: &mut dyn FnMut(&str, &str)) {
        if let Some(key) = &self.key {
            put(IDEMPOTENCY_KEY, key);
        }
        if let Some(sha256) = &self.sha256 {
            put(SHA256, sha256);
        }
    }

    /// What the key alone is recognised by, over all sources.
    pub(crate) fn key_hash(&self) -> Option<u128> {
        self.key.as_deref().map(|key| recall::hash_key(key.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Header;

    fn key(value: &[u8]) -> Option<String> {
        let headers = [Header { name: "id", value: Some(value) }];
        let record = Record { offset: 1, timestamp_ms: None, key: None, value: None, headers: &headers };
        IdentityBy::parse("header:id").unwrap().key(&record).map(Cow::into_owned)
    }

    #[test]
    fn keys_that_are_no_text_do_not_fall_together() {
        assert_eq!(key(b"abc").as_deref(), Some("abc"));
        assert_eq!(key(b""), None);
        assert_ne!(key(&[0, 0x80]), key(&[0, 0x81]));
    }
}
