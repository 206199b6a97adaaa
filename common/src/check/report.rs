//! What `check` says in the end: a table for people, one document for programs, and an exit code.

use std::fmt::Write;

use serde_json::{Value, json};

use super::finding::{Finding, Severity};
use crate::cli::out;
use crate::shutdown::Exit;

/// The version of the JSON document. Members may be added under the same one.
const VERSION: u32 = 1;
/// The widest column of subjects; what is longer pushes its own line only.
const SUBJECT_CHARS: usize = 64;

/// What was found about all streams that were looked at.
#[derive(Debug, Default)]
pub struct Report {
    streams: Vec<(String, Vec<Finding>)>,
}

impl Report {
    /// Adds what was found about one stream.
    pub fn add(&mut self, stream: &str, findings: Vec<Finding>) {
        self.streams.push((stream.to_owned(), findings));
    }

    /// All well, errors, or nothing worse than warnings.
    pub fn exit(&self) -> Exit {
        match self.all().map(|finding| finding.severity).max() {
            None | Some(Severity::Ok) => Exit::Clean,
            Some(Severity::Warning) => Exit::Warnings,
            Some(Severity::Error) => Exit::Fault,
        }
    }

    /// Writes it to standard output.
    pub fn print(&self, as_json: bool) {
        out(&if as_json { format!("{:#}\n", self.json()) } else { self.text() });
    }

    /// The document: `{version, errors, warnings, streams: [{stream, errors, warnings, findings: [{severity, check, subject,
    /// found, advice}]}]}`.
    pub fn json(&self) -> Value {
        let streams = self.streams.iter().map(|(stream, findings)| {
            json!({
                "stream": stream,
                "errors": count(findings.iter(), Severity::Error),
                "warnings": count(findings.iter(), Severity::Warning),
                "findings": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            })
        });
        json!({
            "version": VERSION,
            "errors": count(self.all(), Severity::Error),
            "warnings": count(self.all(), Severity::Warning),
            "streams": streams.collect::<Vec<_>>(),
        })
    }

    /// The table: a line for each error and warning, with what to do below it, and one for all that is well about a subject.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (stream, findings) in &self.streams {
            let _ = writeln!(text, "{stream}");
            let rows = rows(findings);
            let width = rows.iter().map(|row| row.1.chars().count()).max().unwrap_or(0).min(SUBJECT_CHARS);
            for (severity, subject, found, advice) in rows {
                let mark = if severity == Severity::Ok { "ok     ".to_owned() } else { severity.name().to_uppercase() };
                let _ = writeln!(text, "  {mark:<7}  {subject:<width$}  {found}");
                if !advice.is_empty() {
                    let _ = writeln!(text, "  {:<7}  {:<width$}  -> {advice}", "", "");
                }
            }
        }
        let of = |severity| count(self.all(), severity);
        let (errors, warnings, ok) = (of(Severity::Error), of(Severity::Warning), of(Severity::Ok));
        let _ = writeln!(text, "{errors} errors, {warnings} warnings, {ok} ok.");
        text
    }

    fn all(&self) -> impl Iterator<Item = &Finding> {
        self.streams.iter().flat_map(|(_, findings)| findings)
    }
}

fn count<'a>(findings: impl Iterator<Item = &'a Finding>, severity: Severity) -> usize {
    findings.filter(|finding| finding.severity == severity).count()
}

type Row<'a> = (Severity, &'a str, String, &'a str);

/// In the order of their subjects; what is well about one subject is one row, before its warnings and errors.
fn rows(findings: &[Finding]) -> Vec<Row<'_>> {
    let mut subjects: Vec<&str> = Vec::new();
    for finding in findings {
        if !subjects.contains(&finding.subject.as_str()) {
            subjects.push(&finding.subject);
        }
    }
    let mut rows = Vec::new();
    for subject in subjects {
        let of_it = || findings.iter().filter(|finding| finding.subject == subject);
        let well: Vec<_> = of_it().filter(|it| it.severity == Severity::Ok).map(|it| it.found.as_str()).collect();
        if !well.is_empty() {
            rows.push((Severity::Ok, subject, well.join("; "), ""));
        }
        let others = of_it().filter(|finding| finding.severity != Severity::Ok);
        rows.extend(others.map(|it| (it.severity, subject, it.found.clone(), it.advice.as_str())));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(worst: Severity) -> Report {
        let mut findings = vec![
            Finding::ok("pulsar.partitions", "topic a", "3 partitions"),
            Finding::ok("kafka.topic", "Kafka topic b", "10 partitions"),
            Finding::ok("pulsar.deduplication", "topic a", "deduplicates"),
        ];
        if worst >= Severity::Warning {
            findings.push(Finding::warning("pulsar.ttl", "topic a", "forgets", "Set none"));
        }
        if worst >= Severity::Error {
            findings.push(Finding::error("kafka.topic", "Kafka topic c", "does not exist", "Create it"));
        }
        let mut report = Report::default();
        report.add("demo", findings);
        report
    }

    #[test]
    fn errors_warnings_and_all_well_are_told_apart_by_the_exit_code() {
        let code = |worst| report(worst).exit().code();
        assert_eq!((code(Severity::Ok), code(Severity::Warning), code(Severity::Error)), (0, 3, 1));
        assert_eq!(Report::default().exit().code(), 0);
    }

    #[test]
    fn the_table_has_a_line_for_each_subject_and_each_problem() {
        assert_eq!(
            report(Severity::Error).text(),
            "demo\n\
             \x20 ok       topic a        3 partitions; deduplicates\n\
             \x20 WARNING  topic a        forgets\n\
             \x20                         -> Set none\n\
             \x20 ok       Kafka topic b  10 partitions\n\
             \x20 ERROR    Kafka topic c  does not exist\n\
             \x20                         -> Create it\n\
             1 errors, 1 warnings, 3 ok.\n"
        );
    }

    #[test]
    fn the_document_keeps_its_shape() {
        let mut report = Report::default();
        report.add("demo", vec![Finding::error("kafka.topic", "Kafka topic c", "does not exist", "Create it")]);
        let expected = r#"{"errors":1,"streams":[{"errors":1,"findings":[{"advice":"Create it","check":"kafka.topic","found":"does not exist","severity":"error","subject":"Kafka topic c"}],"stream":"demo","warnings":0}],"version":1,"warnings":0}"#;
        assert_eq!(report.json(), serde_json::from_str::<Value>(expected).unwrap());
    }
}
