//! Doors for the fuzz tests (`tests/tests/fuzz`) to decoders that nobody else calls from outside. Only with the feature of
//! this name, which no release has.

/// Frames from a broker: the type of each command and the size of what follows it; and why it ended, if not at the end.
pub fn pulsar_frames(bytes: &[u8], limit: usize) -> (Vec<(i32, usize)>, Option<String>) {
    crate::pulsar::frames_in(bytes, limit)
}

/// An entry of the checkpoint topic.
///
/// # Errors
/// It is none.
pub fn checkpoint(value: &[u8]) -> Result<crate::checkpoint::Stored, String> {
    crate::checkpoint::decode(value).map_err(|error| error.to_string())
}

/// A schema registry's answer: the schema's text and how many others it refers to.
///
/// # Errors
/// The words of the refusal.
pub fn registry_answer(status: u16, body: &[u8]) -> Result<(String, usize), String> {
    crate::registry::answer(status, body)
}

/// RabbitMQ's first frame: the cluster's name and the version.
#[cfg(feature = "rabbitmq")]
pub fn rabbit_hello(bytes: &[u8]) -> Option<(String, String)> {
    crate::source::rabbitmq::hello_in(bytes)
}

/// A message's headers as AMQP has them: names, and the sizes of the values.
#[cfg(feature = "rabbitmq")]
pub fn rabbit_headers(table: &[u8]) -> Option<Vec<(String, Option<usize>)>> {
    crate::source::rabbitmq::headers_in(table)
}

/// Two answers of a polled endpoint (Pulsar's, or RabbitMQ's), as the record that they make.
///
/// # Errors
/// The second is not what such an endpoint gives.
#[cfg(feature = "poll")]
pub fn poll_record(of_pulsar: bool, before: &str, now: &str) -> Result<String, String> {
    crate::source::poll::record_of(of_pulsar, before, now)
}
