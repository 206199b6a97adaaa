//! One line of the log: what an event of `tracing` becomes, and how it is written. Pure.

use std::fmt::{self, Write};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::events;
use crate::config::{self, rfc3339};

/// What one text of a line has at most: what servers say is of any length.
const TEXT_CHARS_MAX: usize = 2_000;
/// Characters of it that are kept until secrets are hidden: cut before, one at the cut would not be known any more.
const KEPT_CHARS_MAX: usize = 4 * TEXT_CHARS_MAX;

/// How lines are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    /// For people.
    Text { colours: bool },
    /// One object a line.
    Json,
}

/// What is said.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) level: Level,
    /// One of [`events::ALL`].
    pub(super) event: &'static str,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// The line of an event. Of a dependency's only the words are taken: nobody knows what its fields hold.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut line = Self {
            level: *event.metadata().level(),
            event: events::DEPENDENCY,
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        if line.event == events::DEPENDENCY {
            line.fields = vec![("from", event.metadata().target().into())];
        }
        line
    }

    /// A line with nothing but words.
    pub(super) fn error(event: &'static str, message: &str) -> Self {
        Self { level: Level::ERROR, event, message: kept(message.to_owned()), fields: Vec::new() }
    }

    /// The same with one field more.
    pub(super) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.fields.push((name, value));
        self
    }

    /// The same with a count, where there is something to count.
    pub(super) fn with_count(self, name: &'static str, count: u64) -> Self {
        if count == 0 { self } else { self.with(name, count.into()) }
    }

    /// What tells it from other lines of the same event.
    pub(super) fn place(&self) -> String {
        let mut place = String::new();
        for (name, value) in &self.fields {
            if matches!(*name, "source" | "topic" | "partition" | "cause" | "field" | "from" | "broker") {
                // Writing to a string cannot fail.
                let _ = write!(place, "{name}={value} ");
            }
        }
        place
    }

    /// Hides what must not be seen, and cuts what is long.
    pub(super) fn redact(&mut self, secrets: &[String]) {
        let texts = self.fields.iter_mut().filter_map(|(_, value)| match value {
            Value::String(text) => Some(text),
            _ => None,
        });
        for text in texts.chain([&mut self.message]) {
            config::hide(text, secrets);
            config::hide_read_secrets(text);
            cut(text, TEXT_CHARS_MAX);
        }
    }

    /// The whole line, with its end.
    pub(super) fn render(&self, style: Style, stream: &str, unix_ms: u64) -> String {
        let mut text = match style {
            Style::Json => self.json(stream, unix_ms),
            Style::Text { colours } => self.text(stream, unix_ms, colours),
        };
        text.push('\n');
        text
    }

    fn json(&self, stream: &str, unix_ms: u64) -> String {
        let mut text = String::with_capacity(256);
        let head = [
            ("timestamp", rfc3339(unix_ms)),
            ("level", self.level.to_string()),
            ("stream", stream.to_owned()),
            ("event", self.event.to_owned()),
            ("message", self.message.clone()),
        ];
        let head = head.into_iter().map(|(name, value)| (name, Value::String(value)));
        for (name, value) in head.chain(self.fields.iter().cloned()) {
            let separator = if text.is_empty() { '{' } else { ',' };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}\"{name}\":{value}");
        }
        text.push('}');
        text
    }

    fn text(&self, stream: &str, unix_ms: u64, colours: bool) -> String {
        let (on, off) = if colours { (colour(self.level), "\u{1b}[0m") } else { ("", "") };
        let mut text =
            format!("{} {on}{:>5}{off} {} {}", rfc3339(unix_ms), self.level, self.event, on_one_line(&self.message));
        // Writing to a string cannot fail.
        let _ = write!(text, " stream={stream}");
        for (name, value) in &self.fields {
            let _ = match value {
                Value::String(plain) if is_plain(plain) => write!(text, " {name}={plain}"),
                other => write!(text, " {name}={other}"),
            };
        }
        text
    }

    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("event", Value::String(name)) => self.event = events::known(&name),
            ("message", Value::String(text)) => self.message = kept(text),
            (name, Value::String(text)) => self.fields.push((name, kept(text).into())),
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}

fn kept(mut text: String) -> String {
    cut(&mut text, KEPT_CHARS_MAX);
    text
}

fn cut(text: &mut String, chars_max: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
        text.push('…');
    }
}

/// Whether a value needs no quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '=')
}

/// Servers answer in several lines, and terminals obey what they are sent.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        _ => "\u{1b}[34m",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a server says, a line stays one line, of a bounded size, and JSON stays JSON.
        #[test]
        fn a_line_is_a_line(message in "\\PC{0,40}[\\x00-\\x1f]{0,3}\\PC{0,40}", value in "[\\x00-\\x7f]{0,60}", times in 1_usize..80) {
            let mut line = Line::error(events::SOURCE_TROUBLE, &message.repeat(times)).with("cause", value.clone().into());
            line.redact(&[]);
            let json = line.render(Style::Json, "s", 0);
            let read: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read["cause"].as_str(), Some(value.as_str()));
            let text = line.render(Style::Text { colours: false }, "s", 0);
            for text in [json, text] {
                prop_assert_eq!(text.matches('\n').count(), 1);
                prop_assert!(text.len() < 7 * (TEXT_CHARS_MAX + 500));
            }
        }
    }

    #[test]
    fn a_secret_at_the_cut_is_hidden_as_a_whole() {
        let message = format!("{}hunter2-hunter2", "x".repeat(TEXT_CHARS_MAX - 7));
        let mut line = Line::error(events::SOURCE_TROUBLE, &message);
        line.redact(&["hunter2-hunter2".to_owned()]);
        assert!(line.message.ends_with("x<redact…"), "{}", line.message);
    }

    #[test]
    fn both_styles_say_the_same() {
        let line = Line::error(events::PARTITION_STOPPED, "gone\nfor good").with("topic", "a b".into());
        let line = line.with("partition", 3.into());
        assert_eq!(
            line.render(Style::Text { colours: false }, "demo", 0),
            "1970-01-01T00:00:00.000Z ERROR partition_stopped gone for good stream=demo topic=\"a b\" partition=3\n"
        );
        assert_eq!(
            line.render(Style::Json, "demo", 0),
            "{\"timestamp\":\"1970-01-01T00:00:00.000Z\",\"level\":\"ERROR\",\"stream\":\"demo\",\
             \"event\":\"partition_stopped\",\"message\":\"gone\\nfor good\",\"topic\":\"a b\",\"partition\":3}\n"
        );
    }
}
