//! A network that fails on demand: a TCP proxy that stands between one client and its server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Bytes that are carried at once.
const PIECE_BYTES: usize = 16 * 1024;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Carries everything.
    Fair,
    /// Carries everything, each piece after a while.
    Slow(Duration),
    /// Carries nothing, and tells nobody: connections stay open, and new ones are accepted.
    Dead,
}

/// A proxy on a free loopback port. Dropping it breaks its connections.
pub struct Proxy {
    address: SocketAddr,
    target: watch::Sender<String>,
    weather: watch::Sender<Weather>,
    breaks: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Stands before `target`, as `host:port`.
    ///
    /// # Panics
    ///
    /// If no loopback port is free.
    pub async fn before(target: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (weather, breaks) = (watch::Sender::new(Weather::Fair), watch::Sender::new(0));
        let target = watch::Sender::new(target.to_owned());
        let accepting = tokio::spawn(accept(listener, target.clone(), weather.clone(), breaks.clone()));
        Self {
            address,
            target,
            weather,
            breaks,
            accepting,
        }
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries nothing from now on, and tells nobody.
    pub fn hold(&self) {
        self.weather.send_replace(Weather::Dead);
    }

    /// Carries each piece only after `delay`.
    pub fn slow(&self, delay: Duration) {
        self.weather.send_replace(Weather::Slow(delay));
    }

    /// Carries everything again, and what was held too.
    pub fn heal(&self) {
        self.weather.send_replace(Weather::Fair);
    }

    /// Stands before `target` from now on. Connections that are open stay where they lead.
    pub fn lead_to(&self, target: &str) {
        self.target.send_replace(target.to_owned());
    }

    /// Breaks all connections that are open.
    pub fn reset(&self) {
        self.breaks.send_modify(|count| *count += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.reset();
    }
}

async fn accept(
    listener: TcpListener,
    target: watch::Sender<String>,
    weather: watch::Sender<Weather>,
    breaks: watch::Sender<u64>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (target, weather, mut broken) = (target.borrow().clone(), weather.subscribe(), breaks.subscribe());
        connections.spawn(async move {
            tokio::select! {
                _ = broken.changed() => {}
                () = carry_both(client, &target, weather) => {}
            }
        });
    }
}

async fn carry_both(client: TcpStream, target: &str, mut weather: watch::Receiver<Weather>) {
    if weather.wait_for(|weather| *weather != Weather::Dead).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        carry(from_client, to_server, weather.clone()),
        carry(from_server, to_client, weather)
    );
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let now = weather
            .wait_for(|weather| *weather != Weather::Dead)
            .await
            .map(|weather| *weather);
        match now {
            Ok(Weather::Slow(delay)) => tokio::time::sleep(delay).await,
            Ok(Weather::Fair | Weather::Dead) => {}
            Err(_) => return,
        }
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
    // One side has ended; the other is told, and may go on sending.
    let _ = to.shutdown().await;
}
