//! A relay before Pulsar that reads what passes: when a batch was sent, and when its receipt came back. So a receipt is timed
//! in the same way for every contender, whatever it tells of itself. What it costs (two more hops on this machine) is in
//! the figures of all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bridge_tests::Result;
use prost::Message as _;
use pulsar::proto::base_command::Type;
use pulsar::proto::{BaseCommand, CompressionType, MessageMetadata};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::events::{Mark, now_micros};

/// Before a command: the size of the frame, and that of the command.
const SIZES: usize = 8;
/// Between a SEND command and its metadata: magic number, checksum, size of the metadata.
const BEFORE_METADATA: usize = 2 + 4 + 4;

/// A batch that has its receipt.
#[derive(Debug)]
pub(crate) struct Passed {
    /// When the relay had read it, in microseconds since the epoch.
    pub(crate) sent_micros: u64,
    /// When the relay had handed its receipt on.
    pub(crate) receipt_micros: u64,
    frame: Vec<u8>,
}

/// By producer and sequence id, what was sent and when.
type Unconfirmed = Mutex<HashMap<(u64, u64), (u64, Vec<u8>)>>;
type Confirmed = Arc<Mutex<Vec<Passed>>>;

/// The relay; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    address: String,
    confirmed: Confirmed,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens before the broker at this `pulsar://host:port`.
    pub(crate) async fn before(url: &str) -> Result<Self> {
        let upstream = url.strip_prefix("pulsar://").ok_or("only pulsar:// can be relayed")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let confirmed = Confirmed::default();
        let task = tokio::spawn(accept(listener, upstream, format!("pulsar://{address}"), Arc::clone(&confirmed)));
        Ok(Self { address, confirmed, task })
    }

    /// What a contender is to connect to.
    pub(crate) fn url(&self) -> String {
        format!("pulsar://{}", self.address)
    }

    /// The batches that got their receipts since the last call.
    pub(crate) fn take(&self) -> Vec<Passed> {
        std::mem::take(&mut *locked(&self.confirmed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, upstream: String, url: String, confirmed: Confirmed) {
    // The connections end with the relay: the set aborts them when it is dropped.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&upstream).await else { continue };
        if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
            continue;
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (url, confirmed) = (url.clone(), Arc::clone(&confirmed));
        connections.spawn(async move {
            let unconfirmed = Unconfirmed::default();
            // Either direction's end ends both.
            tokio::select! {
                _ = send_up(from_client, to_server, &unconfirmed) => {}
                _ = send_down(from_server, to_client, &url, &unconfirmed, &confirmed) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn send_up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, unconfirmed: &Unconfirmed) -> Result<()> {
    let mut held = Held::default();
    loop {
        if !held.read(&mut from).await? {
            return Ok(());
        }
        let mut passed = Vec::new();
        while let Some(frame) = held.next() {
            let command = command(&frame)?;
            passed.extend_from_slice(&frame);
            if let Some(send) = command.send {
                // Before it goes on: its receipt must not be faster than this note.
                locked(unconfirmed).insert((send.producer_id, send.sequence_id), (now_micros(), frame));
            }
        }
        to.write_all(&passed).await?;
    }
}

async fn send_down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    url: &str,
    unconfirmed: &Unconfirmed,
    confirmed: &Confirmed,
) -> Result<()> {
    let mut held = Held::default();
    loop {
        if !held.read(&mut from).await? {
            return Ok(());
        }
        let (mut passed, mut receipts) = (Vec::new(), Vec::new());
        while let Some(frame) = held.next() {
            let mut command = command(&frame)?;
            if let Some(answer) = &mut command.lookup_topic_response {
                // The broker names itself, and the contender would go past us.
                answer.broker_service_url = answer.broker_service_url.as_ref().map(|_| url.to_owned());
                let bytes = command.encode_to_vec();
                passed.extend_from_slice(&(bytes.len() as u32 + 4).to_be_bytes());
                passed.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                passed.extend_from_slice(&bytes);
                continue;
            }
            passed.extend_from_slice(&frame);
            // What was dropped as a duplicate has none of its own.
            if let Some(receipt) = command
                .send_receipt
                .filter(|receipt| receipt.message_id.as_ref().is_some_and(|id| id.ledger_id != u64::MAX))
            {
                receipts.push((receipt.producer_id, receipt.sequence_id));
            }
        }
        to.write_all(&passed).await?;
        let receipt_micros = now_micros();
        for receipt in receipts {
            if let Some((sent_micros, frame)) = locked(unconfirmed).remove(&receipt) {
                locked(confirmed).push(Passed { sent_micros, receipt_micros, frame });
            }
        }
    }
}

/// Bytes of which whole frames are taken.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    /// What was taken already.
    taken: usize,
}

impl Held {
    /// Reads more; false at the end.
    async fn read(&mut self, from: &mut OwnedReadHalf) -> Result<bool> {
        self.bytes.drain(..std::mem::take(&mut self.taken));
        self.bytes.reserve(64 << 10);
        Ok(from.read_buf(&mut self.bytes).await? > 0)
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = &self.bytes[self.taken..];
        let size = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize + 4;
        let frame = rest.get(..size)?.to_vec();
        self.taken += size;
        Some(frame)
    }
}

fn command_end(frame: &[u8]) -> Option<usize> {
    let size = u32::from_be_bytes(frame.get(4..SIZES)?.try_into().ok()?) as usize;
    Some(SIZES + size)
}

/// Decodes the commands that are looked at; others are told by their type alone.
fn command(frame: &[u8]) -> Result<BaseCommand> {
    let bytes = command_end(frame).and_then(|end| frame.get(SIZES..end)).ok_or("a frame without a command")?;
    let looked_at = [Type::Send, Type::SendReceipt, Type::LookupResponse];
    // The type is the first field of every command.
    if !looked_at.iter().any(|kind| bytes.starts_with(&[0x08, *kind as u8])) {
        return Ok(BaseCommand::default());
    }
    Ok(BaseCommand::decode(bytes)?)
}

impl Passed {
    /// The marks of the records in it: none where it carries something else, a checkpoint perhaps.
    pub(crate) fn marks(&self) -> Result<Vec<Mark>> {
        let short = "a SEND frame ends too early";
        let at = command_end(&self.frame).ok_or(short)? + BEFORE_METADATA;
        let size = self.frame.get(at - 4..at).ok_or(short)?;
        let end = at + u32::from_be_bytes(size.try_into()?) as usize;
        let metadata = MessageMetadata::decode(self.frame.get(at..end).ok_or(short)?)?;
        let payload = &self.frame[end..];
        let marks = match metadata.compression() {
            CompressionType::None => Mark::all(payload),
            CompressionType::Lz4 => {
                let size = metadata.uncompressed_size() as usize;
                Mark::all(&lz4_flex::block::decompress(payload, size)?)
            }
            other => return Err(format!("a batch is compressed by {other:?}, which is not read here").into()),
        };
        let messages = metadata.num_messages_in_batch.unwrap_or(1).max(1) as usize;
        if marks.is_empty() || marks.len() == messages {
            Ok(marks)
        } else {
            Err(format!("{} marks in a batch of {messages} messages", marks.len()).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole_even_when_they_come_in_pieces() {
        let mut held = Held::default();
        let frame = [0, 0, 0, 6, 0, 0, 0, 2, 0x08, 18];
        held.bytes.extend_from_slice(&frame[..7]);
        assert_eq!(held.next(), None);
        held.bytes.extend_from_slice(&frame[7..]);
        held.bytes.extend_from_slice(&frame[..5]);
        assert_eq!(held.next().as_deref(), Some(frame.as_slice()));
        assert_eq!(held.next(), None);
        assert!(command(&frame).unwrap().send.is_none());
    }
}
