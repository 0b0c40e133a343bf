//! A log that hangs.

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::runtime::Runtime;
use trunkline_bus::embedded::{Config, DiskProbe};
use trunkline_mqtt::limits::ACK_TIME_MAX;

use super::*;

/// Makes the log's owner hang where it looks at its disk, once it is asked to.
pub(super) struct Hang {
    ask: Sender<()>,
    hangs: Receiver<()>,
    /// Ends it when dropped.
    _hold: Sender<()>,
}

impl Hang {
    /// A bus in `folder` whose log can be made to hang. It has threads and a clock of its own, so that it hangs alone.
    pub(super) async fn open_bus(folder: &TempDir) -> (Self, EmbeddedBus, Runtime) {
        let (hang, probe) = Self::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let path = folder.path().to_owned();
        let opening = runtime.spawn(async move {
            EmbeddedBus::open_with_probe(&path, Config::default(), Arc::new(SystemClock), probe)
                .await
                .unwrap()
        });
        (hang, opening.await.unwrap(), runtime)
    }

    fn new() -> (Self, DiskProbe) {
        let (ask, asked) = channel();
        let (tell, hangs) = channel();
        let (hold, held) = channel::<()>();
        let inner = Mutex::new((asked, tell, held));
        let probe = move |_: &Path| {
            let (asked, tell, held) = &*inner.lock().unwrap();
            if asked.try_recv().is_ok() {
                tell.send(()).unwrap();
                let _ = held.recv();
            }
            Ok(u64::MAX)
        };
        let hang = Self {
            ask,
            hangs,
            _hold: hold,
        };
        (hang, Arc::new(probe))
    }

    /// Returns once the owner hangs. It does until this is dropped.
    pub(super) fn begin(&self) {
        self.ask.send(()).unwrap();
        self.hangs.recv_timeout(PATIENCE).expect("the log looks at its disk");
    }
}

#[tokio::test]
async fn a_publish_that_the_log_does_not_answer_closes_its_connection_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (hang, bus, runtime) = Hang::open_bus(&folder).await;
    let broker = Broker::on(bus, folder);
    let mut clients = Vec::new();
    for version in BOTH {
        clients.push(broker.client(version, &format!("{version:?}")).await);
    }
    hang.begin();
    for client in &mut clients {
        let message = Publish {
            qos: QoS::AtLeastOnce,
            topic: text("a"),
            packet_id: Some(PacketId::MIN),
            ..Publish::default()
        };
        client.send(&Packet::Publish(message)).await;
        client.is_quiet().await;
    }
    tokio::time::pause();
    let published = tokio::time::Instant::now();
    for mut client in clients {
        while client.stream.read_buf(&mut client.input).await.unwrap() > 0 {}
        let late = published.elapsed();
        assert!(late <= ACK_TIME_MAX + Duration::from_secs(1), "{late:?}");
        let last = client.decoder.decode(&mut client.input).unwrap();
        assert!(matches!(last, None | Some(Packet::Disconnect(_))), "{last:?}");
    }
    tokio::time::resume();
    broker.connections.close();
    broker.connections.wait().await;
    let metrics = broker.metrics.render();
    assert!(
        metrics.contains("trunkline_mqtt_closed_total{cause=\"failed\"} 2"),
        "{metrics}"
    );
    drop(hang);
    broker.stop().await;
    runtime.shutdown_background();
}
