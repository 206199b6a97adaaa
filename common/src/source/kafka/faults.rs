//! librdkafka's errors, as errors of a source.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::super::SourceError;
use crate::record::{Offset, SourcePartition};

/// What librdkafka calls a truncation (`rd_kafka_err2str`, and the reason it gives with an offset reset). The code is
/// hidden behind `_AUTO_OFFSET_RESET`, so the words are all there is.
const TRUNCATION: &str = "truncation";

/// What a bridge needs.
const RIGHTS: &str = "grant Read and Describe on topic and group";

/// An error outside of any one partition. `what` says what was being done.
pub(super) fn of_client(what: &str, topic: &str, error: &KafkaError) -> SourceError {
    let reason = error.to_string();
    match error {
        KafkaError::MessageConsumptionFatal(_) => SourceError::Fatal { what: what.into(), reason },
        KafkaError::ClientConfig(_, _, key, _) => SourceError::Setting { key: key.clone(), reason },
        KafkaError::ClientCreation(_) => SourceError::Setting { key: "kafka".into(), reason },
        _ => of_code(what, topic, error.rdkafka_error_code(), reason),
    }
}

/// An error by librdkafka's code for it.
pub(super) fn of_code(what: &str, topic: &str, code: Option<RDKafkaErrorCode>, reason: String) -> SourceError {
    use RDKafkaErrorCode as Code;
    match code {
        Some(Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition | Code::InvalidTopic) => {
            SourceError::UnknownTopic { topic: topic.into(), reason }
        }
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication,
        ) => SourceError::Denied { what: what.into(), reason, advice: RIGHTS },
        Some(Code::Fatal | Code::FencedInstanceId) => SourceError::Fatal { what: what.into(), reason },
        _ => SourceError::Unavailable { what: what.into(), reason },
    }
}

/// An error that came through a partition's queue. `position` is where its reader stands.
pub(super) fn of_partition(
    partition: &SourcePartition,
    position: Offset,
    code: RDKafkaErrorCode,
    reason: String,
) -> SourceError {
    let partition = partition.clone();
    match code {
        RDKafkaErrorCode::AutoOffsetReset if reason.contains(TRUNCATION) => {
            SourceError::Truncated { partition, position, reason }
        }
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
            SourceError::OutOfRange { partition, position, reason }
        }
        code => of_code(&format!("reading {partition}"), &partition.topic, Some(code), reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rights_are_named_in_kafkas_words() {
        let code = RDKafkaErrorCode::GroupAuthorizationFailed;
        let denied = of_code("joining the group", "t", Some(code), "refused".to_owned()).to_string();
        let advice = "grant Read and Describe on topic and group, or correct the credentials";
        assert_eq!(denied, format!("joining the group: not allowed (refused): {advice}"));
    }
}
