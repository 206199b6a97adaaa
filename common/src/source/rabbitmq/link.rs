//! The connection, shared by the readers of a source, and opened again when it is lost.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lapin::{AsyncTcpStream, Channel, Connection, Error};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::super::SourceError;
use super::faults;
use super::settings::RabbitSettings;
use super::wire::{self, Introduction, Kit, Server};

use crate::logging::events;

/// The connection of one source.
pub(super) struct Link {
    pub(super) settings: RabbitSettings,
    live: Mutex<Option<Live>>,
    /// The cluster that answered first. Its name is part of every id: another one must never go on in its place.
    cluster: OnceLock<String>,
    /// Held by everyone who may still have something to acknowledge.
    busy: Mutex<Option<Sender<()>>>,
    idle: Mutex<Receiver<()>>,
}

struct Live {
    connection: Connection,
    server: Server,
}

impl Link {
    pub(super) fn new(settings: RabbitSettings) -> Self {
        let (busy, idle) = channel(1);
        let cluster = OnceLock::new();
        Link { settings, live: Mutex::new(None), cluster, busy: Mutex::new(Some(busy)), idle: Mutex::new(idle) }
    }

    /// To be held as long as there may be something to acknowledge; `None` when the link is being closed.
    pub(super) async fn busy(&self) -> Option<Sender<()>> {
        self.busy.lock().await.clone()
    }

    /// A new channel, on the connection there is or a new one, and who answered.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`], [`SourceError::Denied`], [`SourceError::Setting`], and [`SourceError::Fatal`] when
    /// another cluster answers than the one before.
    pub(super) async fn channel(&self) -> Result<(Channel, Server), SourceError> {
        let what = format!("connecting to RabbitMQ at {}", self.settings.address());
        within(self.settings.request_timeout, &what, async {
            let mut live = self.live.lock().await;
            if let Some(there) = live.as_ref().filter(|there| there.connection.status().connected()) {
                // A connection that is about to be found dead refuses; then there is a new one.
                if let Ok(channel) = there.connection.create_channel().await {
                    return Ok((channel, there.server.clone()));
                }
            }
            *live = None;
            let fresh = self.connect(&what).await?;
            let channel = fresh.connection.create_channel().await.map_err(|error| faults::typed(&what, &error))?;
            let server = fresh.server.clone();
            *live = Some(fresh);
            Ok((channel, server))
        })
        .await
    }

    async fn connect(&self, what: &str) -> Result<Live, SourceError> {
        let settings = &self.settings;
        let (files, patience) = (settings.tls.clone(), settings.request_timeout);
        let introduction = Introduction::default();
        let heard = Arc::clone(&introduction);
        let connect = async move |uri, _: async_rs::Runtime<Kit>| {
            let wire = wire::connect(&uri, &files, Arc::clone(&introduction), patience);
            let wire = tokio::time::timeout(patience, wire).await.map_err(std::io::Error::from)??;
            Ok::<_, Error>(AsyncTcpStream::Plain(wire))
        };
        let connection = Connection::connector(settings.uri()?, wire::runtime(), connect, settings.properties())
            .await
            .map_err(|error| faults::typed(what, &error))?;
        let server = heard.get().cloned().ok_or_else(|| SourceError::Unavailable {
            what: what.to_owned(),
            reason: "the server did not introduce itself".to_owned(),
        })?;
        self.check_cluster(what, &server)?;
        Ok(Live { connection, server })
    }

    fn check_cluster(&self, what: &str, server: &Server) -> Result<(), SourceError> {
        let known = self.cluster.get_or_init(|| server.cluster_name.clone());
        if *known == server.cluster_name || self.settings.cluster_id.is_some() {
            return Ok(());
        }
        let reason = format!(
            "the cluster is `{}` now and was `{known}`: either it was renamed (set rabbitmq.cluster_id to the old name) \
             or the URL leads elsewhere",
            server.cluster_name
        );
        Err(SourceError::Fatal { what: what.to_owned(), reason })
    }

    /// Waits until the dropped readers' acknowledgements are sent, at most `patience`, and closes the connection: the
    /// channels of readers that are still there end with it.
    pub(super) async fn close(&self, patience: Duration) {
        drop(self.busy.lock().await.take());
        let mut idle = self.idle.lock().await;
        // Nobody sends: it ends when the last one who is busy has gone.
        if tokio::time::timeout(patience, idle.recv()).await.is_err() {
            tracing::debug!(event = events::DETAIL, "RabbitMQ is left with acknowledgements unsent, or readers in use");
        }
        if let Some(live) = self.live.lock().await.take()
            && let Err(error) = live.connection.close(200, "the bridge stops".into()).await
        {
            tracing::debug!(event = events::DETAIL, "closing the connection to RabbitMQ: {error}");
        }
    }
}

/// Gives up after `patience`: a server that does not answer must not hold a reader for ever.
pub(super) async fn within<T>(
    patience: Duration,
    what: &str,
    work: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| {
        Err(SourceError::Unavailable { what: what.to_owned(), reason: format!("no answer within {patience:?}") })
    })
}
