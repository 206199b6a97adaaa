//! Prometheus' text format, as far as somebody wants it. Pure.
//!
//! The `prometheus-parse` crate reads the lines. It was chosen over its alternatives since it takes what the real servers write:
//! `nom-openmetrics` refuses Pulsar's `, ` between labels and any time stamp (and prints to stderr), `openmetrics-parser` is LGPL. It has
//! weak spots, which are met here: it drops lines that it cannot read without a word, so every line handed to it must
//! come back as one sample; and it takes labels apart by commas, so the labels' text itself tells series apart.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_parse::{Scrape, Value};

/// How many samples of interest an answer may have.
const MOST_SAMPLES: usize = 100_000;
/// How long a line of interest may be.
const LONGEST_LINE: usize = 16 * 1024;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// The labels as they were written, braces included; empty where there are none.
    pub(super) labels: String,
    /// `quantile`, of a summary.
    pub(super) quantile: Option<f64>,
    /// `le`, of a histogram.
    pub(super) bound: Option<f64>,
    /// The value, which may be no number.
    pub(super) value: f64,
}

/// The samples of the metrics that are wanted, by name. A metric with any line that could not be read is left out: a
/// sum without it would be wrong.
#[derive(Debug, Default)]
pub(super) struct Samples(BTreeMap<String, Vec<Sample>>);

impl Samples {
    /// Reads an answer.
    ///
    /// # Errors
    /// Too many samples, or none of the wanted metrics at all: it is not the endpoint that it is taken for.
    pub(super) fn parse(text: &str, wanted: &BTreeSet<&str>) -> Result<Samples, String> {
        let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut count = 0;
        for line in text.lines().map(str::trim) {
            let end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
            let Some(name) = wanted.get(&line[..end]) else { continue };
            by_name.entry(name).or_default().push(line);
            count += 1;
            if count > MOST_SAMPLES {
                return Err(format!("more than {MOST_SAMPLES} samples of the metrics that are read here"));
            }
        }
        if by_name.is_empty() {
            return Err("the answer has none of the metrics that are read here: is it the right URL?".to_owned());
        }
        let read = by_name.into_iter().filter_map(|(name, lines)| Some((name.to_owned(), samples(name, &lines)?)));
        Ok(Samples(read.collect()))
    }

    /// The samples of a metric; `None` where there are none, or one could not be read.
    pub(super) fn of(&self, name: &str) -> Option<&[Sample]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// The sum over all sets of labels.
    pub(super) fn sum(&self, name: &str) -> Option<f64> {
        self.of(name).map(|samples| samples.iter().map(|sample| sample.value).sum())
    }

    /// The values by their labels; `None` also where two samples have the same.
    pub(super) fn series(&self, name: &str) -> Option<BTreeMap<String, f64>> {
        let samples = self.of(name)?;
        let series: BTreeMap<_, _> = samples.iter().map(|sample| (sample.labels.clone(), sample.value)).collect();
        (series.len() == samples.len()).then_some(series)
    }
}

/// Reads the lines of one metric; `None` unless every one is a sample.
///
/// They are given without their `# TYPE`, so that each gives one sample, in order, whatever it is a part of.
fn samples(name: &str, lines: &[&str]) -> Option<Vec<Sample>> {
    if lines.iter().any(|line| line.len() > LONGEST_LINE) {
        return None;
    }
    let parsed = Scrape::parse(lines.iter().map(|line| Ok((*line).to_owned()))).ok()?.samples;
    if parsed.len() != lines.len() {
        return None;
    }
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let of = |(sample, line): (prometheus_parse::Sample, &&str)| {
        let Value::Untyped(value) = sample.value else { return None };
        let labels = line.rfind('}').and_then(|end| line.get(name.len()..=end)).unwrap_or_default();
        Some(Sample {
            labels: labels.to_owned(),
            quantile: number(sample.labels.get("quantile")),
            bound: number(sample.labels.get("le")),
            value,
        })
    };
    parsed.into_iter().zip(lines).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Samples {
        Samples::parse(text, &BTreeSet::from(["a", "b"])).unwrap()
    }

    #[test]
    fn lines_of_interest_are_read_as_real_servers_write_them() {
        let samples = parse(
            "# TYPE a summary\na{x=\"1\", quantile=\"0.5\"} 3.5e-4\na{x=\"1\",quantile=\"0.95\"} NaN 1700000000000\nab 7\nb{le=\"+Inf\"} 9\n  b 1\n",
        );
        let a = samples.of("a").unwrap();
        assert_eq!((a[0].value, a[1].quantile, a[1].value.is_nan()), (3.5e-4, Some(0.95), true));
        assert_eq!(samples.of("b").unwrap()[0].bound, Some(f64::INFINITY));
        assert_eq!(samples.sum("b"), Some(10.0));
        assert!(samples.of("ab").is_none(), "nobody wanted it");
    }

    #[test]
    fn a_metric_with_a_line_that_cannot_be_read_is_left_out() {
        for line in ["b{x=\"}\"} 1", "b{x=\"1\"} one", "b", "b{}", "b{x=\"1\" 2"] {
            let samples = parse(&format!("a 1\nb 1\n{line}\n"));
            assert_eq!(samples.sum("b"), None, "{line}");
            assert_eq!(samples.sum("a"), Some(1.0), "{line}");
        }
    }

    #[test]
    fn series_are_told_apart_by_the_text_of_their_labels() {
        let samples = parse("a{t=\"x=1\"} 1\na{t=\"x=2\"} 2\nb{t=\"1\"} 1\nb{t=\"1\"} 2\n");
        assert_eq!(samples.series("a").unwrap().len(), 2);
        assert_eq!(samples.series("b"), None, "the same series twice");
    }

    #[test]
    fn what_is_no_metrics_endpoint_is_an_error() {
        for text in ["", "<html>404</html>", "other 1\n", "\u{fffd}\u{0}"] {
            assert!(Samples::parse(text, &BTreeSet::from(["a"])).is_err(), "{text:?}");
        }
        let many = "a 1\n".repeat(MOST_SAMPLES + 1);
        assert!(Samples::parse(&many, &BTreeSet::from(["a"])).is_err());
        assert_eq!(parse(&format!("a 1\nb{{x=\"{}\"}} 1\n", "y".repeat(LONGEST_LINE))).sum("b"), None);
    }
}
