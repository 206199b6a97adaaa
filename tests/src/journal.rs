//! What was published to RabbitMQ, kept in a file: a queue that was consumed cannot be read again. One line of JSON for
//! each message, with what the broker answered.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::Result;

/// What became of a message on its way into RabbitMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Confirmed: it must arrive.
    Confirmed,
    /// No answer, or a refusal: it may be in a queue or not.
    Unknown,
    /// Returned: no queue was bound to take it.
    Returned,
}

/// A message that was handed to RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Counts what its publisher sends, in that order.
    pub number: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// The headers that the bridge must make of its headers and properties: `amqp.message-id` and so on, as text.
    pub headers: Vec<(String, Option<String>)>,
    /// The timestamp property, in milliseconds.
    pub timestamp_ms: Option<u64>,
    /// The body.
    #[serde(with = "as_base64")]
    pub body: Vec<u8>,
}

impl Published {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).and_then(|(_, value)| value.as_deref())
    }
}

mod as_base64 {
    use super::{Deserialize, Engine, STANDARD};

    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: BufWriter<File>,
}

impl Journal {
    /// Adds to the file, which is made where it is not there.
    pub fn append(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|error| format!("journal {}: {error}", path.display()))?;
        Ok(Self { file: BufWriter::new(file) })
    }

    /// Notes one message.
    pub fn note(&mut self, published: &Published) -> Result<()> {
        serde_json::to_writer(&mut self.file, published)?;
        self.file.write_all(b"\n")?;
        Ok(())
    }

    /// Makes sure that all of it is in the file.
    pub fn close(mut self) -> Result<()> {
        Ok(self.file.flush()?)
    }
}

/// All that is in a journal.
pub fn read(path: &Path) -> Result<Vec<Published>> {
    let file = File::open(path).map_err(|error| format!("journal {}: {error}", path.display()))?;
    let mut all = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let published = serde_json::from_str(&line?);
        all.push(published.map_err(|error| format!("journal {}, line {}: {error}", path.display(), number + 1))?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_again() {
        let path = std::env::temp_dir().join(crate::stack::unique("journal"));
        let published = |number, outcome, body: &[u8]| Published {
            number,
            outcome,
            headers: vec![("a".to_owned(), None), ("amqp.message-id".to_owned(), Some("✓".to_owned()))],
            timestamp_ms: Some(17_000),
            body: body.to_vec(),
        };
        let noted = [published(1, Outcome::Confirmed, b"\xff{\n"), published(2, Outcome::Unknown, b"")];
        for one in &noted {
            // Each by a generator of its own: a journal is added to.
            let mut journal = Journal::append(&path).unwrap();
            journal.note(one).unwrap();
            journal.close().unwrap();
        }
        assert_eq!(read(&path).unwrap(), noted);
        assert_eq!(noted[0].header("amqp.message-id"), Some("✓"));
        std::fs::remove_file(&path).unwrap();
    }
}
