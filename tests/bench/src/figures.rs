//! What is measured, and how it is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// Records per second.
    Rate,
    /// CPU seconds (user and system) of the worker per million records.
    CpuPerMillion,
    /// Peak resident memory of the worker.
    PeakRss,
    /// CPU seconds of all brokers per million records.
    BrokersCpuPerMillion,
    /// Source stamp to receipt, milliseconds.
    P50,
    /// The same.
    P99,
    /// The same.
    P999,
    /// Source stamp to a consumer of the target, milliseconds.
    ConsumerP50,
    /// The same.
    ConsumerP99,
    /// The same.
    ConsumerP999,
    /// From the source stamp to Kafka's acknowledgement to the producer, milliseconds.
    StoredP50,
    /// From the source stamp to the sending of the batch, milliseconds.
    SentP50,
    /// From the sending of a batch to its receipt, milliseconds.
    PublishP50,
    /// From the start of the process to its first message in the target.
    FirstRecord,
    /// From kill -9 and start anew to the first new message in the target.
    AfterKill,
    /// Records that did not arrive.
    Lost,
    /// Records that arrived more than once.
    Doubled,
    /// Records that arrived behind a later one of their partition.
    Reordered,
    /// From the start after a kill until the lag is what it was before.
    CaughtUp,
    /// The longest silence after a kill.
    Silent,
    /// CPU of all workers, in percent of one core.
    CpuOfCore,
    /// Size of the binary.
    BinarySize,
    /// Size of the image.
    ImageSize,
    /// How long the measured part took.
    Seconds,
}

impl Figure {
    /// All of them, in the order in which they are shown.
    pub(crate) const ALL: [Self; 24] = [
        Self::Rate,
        Self::CpuPerMillion,
        Self::PeakRss,
        Self::BrokersCpuPerMillion,
        Self::P50,
        Self::P99,
        Self::P999,
        Self::ConsumerP50,
        Self::ConsumerP99,
        Self::ConsumerP999,
        Self::StoredP50,
        Self::SentP50,
        Self::PublishP50,
        Self::FirstRecord,
        Self::AfterKill,
        Self::CaughtUp,
        Self::Lost,
        Self::Doubled,
        Self::Reordered,
        Self::Silent,
        Self::CpuOfCore,
        Self::BinarySize,
        Self::ImageSize,
        Self::Seconds,
    ];

    /// The head of its column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Rate => "msg/s",
            Self::CpuPerMillion => "CPU-s/M",
            Self::PeakRss => "peak RSS, MiB",
            Self::BrokersCpuPerMillion => "brokers' CPU-s/M",
            Self::P50 => "to receipt p50, ms",
            Self::P99 => "to receipt p99, ms",
            Self::P999 => "to receipt p99.9, ms",
            Self::ConsumerP50 => "to consumer p50, ms",
            Self::ConsumerP99 => "to consumer p99, ms",
            Self::ConsumerP999 => "to consumer p99.9, ms",
            Self::StoredP50 => "to Kafka's ack p50, ms",
            Self::SentP50 => "to sent p50, ms",
            Self::PublishP50 => "sent to receipt p50, ms",
            Self::FirstRecord => "start to first, s",
            Self::AfterKill => "kill to first new, s",
            Self::CaughtUp => "start to caught up, s",
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Reordered => "reordered",
            Self::Silent => "silent at most, s",
            Self::CpuOfCore => "CPU of a core, %",
            Self::BinarySize => "stripped, MB",
            Self::ImageSize => "image, MB",
            Self::Seconds => "took, s",
        }
    }

    /// The value as text.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Rate | Self::Lost | Self::Doubled | Self::Reordered => thousands(value),
            Self::PeakRss => format!("{value:.0}"),
            Self::CpuOfCore | Self::BinarySize | Self::ImageSize | Self::Seconds => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        }
    }
}

/// Whole, with commas.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The figures of one run, or of several.
pub(crate) type Row = BTreeMap<Figure, f64>;

/// The median of each figure over the rounds that have it; of what went wrong, the worst.
pub(crate) fn medians(rounds: &[Row]) -> Row {
    let mut medians = Row::new();
    for figure in Figure::ALL {
        let mut values: Vec<f64> = rounds.iter().filter_map(|row| row.get(&figure).copied()).collect();
        values.sort_by(f64::total_cmp);
        let Some(last) = values.len().checked_sub(1) else { continue };
        let value = match figure {
            Figure::Lost | Figure::Doubled | Figure::Reordered | Figure::Silent => values[last],
            _ => (values[last / 2] + values[values.len() / 2]) / 2.0,
        };
        medians.insert(figure, value);
    }
    medians
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_taken_figure_by_figure() {
        let row = |rate: f64| Row::from([(Figure::Rate, rate)]);
        assert_eq!(medians(&[row(3.0), row(1.0), row(2.0)])[&Figure::Rate], 2.0);
        assert_eq!(medians(&[row(1.0), row(2.0), Row::new()])[&Figure::Rate], 1.5);
        assert!(medians(&[Row::new()]).is_empty());
        let lost = |lost: f64| Row::from([(Figure::Lost, lost)]);
        assert_eq!(medians(&[lost(0.0), lost(5.0), lost(0.0)])[&Figure::Lost], 5.0, "what is lost once is lost");
    }

    #[test]
    fn large_numbers_are_readable() {
        assert_eq!(Figure::Rate.show(1_234_567.4), "1,234,567");
        assert_eq!(Figure::Lost.show(0.0), "0");
    }
}
