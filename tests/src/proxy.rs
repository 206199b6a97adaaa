//! A TCP proxy before Pulsar that cuts, stalls or damages what the bridge sends.
//!
//! A broker answers a lookup with its own address, and the client would leave the proxy. So the proxy writes its own
//! address over the broker's in whatever the broker says; it takes a port with as many digits, so that no length changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Result;

/// No fault is armed.
const NEVER: i64 = i64::MIN;

/// The proxy; it stops when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

/// What is to be done to bytes on their way to the broker, shared by all connections.
#[derive(Debug)]
struct Faults {
    /// Bytes still to pass before the connection that passes them is cut.
    cut_in: AtomicI64,
    /// Bytes still to pass before one bit is turned over.
    damage_in: AtomicI64,
    /// The next batch of at least so many bytes is to be damaged, and the broker's answers held back from then on.
    batch_to_damage: AtomicU64,
    stalled: watch::Sender<bool>,
    /// Nothing that the broker says goes through.
    is_broker_silent: watch::Sender<bool>,
    passed: AtomicU64,
    cuts: AtomicU64,
    refuses: AtomicBool,
}

impl Proxy {
    /// Listens before the broker at this `pulsar://host:port`.
    pub async fn before(url: &str) -> Result<Self> {
        let upstream = url.strip_prefix("pulsar://").ok_or("only pulsar:// can be proxied")?.to_owned();
        let (listener, address) = listen_like(&upstream).await?;
        let faults = Arc::new(Faults {
            cut_in: AtomicI64::new(NEVER),
            damage_in: AtomicI64::new(NEVER),
            batch_to_damage: AtomicU64::new(0),
            stalled: watch::Sender::new(false),
            is_broker_silent: watch::Sender::new(false),
            passed: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            refuses: AtomicBool::new(false),
        });
        let task = tokio::spawn(accept(listener, upstream, address.clone(), Arc::clone(&faults)));
        Ok(Self { address, faults, task })
    }

    /// What the bridge is to connect to.
    pub fn url(&self) -> String {
        format!("pulsar://{}", self.address)
    }

    /// Cuts the connection that passes the so-manieth byte from now on, right after that byte.
    pub fn cut_after(&self, bytes: u32) {
        self.faults.cut_in.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// Turns over one bit of the so-manieth byte from now on.
    pub fn damage_after(&self, bytes: u32) {
        self.faults.damage_in.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// Turns over one bit in the body of the next batch of at least so many bytes, and nothing else: the broker refuses this
    /// batch alone. From that moment on nothing that the broker says comes through, so that the bridge goes on sending
    /// and does not know.
    pub fn damage_batch_unnoticed(&self, at_least_bytes: u32) {
        self.faults.batch_to_damage.store(u64::from(at_least_bytes), Ordering::SeqCst);
    }

    /// Whether that has happened.
    pub fn is_batch_damaged(&self) -> bool {
        *self.faults.is_broker_silent.borrow()
    }

    /// Holds back everything in both directions, connections open, until told otherwise.
    pub fn stall(&self, stalled: bool) {
        self.faults.stalled.send_replace(stalled);
    }

    /// Closes every new connection at once, until told otherwise.
    pub fn refuse(&self, refuses: bool) {
        self.faults.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Bytes that went to the broker.
    pub fn passed(&self) -> u64 {
        self.faults.passed.load(Ordering::SeqCst)
    }

    /// Connections that were cut.
    pub fn cuts(&self) -> u64 {
        self.faults.cuts.load(Ordering::SeqCst)
    }

    /// Whether the damage that was asked for is still to come.
    pub fn is_damage_pending(&self) -> bool {
        self.faults.damage_in.load(Ordering::SeqCst) != NEVER
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens on a port that has as many digits as the other's.
async fn listen_like(upstream: &str) -> Result<(TcpListener, String)> {
    let (host, port) = upstream.rsplit_once(':').ok_or("an address without a port")?;
    let port: u16 = port.parse()?;
    let digits = port.to_string().len() as u32;
    let (first, last) = (10u32.pow(digits - 1).max(1025), (10u32.pow(digits) - 1).min(65_535));
    let start = first + std::process::id() % (last - first);
    for candidate in (start..=last).chain(first..start) {
        if candidate != u32::from(port)
            && let Ok(listener) = TcpListener::bind(("127.0.0.1", candidate as u16)).await
        {
            return Ok((listener, format!("{host}:{candidate}")));
        }
    }
    Err(format!("no free port between {first} and {last}").into())
}

async fn accept(listener: TcpListener, upstream: String, address: String, faults: Arc<Faults>) {
    // The connections end with the proxy: the set aborts them when it is dropped.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if faults.refuses.load(Ordering::SeqCst) {
            continue;
        }
        // The broker is down: the client sees its connection close.
        let Ok(server) = TcpStream::connect(&upstream).await else { continue };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (up, down) = (Arc::clone(&faults), Arc::clone(&faults));
        let (theirs, ours) = (upstream.clone().into_bytes(), address.clone().into_bytes());
        connections.spawn(async move {
            // Either direction's end ends both, as a cut does.
            tokio::select! {
                _ = send_up(from_client, to_server, &up) => {}
                _ = send_down(from_server, to_client, &down, &theirs, &ours) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn flowing(faults: &Faults) {
    // The sender lives as long as we do.
    let _ = faults.stalled.subscribe().wait_for(|stalled| !stalled).await;
}

async fn send_up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut frames = Frames::default();
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        flowing(faults).await;
        frames.pass(&mut buffer[..count], faults);
        if let Some(at) = due(&faults.damage_in, count) {
            buffer[at] ^= 1;
        }
        if let Some(at) = due(&faults.cut_in, count) {
            to.write_all(&buffer[..at]).await?;
            faults.cuts.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
        faults.passed.fetch_add(count as u64, Ordering::SeqCst);
    }
}

/// Where the client's bytes stand in its frames: `[total: 4 bytes][command size: 4 bytes][command][...]`, and a command begins
/// with its type.
#[derive(Debug, Default)]
struct Frames {
    /// The first bytes of the frame that is passing.
    head: Vec<u8>,
    /// The bytes of it that are still to come, once its size is known.
    left: usize,
    is_to_be_damaged: bool,
}

/// What is looked at of a frame: the sizes, and the command's type, which is its first field.
const HEAD_BYTES: usize = 10;
/// `BaseCommand.type` SEND.
const SEND: [u8; 2] = [0x08, 6];

impl Frames {
    /// Looks at what passes, and turns over a bit in the last byte of a batch that is to be damaged.
    fn pass(&mut self, bytes: &mut [u8], faults: &Faults) {
        let mut at = 0;
        while at < bytes.len() {
            if self.head.len() < HEAD_BYTES {
                self.head.push(bytes[at]);
                at += 1;
                if self.head.len() == HEAD_BYTES {
                    self.begin(faults);
                }
            } else {
                let taken = self.left.min(bytes.len() - at);
                at += taken;
                self.left -= taken;
                if self.left == 0 && self.is_to_be_damaged {
                    bytes[at - 1] ^= 1;
                    self.is_to_be_damaged = false;
                }
            }
            if self.head.len() == HEAD_BYTES && self.left == 0 {
                self.head.clear();
            }
        }
    }

    fn begin(&mut self, faults: &Faults) {
        let total = u32::from_be_bytes([self.head[0], self.head[1], self.head[2], self.head[3]]) as usize;
        self.left = (4 + total).saturating_sub(HEAD_BYTES);
        let wanted = faults.batch_to_damage.load(Ordering::SeqCst);
        if wanted > 0 && total as u64 >= wanted && self.head[8..] == SEND {
            faults.batch_to_damage.store(0, Ordering::SeqCst);
            self.is_to_be_damaged = true;
            faults.is_broker_silent.send_replace(true);
        }
    }
}

/// Counts down by what passes; the place in the buffer where the countdown ends, once.
fn due(countdown: &AtomicI64, count: usize) -> Option<usize> {
    let before = countdown
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            (left != NEVER).then(|| if left < count as i64 { NEVER } else { left - count as i64 })
        })
        .ok()?;
    (before < count as i64).then_some(before as usize)
}

async fn send_down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    faults: &Faults,
    theirs: &[u8],
    ours: &[u8],
) -> std::io::Result<()> {
    let mut held = Vec::with_capacity(128 << 10);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.write_all(&held).await;
        }
        flowing(faults).await;
        // The sender lives as long as we do.
        let _ = faults.is_broker_silent.subscribe().wait_for(|silent| !silent).await;
        held.extend_from_slice(&buffer[..count]);
        let ready = replace(&mut held, theirs, ours);
        to.write_all(&held[..ready]).await?;
        held.drain(..ready);
    }
}

/// Writes one text over another of the same length; how many bytes can go: all but a beginning of the text at the end.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    let mut at = 0;
    while at + from.len() <= bytes.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            at += from.len();
        } else {
            at += 1;
        }
    }
    (at..bytes.len()).find(|start| from.starts_with(&bytes[*start..])).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("pulsar://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        url
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.url().strip_prefix("pulsar://").unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn the_broker_s_address_becomes_the_proxy_s_even_in_two_pieces() {
        let url = echo().await;
        let proxy = Proxy::before(&url).await.unwrap();
        let mut stream = connect(&proxy).await;
        let said = format!("a {url} b {url} c");
        let (one, two) = said.split_at(30);
        stream.write_all(one.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(two.as_bytes()).await.unwrap();
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(String::from_utf8(heard).unwrap(), said.replace(&url, &proxy.url()));
    }

    #[tokio::test]
    async fn a_cut_comes_after_exactly_the_bytes_that_were_asked_for() {
        let proxy = Proxy::before(&echo().await).await.unwrap();
        let mut stream = connect(&proxy).await;
        proxy.cut_after(5);
        stream.write_all(b"0123456789").await.unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        assert!(b"01234".starts_with(&heard), "{heard:?}");
        assert_eq!(proxy.cuts(), 1);
        let mut again = connect(&proxy).await;
        again.write_all(b"ab").await.unwrap();
        let mut heard = [0; 2];
        again.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"ab");
    }

    #[tokio::test]
    async fn damage_is_one_bit_of_one_byte() {
        let proxy = Proxy::before(&echo().await).await.unwrap();
        let mut stream = connect(&proxy).await;
        proxy.damage_after(2);
        stream.write_all(b"aaaa").await.unwrap();
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"aa`a");
        assert!(!proxy.is_damage_pending());
    }

    /// A frame of so many bytes in all, of this type.
    fn frame(kind: u8, bytes: usize) -> Vec<u8> {
        let mut frame = vec![7; bytes];
        frame[..4].copy_from_slice(&(bytes as u32 - 4).to_be_bytes());
        frame[4..8].copy_from_slice(&2u32.to_be_bytes());
        frame[8..10].copy_from_slice(&[0x08, kind]);
        frame
    }

    #[tokio::test]
    async fn one_batch_is_damaged_in_its_last_byte_and_no_answer_comes() {
        let proxy = Proxy::before(&echo().await).await.unwrap();
        let sent = [frame(18, 500), frame(6, 99), frame(6, 300), frame(6, 300)].concat();
        proxy.damage_batch_unnoticed(100);
        let (mut frames, mut passed) = (Frames::default(), sent.clone());
        passed.chunks_mut(7).for_each(|bytes| frames.pass(bytes, &proxy.faults));
        let damaged: Vec<usize> = (0..sent.len()).filter(|at| sent[*at] != passed[*at]).collect();
        assert_eq!(damaged, [500 + 99 + 300 - 1]);
        assert!(proxy.is_batch_damaged());
        let mut stream = connect(&proxy).await;
        stream.write_all(b"ab").await.unwrap();
        let answer = tokio::time::timeout(std::time::Duration::from_millis(100), stream.read_u8()).await;
        assert!(answer.is_err(), "an answer came");
    }

    #[test]
    fn a_beginning_of_the_address_at_the_end_is_held_back() {
        let mut bytes = b"xxab abc ab".to_vec();
        assert_eq!(replace(&mut bytes, b"abc", b"ABC"), 9);
        assert_eq!(bytes, b"xxab ABC ab");
        assert_eq!(replace(&mut b"aab".to_vec(), b"abc", b"ABC"), 1);
    }
}
