//! What a dead letter does not hold whole, fetched again from the source of truth.

use std::time::Duration;

use bridge_common::config::{Config, KafkaSource, Source};
use bridge_common::source::kafka::{Kept, Look};

use super::letter::Letter;

/// How long Kafka may take for one record.
const PATIENCE: Duration = Duration::from_secs(15);

/// The whole record of a dead letter.
///
/// # Errors
/// When it is not there any more, or is another record.
pub(super) async fn fetch(config: &Config, letter: &Letter) -> Result<Kept, String> {
    let position = letter.position();
    let Some(kafka) = kafka_source(config, &letter.source.topic) else {
        return Err(format!(
            "{position} is not whole ({} omitted), and its source cannot be read again: of a queue the whole message went to \
             its dead-letter exchange",
            letter.omitted.join(", ")
        ));
    };
    let look = Look::new(config, kafka);
    let (partition, offset) = (letter.source.partition, letter.offset);
    let asked = tokio::task::spawn_blocking(move || look?.record(partition, offset, PATIENCE)).await;
    let found = asked.map_err(|error| format!("{position}: the question broke off: {error}"))??;
    let Some(kept) = found else {
        return Err(format!("{position} is not whole, and Kafka has it no more: its retention has passed it"));
    };
    if !is_the_same(letter, &kept) {
        return Err(format!("{position} is not whole, and Kafka has another record there: the topic was recreated"));
    }
    Ok(kept)
}

fn kafka_source<'c>(config: &'c Config, topic: &str) -> Option<&'c KafkaSource> {
    config.source.values().find_map(|source| match source {
        Source::Kafka(kafka) if kafka.topic == topic => Some(kafka),
        _ => None,
    })
}

/// By what its dead letter says of it.
fn is_the_same(letter: &Letter, kept: &Kept) -> bool {
    let size_bytes = kept.value.as_ref().map_or(0, Vec::len) as u64;
    size_bytes == letter.size_bytes && kept.timestamp_ms == letter.timestamp_ms
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;

    #[test]
    fn another_record_in_its_place_is_not_taken_for_it() {
        let letter = letter(3, 41);
        let kept = |bytes: usize, timestamp_ms| Kept {
            timestamp_ms,
            key: None,
            value: Some(vec![0; bytes]),
            headers: Vec::new(),
        };
        assert!(is_the_same(&letter, &kept(12, letter.timestamp_ms)));
        assert!(!is_the_same(&letter, &kept(13, letter.timestamp_ms)));
        assert!(!is_the_same(&letter, &kept(12, Some(1))));
    }
}
