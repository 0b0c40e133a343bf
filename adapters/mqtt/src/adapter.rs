//! The adapter: what all of its connections share, and the listener that makes them.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_bus::{Live, Log, State};
use trunkline_core::{ChannelId, ClientId, Clock, DomainId};
use trunkline_gate::Gate;
use trunkline_telemetry::Tracer;

use crate::attendance::Attendance;
use crate::connection::Connection;
use crate::directory::Directory;
use crate::limits::{ACCEPT_PAUSE, CONNECTIONS_MAX, HANDSHAKES_MAX, NOTED_MAX, REPLAYS_MAX, SILENCE_TIME_MAX};
use crate::machine::{Cause, Settings};
use crate::metrics::Metrics;
use crate::reason::Feature;
use crate::retained::Retained;
use crate::router::{Parts, Router};
use crate::session::Sessions;
use crate::shared::{self, Shared};
use crate::transport::{Arrival, Layers, Listener, Socket, Stream, below_tls, hidden, itself};
use crate::will::Wills;

/// What the adapter is made of.
#[derive(Clone)]
pub struct Deps {
    /// Who is admitted to what.
    pub gate: Arc<dyn Gate>,
    /// Where messages go and come from.
    pub log: Arc<dyn Log>,
    /// How nodes tell each other of sessions.
    pub live: Arc<dyn Live>,
    /// Where retained messages and sessions are kept.
    pub state: Arc<dyn State>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: trunkline_telemetry::Metrics,
    /// What is recorded.
    pub tracer: Tracer,
}

/// MQTT for one node.
pub struct Adapter {
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) router: Router,
    pub(crate) retained: Arc<Retained>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracer: Tracer,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) wills: Arc<Wills>,
    /// Turns of those who read the log for one session.
    pub(crate) replays: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    noted: Mutex<HashSet<(ClientId, Feature)>>,
}

impl Adapter {
    /// An adapter that delivers what is appended from now on, once [`Adapter::run`] runs.
    #[must_use]
    pub fn open(deps: Deps, settings: Settings) -> Arc<Self> {
        let metrics = Arc::new(Metrics::new(&deps.metrics));
        let (log, clock) = (Arc::clone(&deps.log), Arc::clone(&deps.clock));
        let attendance = Arc::new(Attendance::new(Arc::clone(&log)));
        let retained = Arc::new(Retained::new(
            Arc::clone(&deps.state),
            Arc::clone(&log),
            Arc::clone(&clock),
            Arc::clone(&attendance),
            Arc::clone(&metrics),
        ));
        let wills = Arc::new(Wills {
            gate: Arc::clone(&deps.gate),
            log: Arc::clone(&log),
            clock: Arc::clone(&clock),
            retained: Arc::clone(&retained),
            metrics: Arc::clone(&metrics),
            payload_bytes_max: settings.payload_bytes_max,
        });
        let sessions = Sessions::new(Arc::clone(&deps.state), deps.live, clock, Arc::clone(&wills));
        let sessions = Arc::new(sessions);
        let replays = Arc::new(Semaphore::new(REPLAYS_MAX));
        let shared = shared::Parts {
            log: Arc::clone(&log),
            state: deps.state,
            sessions: Arc::clone(&sessions),
            replays: Arc::clone(&replays),
        };
        let shared = Shared::new(shared, Arc::clone(&metrics));
        let shared = Arc::new(shared);
        let parts = Parts {
            attendance,
            retained: Arc::clone(&retained),
            shared: Arc::clone(&shared),
        };
        Arc::new(Self {
            router: Router::new(log, parts, Arc::clone(&metrics)),
            retained,
            gate: deps.gate,
            log: deps.log,
            clock: deps.clock,
            settings,
            directory: Arc::default(),
            metrics,
            tracer: deps.tracer,
            sessions,
            shared,
            wills,
            replays,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            noted: Mutex::default(),
        })
    }

    /// Whether a message is certain to go to nobody now, and its publisher is to know ([`Settings::tells_unheard`]).
    pub(crate) fn is_unheard(&self, place: (DomainId, ChannelId), subtopic: &str) -> bool {
        self.settings.tells_unheard
            && self.shared.is_empty()
            && !self.sessions.has_kept()
            && !self.router.index.has(place, subtopic)
    }

    /// Feeds subscribers and keeps retained messages until `cancel`. To be ended after every `serve`, so that they get all that was
    /// acknowledged to others.
    pub async fn run(&self, cancel: CancellationToken) {
        tokio::join!(
            self.router.run(&cancel),
            self.retained.run(&cancel),
            self.sessions.run(&self.directory, &cancel),
            self.shared.run(&cancel)
        );
    }

    /// Serves the clients of `listener` until `cancel`; returns once the last connection has drained.
    pub async fn serve(self: &Arc<Self>, listener: impl Into<Listener>, cancel: CancellationToken) {
        let Listener { socket, layers } = listener.into();
        let layers = Arc::new(layers);
        let tracker = TaskTracker::new();
        loop {
            let handshake = tokio::select! {
                () = cancel.cancelled() => break,
                permit = Arc::clone(&self.handshakes).acquire_owned() => permit,
            };
            let accepted = tokio::select! {
                () = cancel.cancelled() => break,
                accepted = socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "an MQTT connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Without it a small answer would wait for the client's acknowledgement of the one before.
            let _ = stream.set_nodelay(true);
            let arrival = Arrival::new(peer, handshake.ok());
            let (adapter, layers, cancel) = (Arc::clone(self), Arc::clone(&layers), cancel.clone());
            tracker.spawn(async move {
                let Some(_place) = adapter.place() else { return };
                let speaks = adapter.speaks(&stream, arrival.deadline);
                match cancel.run_until_cancelled(speaks).await {
                    None => return,
                    Some(false) => return adapter.metrics.closed(Cause::Handshake).increment(),
                    Some(true) => {}
                }
                if layers.is_empty() {
                    adapter.connection(stream, itself, arrival, cancel).await;
                } else {
                    Box::pin(adapter.ascend(&layers, stream, arrival, cancel)).await;
                }
            });
        }
        drop(socket);
        tracker.close();
        tracker.wait().await;
    }

    /// Waits until the peer says something or is gone, and says whether it does in time: until `deadline`, and while others want its place
    /// among unfinished handshakes only for [`SILENCE_TIME_MAX`].
    async fn speaks(&self, stream: &TcpStream, deadline: Instant) -> bool {
        while Instant::now() < deadline {
            match timeout(SILENCE_TIME_MAX, stream.peek(&mut [0])).await {
                // Who serves the connection finds out what was said.
                Ok(_) => return true,
                Err(_) if self.handshakes.available_permits() == 0 => return false,
                Err(_) => {}
            }
        }
        false
    }

    /// Serves one client over any stream of bytes until it ends or `cancel` drains it.
    pub async fn serve_stream<S>(self: &Arc<Self>, stream: S, peer: SocketAddr, cancel: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let handshake = Arc::clone(&self.handshakes).acquire_owned().await;
        let Some(_place) = self.place() else { return };
        self.connection(stream, hidden, Arrival::new(peer, handshake.ok()), cancel)
            .await;
    }

    /// A connection that comes now, if the unfinished handshakes are not too many.
    pub(crate) fn arrival(&self, peer: SocketAddr) -> Option<Box<Arrival>> {
        let handshake = Arc::clone(&self.handshakes).try_acquire_owned().ok()?;
        Some(Arrival::new(peer, Some(handshake)))
    }

    /// A place for one more connection.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.connections).try_acquire_owned().ok();
        if place.is_none() {
            self.metrics.refused_over_limit.increment();
        }
        place
    }

    async fn climb(&self, layers: &Layers, mut stream: TcpStream, arrival: &mut Arrival) -> io::Result<Stream> {
        layers.read_origin(&mut stream, arrival).await?;
        // The proxy has spoken, which says nothing of the client behind it.
        if layers.has_proxies() && !self.speaks(&stream, arrival.deadline).await {
            return Err(late());
        }
        layers.open(stream, arrival).await
    }

    /// Takes the handshakes below MQTT, then serves the client.
    async fn ascend(
        self: &Arc<Self>,
        layers: &Layers,
        stream: TcpStream,
        mut arrival: Box<Arrival>,
        cancel: CancellationToken,
    ) {
        let opened = tokio::select! {
            () = cancel.cancelled() => return,
            // Boxed, so that a client at rest keeps nothing of it.
            opened = timeout_at(arrival.deadline, Box::pin(self.climb(layers, stream, &mut arrival))) => opened,
        };
        match opened.unwrap_or_else(|_| Err(late())) {
            Ok(Stream::Plain(stream)) => self.connection(stream, itself, arrival, cancel).await,
            Ok(Stream::Tls(stream)) => {
                self.connection(stream, |stream| below_tls(stream), arrival, cancel)
                    .await;
            }
            Ok(Stream::WebSocket(stream)) => self.connection(stream, hidden, arrival, cancel).await,
            Err(error) => {
                self.metrics.handshakes_failed.increment();
                tracing::debug!(peer = %arrival.peer, %error, "a handshake below MQTT failed");
            }
        }
    }

    pub(crate) async fn connection<S>(
        self: &Arc<Self>,
        stream: S,
        socket: Socket<S>,
        arrival: Box<Arrival>,
        cancel: CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let peer = arrival.peer;
        self.metrics.connections.add(1);
        let cause = Connection::new(Arc::clone(self), stream, socket)
            .run(arrival, &cancel)
            .await;
        self.metrics.connections.add(-1);
        self.metrics.closed(cause).increment();
        match cause {
            Cause::Failed => tracing::warn!(%peer, "an MQTT connection ended because the platform could not serve it"),
            _ => tracing::debug!(%peer, cause = cause.name(), "an MQTT connection ended"),
        }
    }

    /// Counts the use of a feature that is not offered, and logs it when it is the client's first.
    pub(crate) fn note_unsupported(&self, client_id: ClientId, feature: Feature) {
        self.metrics.unsupported(feature).increment();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= NOTED_MAX {
            noted.clear();
        }
        if noted.insert((client_id, feature)) {
            tracing::info!(client.id = %client_id, feature = feature.name(), "refused: {}", feature.words());
        }
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}
