//! A session taken from a connection whose last packets wait for the gate.

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use trunkline_gate::{Action, Credentials, Denial, Gate, Identity, Permit, Refusal, Session};
use trunkline_mqtt_wire::{Disconnect, Will};

use super::*;

/// For how long the next connection is given time to wait for the first.
const HEAD_START: Duration = Duration::from_millis(100);

/// The open gate, which thinks about each publish until it may answer.
struct Ponderous {
    gate: OpenGate,
    answers: Arc<Semaphore>,
}

#[async_trait]
impl Gate for Ponderous {
    async fn connect(&self, credentials: Credentials) -> Result<Session, Refusal> {
        self.gate.connect(credentials).await
    }

    fn may_warm(&self, session: &Session, action: Action, topic: &str) -> Option<Result<Permit, Denial>> {
        match action {
            Action::Publish => None,
            _ => self.gate.may_warm(session, action, topic),
        }
    }

    async fn may(&self, session: &Session, action: Action, topic: &str) -> Result<Permit, Denial> {
        if action == Action::Publish {
            self.answers.acquire().await.unwrap().forget();
        }
        self.gate.may(session, action, topic).await
    }

    async fn recheck(&self, session: &Session) -> Result<(), Refusal> {
        self.gate.recheck(session).await
    }

    fn recall(&self, identity: Identity) -> Session {
        self.gate.recall(identity)
    }
}

#[tokio::test]
async fn what_a_client_said_before_it_came_back_is_heard_even_if_the_gate_is_slow() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open_bus(&folder).await;
    let answers = Arc::new(Semaphore::new(1));
    let gate = Ponderous {
        gate: OpenGate::new(Vec::new()),
        answers: Arc::clone(&answers),
    };
    let broker = Broker::behind(Arc::new(gate), bus, folder);
    for version in BOTH {
        let mut heir = broker.client(version, "heir").await;
        heir.subscribe("#", QoS::AtMostOnce).await;
        let mortal = Connect {
            will: Some(Will {
                topic: text("a/will"),
                ..Will::default()
            }),
            ..connect("same")
        };
        // Its will is allowed with the one answer that there is.
        let mut first = broker.client_with(version, mortal).await;
        first.publish("a/b", "one", QoS::AtMostOnce).await;
        first.publish("a/b", "two", QoS::AtMostOnce).await;
        first.send(&Packet::Disconnect(Box::<Disconnect>::default())).await;
        let mut second = Client::new(broker.stream(), version);
        second.send(&Packet::Connect(Box::new(connect("same")))).await;
        let _ = timeout(HEAD_START, second.receive()).await;
        answers.add_permits(3);
        assert_eq!(heir.take().await.payload, "one");
        assert_eq!(heir.take().await.payload, "two");
        heir.is_quiet().await;
    }
    broker.stop().await;
}
