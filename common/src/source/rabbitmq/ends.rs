//! Where a stream begins and ends. AMQP has no question for it (the message count of a stream is 0), so a consumer looks.

use std::time::Duration;

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};

use super::super::SourceError;
use super::link::{Link, within};
use super::session::{Next, Session};
use crate::record::Offset;

/// After this time without a record a stream counts as empty, which nothing is concluded from but that nothing is there
/// to be read now.
const PATIENCE: Duration = Duration::from_secs(2);

/// Enough for most chunks at once.
const PREFETCH: u16 = 1000;

/// The oldest offset and the one behind the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) first: Offset,
    pub(super) end: Offset,
}

/// `None`: the stream has shown no record.
///
/// # Errors
/// [`SourceError::Unavailable`], [`SourceError::Denied`].
pub(super) async fn ends(link: &Link, queue: &str) -> Result<Option<Ends>, SourceError> {
    let (first, end) = tokio::join!(first_from(link, queue, text("first")), end(link, queue));
    Ok(first?.zip(end?).map(|(first, end)| Ends { first: first.0, end }))
}

/// Offset and AMQP time stamp of the first record that a consumer gets which starts there.
///
/// # Errors
/// As [`ends`].
pub(super) async fn first_from(
    link: &Link,
    queue: &str,
    start: AMQPValue,
) -> Result<Option<(Offset, Option<u64>)>, SourceError> {
    let mut session = Session::open(link, queue, 1, false, starting(start)).await?;
    let found = match first(&mut session).await? {
        None => None,
        Some(delivery) => offset_of(&delivery).map(|offset| (offset, *delivery.properties.timestamp())),
    };
    session.close(link).await;
    Ok(found)
}

/// Reads the newest chunk to its end. The server sends what it has, as far as the prefetch allows, before it answers the
/// next question on the channel: so when an answer comes without a record before it, there is none.
///
/// # Errors
/// As [`ends`].
pub(super) async fn end(link: &Link, queue: &str) -> Result<Option<Offset>, SourceError> {
    let mut session = Session::open(link, queue, PREFETCH, false, starting(text("last"))).await?;
    let mut end = None;
    let mut newest = first(&mut session).await?;
    while let Some(delivery) = newest.take() {
        end = offset_of(&delivery).map(|offset| offset + 1).or(end);
        newest = match session.next() {
            Next::Delivery(next) => Some(next),
            Next::Over(error) => return Err(error),
            Next::Empty => {
                let patience = link.settings.request_timeout;
                let asked = session.acknowledge_and_wait(delivery.delivery_tag, PREFETCH);
                within(patience, &format!("reading the end of stream {queue}"), asked).await?;
                match session.next() {
                    Next::Delivery(next) => Some(next),
                    Next::Over(error) => return Err(error),
                    Next::Empty => None,
                }
            }
        };
    }
    session.close(link).await;
    Ok(end)
}

async fn first(session: &mut Session) -> Result<Option<Delivery>, SourceError> {
    if tokio::time::timeout(PATIENCE, session.ready()).await.is_err() {
        return Ok(None);
    }
    match session.next() {
        Next::Delivery(delivery) => Ok(Some(delivery)),
        Next::Over(error) => Err(error),
        Next::Empty => Ok(None),
    }
}

/// The argument of a consumer that starts there.
pub(super) fn starting(start: AMQPValue) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), start);
    arguments
}

/// A start that has a name.
fn text(name: &str) -> AMQPValue {
    AMQPValue::LongString(name.into())
}

/// The offset that the server writes into each record's headers.
pub(super) fn offset_of(delivery: &Delivery) -> Option<Offset> {
    match delivery.properties.headers().as_ref()?.inner().get("x-stream-offset")? {
        AMQPValue::LongLongInt(offset) => u64::try_from(*offset).ok(),
        _ => None,
    }
}
