//! One connection to one broker: the handshake, a task that reads, a task that writes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::pulsar::message::proto::{self, BaseCommand};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::client::ClientConfig;
use super::command::{self, FrameReader, Incoming};
use super::error::Error;
use super::routes::{Routes, Todo};
use super::service_url::host_name;
use super::tls;

use crate::logging::events;

/// What a broker takes in a message where it does not say.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 5 * 1024 * 1024;
/// No broker makes us hold more than this for one frame.
const CEILING_MESSAGE_BYTES: usize = 256 * 1024 * 1024;
/// What a frame may have beside a message of the largest size.
const FRAME_PADDING_BYTES: usize = 64 * 1024;

type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Which broker, and by which way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    /// `host:port` of the socket.
    pub(super) host: String,
    /// `host:port` of the broker behind a proxy, where there is one.
    pub(super) behind_proxy: Option<String>,
}

impl Address {
    pub(super) fn direct(host: &str) -> Self {
        Self { host: host.to_owned(), behind_proxy: None }
    }

    /// The name that errors give.
    pub(super) fn name(&self) -> &str {
        self.behind_proxy.as_deref().unwrap_or(&self.host)
    }
}

/// A connection that passed the handshake. Shared by all that talk to this broker; it ends when the last of them lets go
/// of it, when [`Connection::shut_down`] is called, or with its socket.
pub(super) struct Connection {
    broker: String,
    routes: Arc<Routes>,
    writer: mpsc::UnboundedSender<Bytes>,
    stop: Arc<watch::Sender<Option<String>>>,
    next_id: AtomicU64,
    max_message_bytes: usize,
    operation_timeout: Duration,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shut_down("nobody uses it any more");
    }
}

impl Connection {
    /// Connects and shakes hands, within the configured time.
    pub(super) async fn open(config: &Arc<ClientConfig>, address: &Address, use_tls: bool) -> Result<Arc<Self>, Error> {
        let failed = |reason: String| Error::Connection {
            operation: "connect".to_owned(),
            broker: address.name().to_owned(),
            reason,
        };
        let opened = timeout(config.connect_timeout, async {
            let (read, mut write) = connect(config, address, use_tls).await?;
            let mut frames = FrameReader::new(read, DEFAULT_MAX_MESSAGE_BYTES + FRAME_PADDING_BYTES);
            let connected = shake_hands(config, address, &mut frames, &mut write).await?;
            Ok::<_, Error>((frames, write, connected))
        });
        let (mut frames, write, connected) =
            opened.await.map_err(|_| failed(format!("no handshake within {:?}", config.connect_timeout)))??;
        let announced = connected.max_message_size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
        let max_message_bytes = announced.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES).min(CEILING_MESSAGE_BYTES);
        frames.set_limit(max_message_bytes + FRAME_PADDING_BYTES);

        let (writer, outgoing) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(None);
        let connection = Arc::new(Self {
            broker: address.name().to_owned(),
            routes: Arc::default(),
            writer: writer.clone(),
            stop: Arc::new(stop),
            next_id: AtomicU64::new(1),
            max_message_bytes,
            operation_timeout: config.operation_timeout,
        });
        let tasks = Tasks {
            config: Arc::clone(config),
            broker: connection.broker.clone(),
            routes: Arc::clone(&connection.routes),
            writer: writer.downgrade(),
            stop: Arc::clone(&connection.stop),
        };
        tokio::spawn(write_all(write, outgoing, tasks.clone(), stopped.clone()));
        tokio::spawn(read_all(frames, tasks, stopped));
        let (event, broker) = (events::PULSAR_CONNECTED, &connection.broker);
        tracing::info!(event, broker, server = connected.server_version, max_message_bytes, "connected");
        Ok(connection)
    }

    /// The broker's address, as errors name it.
    pub(super) fn broker(&self) -> &str {
        &self.broker
    }

    pub(super) fn routes(&self) -> &Routes {
        &self.routes
    }

    pub(super) fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    pub(super) fn is_alive(&self) -> bool {
        self.routes.dead().is_none()
    }

    /// An id that was never used on this connection: for requests, producers and consumers alike.
    pub(super) fn fresh_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends the connection: everybody on it is told.
    pub(super) fn shut_down(&self, reason: &str) {
        self.routes.die(reason);
        self.stop.send_replace(Some(reason.to_owned()));
    }

    /// Hands bytes to the writer without waiting. On a dead connection they vanish, and everybody has been told.
    pub(super) fn write(&self, bytes: Bytes) {
        let _ = self.writer.send(bytes);
    }

    /// Sends a command that has no answer, or whose answer nobody waits for.
    pub(super) fn tell(&self, command: &BaseCommand) {
        self.write(command::encode(command));
    }

    /// Sends a request and waits for its answer; a refusal comes as an error. `make` gets the request's id.
    pub(super) async fn request(
        &self,
        operation: &str,
        make: impl FnOnce(u64) -> BaseCommand,
    ) -> Result<BaseCommand, Error> {
        let request_id = self.fresh_id();
        let answer = self.routes.expect_answer(request_id).map_err(|reason| self.gone(operation, reason))?;
        // Also when the caller drops this future in the middle.
        let _forget = Forget { routes: &self.routes, request_id };
        self.tell(&make(request_id));
        let answer = timeout(self.operation_timeout, answer).await.map_err(|_| Error::Timeout {
            operation: operation.to_owned(),
            broker: self.broker.clone(),
            after: self.operation_timeout,
        })?;
        let answer = answer.map_err(|_| {
            self.gone(operation, self.routes.dead().unwrap_or_else(|| "the request was dropped".to_owned()))
        })?;
        match &answer.error {
            Some(error) => Err(Error::from_server(operation, &self.broker, error.error, &error.message)),
            None => Ok(answer),
        }
    }

    pub(super) fn gone(&self, operation: &str, reason: String) -> Error {
        Error::Connection { operation: operation.to_owned(), broker: self.broker.clone(), reason }
    }

    /// The broker answered a request with something else.
    pub(super) fn unexpected(&self, operation: &str) -> Error {
        Error::Protocol {
            operation: operation.to_owned(),
            broker: self.broker.clone(),
            message: "the answer is of another kind than the request".to_owned(),
        }
    }
}

struct Forget<'a> {
    routes: &'a Routes,
    request_id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.routes.forget_request(self.request_id);
    }
}

async fn connect(config: &ClientConfig, address: &Address, use_tls: bool) -> Result<(ReadHalf, WriteHalf), Error> {
    let failed = |error: io::Error| Error::Connection {
        operation: "connect".to_owned(),
        broker: address.name().to_owned(),
        reason: error.to_string(),
    };
    let tcp = TcpStream::connect(&address.host).await.map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    if !use_tls {
        let (read, write) = tcp.into_split();
        return Ok((Box::new(read), Box::new(write)));
    }
    let name = rustls_pki_types::ServerName::try_from(host_name(&address.host).to_owned())
        .map_err(|_| Error::Config(format!("`{}` is no name that a certificate can carry", address.host)))?;
    let stream = tls::connector(&config.tls, &config.auth)?.connect(name, tcp).await.map_err(failed)?;
    config.tls.shown.note(stream.get_ref().1.peer_certificates());
    let (read, write) = tokio::io::split(stream);
    Ok((Box::new(read), Box::new(write)))
}

async fn shake_hands(
    config: &ClientConfig,
    address: &Address,
    frames: &mut FrameReader<ReadHalf>,
    write: &mut WriteHalf,
) -> Result<proto::CommandConnected, Error> {
    let broker = address.name();
    let failed = |error: io::Error| Error::Connection {
        operation: "connect".to_owned(),
        broker: broker.to_owned(),
        reason: error.to_string(),
    };
    let method = config.auth.method_name();
    let hello = command::connect(method, auth_data(config).await?, address.behind_proxy.clone());
    send(write, &hello).await.map_err(failed)?;
    loop {
        let Incoming { command, .. } = frames.next().await.map_err(failed)?;
        if let Some(connected) = command.connected {
            return Ok(connected);
        } else if let Some(error) = command.error {
            return Err(Error::from_server("connect", broker, error.error, &error.message));
        } else if command.auth_challenge.is_some() {
            let answer = command::auth_response(method, auth_data(config).await?);
            send(write, &answer).await.map_err(failed)?;
        } else if command.ping.is_some() {
            send(write, &command::pong()).await.map_err(failed)?;
        } else {
            return Err(Error::Protocol {
                operation: "connect".to_owned(),
                broker: broker.to_owned(),
                message: format!("command {} in the handshake", command.r#type),
            });
        }
    }
}

async fn auth_data(config: &ClientConfig) -> Result<Option<Vec<u8>>, Error> {
    config.auth.data().await.map_err(|error| Error::Config(error.to_string()))
}

async fn send(write: &mut WriteHalf, command: &BaseCommand) -> io::Result<()> {
    write.write_all(&command::encode(command)).await?;
    write.flush().await
}

/// What both tasks of a connection need.
#[derive(Clone)]
struct Tasks {
    config: Arc<ClientConfig>,
    broker: String,
    routes: Arc<Routes>,
    writer: mpsc::WeakUnboundedSender<Bytes>,
    stop: Arc<watch::Sender<Option<String>>>,
}

impl Tasks {
    fn end(&self, reason: &str) {
        tracing::warn!(event = events::PULSAR_CONNECTION_LOST, broker = self.broker, "connection ended: {reason}");
        self.routes.die(reason);
        self.stop.send_replace(Some(reason.to_owned()));
    }

    fn write(&self, command: &BaseCommand) {
        if let Some(writer) = self.writer.upgrade() {
            let _ = writer.send(command::encode(command));
        }
    }
}

/// Writes what is queued, each batch by one write. The queue holds what the callers' windows allow.
async fn write_all(
    mut write: WriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<Bytes>,
    tasks: Tasks,
    mut stopped: watch::Receiver<Option<String>>,
) {
    let mut queued = Vec::with_capacity(64);
    let writing = async {
        while outgoing.recv_many(&mut queued, 64).await > 0 {
            for bytes in queued.drain(..) {
                write.write_all(&bytes).await?;
            }
            write.flush().await?;
        }
        Ok::<(), io::Error>(())
    };
    tokio::select! {
        result = writing => {
            if let Err(error) = result {
                tasks.end(&format!("writing failed: {error}"));
            }
        }
        _ = stopped.wait_for(Option::is_some) => {}
    }
    let _ = timeout(Duration::from_millis(100), write.shutdown()).await;
}

/// Reads until the connection ends. After a silence as long as the keep-alive interval the broker is asked for a sign of
/// life; after a second one it is given up.
async fn read_all(mut frames: FrameReader<ReadHalf>, tasks: Tasks, mut stopped: watch::Receiver<Option<String>>) {
    let mut asked = false;
    loop {
        let read = timeout(tasks.config.keep_alive, frames.next());
        let frame = tokio::select! {
            frame = read => frame,
            _ = stopped.wait_for(Option::is_some) => return,
        };
        match frame {
            Ok(Ok(incoming)) => {
                asked = false;
                match tasks.routes.dispatch(incoming) {
                    Todo::Nothing => {}
                    Todo::Pong => tasks.write(&command::pong()),
                    Todo::AnswerChallenge => {
                        tokio::spawn(answer_challenge(tasks.clone()));
                    }
                }
            }
            Ok(Err(error)) => return tasks.end(&error.to_string()),
            Err(_) if asked => return tasks.end(&format!("no sign of life for {:?}", 2 * tasks.config.keep_alive)),
            Err(_) => {
                asked = true;
                tasks.write(&command::ping());
            }
        }
    }
}

async fn answer_challenge(tasks: Tasks) {
    match auth_data(&tasks.config).await {
        Ok(data) => tasks.write(&command::auth_response(tasks.config.auth.method_name(), data)),
        Err(error) => tasks.end(&error.to_string()),
    }
}
