//! What `check` found at one place.

use std::fmt;

use serde_json::{Value, json};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, and somebody should know or decide; or it cannot be told.
    Warning,
    /// A bridge does not run, or records are lost, doubled or stopped.
    Error,
}

impl Severity {
    /// The word for it, in the table and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of check it was: a name that stays (`pulsar.retention`), for programs.
    pub check: &'static str,
    /// What was looked at: a server, topic or queue.
    pub subject: String,
    /// What is there.
    pub found: String,
    /// What to do about it; empty where nothing is to be done.
    pub advice: String,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, subject: impl fmt::Display, found: impl Into<String>) -> Self {
        Self::new(Severity::Ok, check, subject, found, "")
    }

    /// Somebody should know.
    pub fn warning(
        check: &'static str,
        subject: impl fmt::Display,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, check, subject, found, advice)
    }

    /// Somebody must act.
    pub fn error(
        check: &'static str,
        subject: impl fmt::Display,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, check, subject, found, advice)
    }

    /// It cannot be told, and why.
    pub fn untold(check: &'static str, subject: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::warning(check, subject, format!("cannot be told: {why}"), "")
    }

    fn new(
        severity: Severity,
        check: &'static str,
        subject: impl fmt::Display,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { severity, check, subject: subject.to_string(), found: found.into(), advice: advice.into() }
    }

    pub(super) fn to_json(&self) -> Value {
        let Self { severity, check, subject, found, advice } = self;
        json!({ "severity": severity.name(), "check": check, "subject": subject, "found": found, "advice": advice })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.subject, self.found)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, ". {}", self.advice) }
    }
}
