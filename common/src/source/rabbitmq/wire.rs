//! The connection's socket: TCP, or TLS over it on the rustls that the other connections use.
//!
//! lapin reads the server's first frame and keeps nothing of it, but the cluster's name and the server's version are
//! in there: so the socket reads along until that frame is complete.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures::Stream;
use lapin::protocol::{AMQPClass, connection};
use lapin::types::AMQPValue;
use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::settings::TlsFiles;
use super::tls;

/// More than this is no `connection.start`.
const LARGEST_HELLO_BYTES: usize = 64 << 10;

/// What the server says of itself before the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// The server property `cluster_name`.
    pub(super) cluster_name: String,
    /// The server's version, such as `3.10.8`.
    pub(super) version: String,
}

/// Where the socket leaves what it has read along.
pub(super) type Introduction = Arc<OnceLock<Server>>;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The socket.
pub(super) struct Wire {
    io: Box<dyn Io>,
    /// Dropped when the first frame is complete.
    hello: Option<Hello>,
}

/// The first frame, as far as it has come.
struct Hello {
    seen: Vec<u8>,
    introduction: Introduction,
    /// Whatever listens there and says nothing is not waited for: lapin's thread would wait for ever.
    deadline: Pin<Box<tokio::time::Sleep>>,
}

/// Connects, with TLS where the URL says `amqps`.
pub(super) async fn connect(
    uri: &AMQPUri,
    files: &TlsFiles,
    introduction: Introduction,
    patience: Duration,
) -> io::Result<Wire> {
    let deadline = Box::pin(tokio::time::sleep(patience));
    let (host, port) = (uri.authority.host.as_str(), uri.authority.port);
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let io: Box<dyn Io> = match uri.scheme {
        AMQPScheme::AMQP => Box::new(tcp),
        AMQPScheme::AMQPS => {
            let name = rustls_pki_types::ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(|_| io::Error::other(format!("`{host}` is no name that a certificate can carry")))?;
            let stream = tls::connector(files)?.connect(name, tcp).await?;
            files.shown.note(stream.get_ref().1.peer_certificates());
            Box::new(stream)
        }
    };
    Ok(Wire { io, hello: Some(Hello { seen: Vec::new(), introduction, deadline }) })
}

impl Wire {
    fn read_along(&mut self, bytes: &[u8]) {
        let Some(Hello { seen, introduction, .. }) = &mut self.hello else { return };
        if read_along(seen, bytes, introduction).is_break() {
            self.hello = None;
        }
    }
}

/// Adds what came to what was seen of the first frame; breaks when there is no more to see.
fn read_along(seen: &mut Vec<u8>, bytes: &[u8], introduction: &Introduction) -> ControlFlow<()> {
    seen.extend_from_slice(bytes);
    match frame_payload(seen) {
        Some(payload) => {
            if let Some(server) = introduced(payload) {
                // One socket introduces itself once.
                let _ = introduction.set(server);
            }
            ControlFlow::Break(())
        }
        None if seen.len() > LARGEST_HELLO_BYTES => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    }
}

/// What the socket reads along of these bytes: the cluster's name and the server's version.
#[cfg(feature = "fuzzing")]
pub(crate) fn hello_in(bytes: &[u8]) -> Option<(String, String)> {
    let introduction = Introduction::default();
    let (mut seen, mut rest) = (Vec::new(), bytes.chunks(61));
    while read_along(&mut seen, rest.next()?, &introduction).is_continue() {}
    introduction.get().map(|server| (server.cluster_name.clone(), server.version.clone()))
}

/// The payload of the first frame: type (1 byte), channel (2), size (4), payload, end (1).
fn frame_payload(bytes: &[u8]) -> Option<&[u8]> {
    let size: [u8; 4] = bytes.get(3..7)?.try_into().ok()?;
    bytes.get(7..7 + u32::from_be_bytes(size) as usize)
}

/// What a `connection.start` says; `None` for anything else.
fn introduced(payload: &[u8]) -> Option<Server> {
    let (_, class) = lapin::protocol::parse_class(payload).ok()?;
    let AMQPClass::Connection(connection::AMQPMethod::Start(start)) = class else { return None };
    let property = |name: &str| match start.server_properties.inner().get(name) {
        Some(AMQPValue::LongString(text)) => Some(text.to_string()),
        _ => None,
    };
    Some(Server {
        cluster_name: property("cluster_name").unwrap_or_default(),
        version: property("version").unwrap_or_default(),
    })
}

impl futures::io::AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(&mut self.io).poll_read(cx, &mut buffer)?;
        if read.is_pending()
            && let Some(hello) = &mut self.hello
        {
            ready!(hello.deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not introduce itself")));
        }
        ready!(read);
        self.read_along(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl futures::io::AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// tokio, with [`Wire`] as its socket: what lapin runs on.
pub(super) type Kit = RuntimeParts<Tokio, Sockets>;

/// The runtime for a connection. Must be called on tokio.
pub(super) fn runtime() -> Runtime<Kit> {
    Runtime::new(RuntimeParts::new(Tokio::current(), Sockets(Tokio::current())))
}

/// tokio's timers, and our sockets.
#[derive(Debug, Clone)]
pub(super) struct Sockets(Tokio);

impl Reactor for Sockets {
    type TcpStream = Wire;
    type Sleep = tokio::time::Sleep;

    /// lapin never asks for it.
    fn register<H: Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl futures::io::AsyncRead + futures::io::AsyncWrite + Send + Unpin + 'static> {
        Err::<Wire, _>(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    /// lapin asks for it only where no socket is given.
    #[expect(clippy::manual_async_fn, reason = "an async fn would borrow self, and the future must not")]
    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        async move { Ok(Wire { io: Box::new(TcpStream::connect(address).await?), hello: None }) }
    }
}
