//! What was written for a client that does not take it, when it is not certain any more that the client may have it.

use async_trait::async_trait;
use tokio::sync::watch;
use trunkline_gate::{Action, Credentials, Denial, Gate, Identity, Permit, Refusal, Session};
use trunkline_mqtt::limits::{SUBSCRIPTIONS_MAX, UNTAKEN_SUBSCRIPTIONS_MAX};
use trunkline_testkit::until;

use super::*;

/// The filter of which the gate may change its mind.
const WAVERING: &str = "a";
/// Bytes of a PUBLISH of which a stream holds some, and no part of another.
const WHOLE: usize = STREAM_BYTES / 4;
/// Messages that are written for a client: as many as a stream holds, and as many again.
const COUNT: usize = 2 * STREAM_BYTES / WHOLE;
/// For how long nothing is to happen.
const A_WHILE: Duration = Duration::from_millis(200);

/// What the gate thinks of a subscription to [`WAVERING`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opinion {
    /// It is as it was at first.
    Granted,
    /// It was withdrawn and granted again.
    GrantedAgain,
    Denied,
    Unknown,
    /// It answers once this has changed.
    Thinking,
}

/// The open gate, but for one filter.
struct Wavering {
    gate: OpenGate,
    first: OpenGate,
    second: OpenGate,
    opinion: watch::Sender<Opinion>,
}

impl Wavering {
    fn new() -> Arc<Self> {
        let open = || OpenGate::new(Vec::new());
        Arc::new(Self {
            gate: open(),
            first: open(),
            second: open(),
            opinion: watch::Sender::new(Opinion::Granted),
        })
    }

    /// Withdraws what was granted, and thinks so of it from now on.
    fn now(&self, opinion: Opinion) {
        self.opinion.send_replace(opinion);
        self.first.withdraw();
    }
}

#[async_trait]
impl Gate for Wavering {
    async fn connect(&self, credentials: Credentials) -> Result<Session, Refusal> {
        self.gate.connect(credentials).await
    }

    fn may_warm(&self, session: &Session, action: Action, topic: &str) -> Option<Result<Permit, Denial>> {
        match action {
            Action::Publish => self.gate.may_warm(session, action, topic),
            Action::Subscribe => None,
        }
    }

    async fn may(&self, session: &Session, action: Action, topic: &str) -> Result<Permit, Denial> {
        if action == Action::Publish || topic != WAVERING {
            return self.gate.may(session, action, topic).await;
        }
        let mut opinion = self.opinion.subscribe();
        let opinion = *opinion.wait_for(|opinion| *opinion != Opinion::Thinking).await.unwrap();
        match opinion {
            Opinion::Granted => self.first.may(session, action, topic).await,
            Opinion::GrantedAgain => self.second.may(session, action, topic).await,
            Opinion::Denied => Err(Denial::NotAuthorized),
            Opinion::Unknown | Opinion::Thinking => Err(Denial::Unavailable),
        }
    }

    async fn recheck(&self, session: &Session) -> Result<(), Refusal> {
        self.gate.recheck(session).await
    }

    fn recall(&self, identity: Identity) -> Session {
        self.gate.recall(identity)
    }
}

async fn broker(gate: &Arc<Wavering>) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    Broker::behind(Arc::clone(gate) as Arc<dyn Gate>, open_bus(&folder).await, folder)
}

/// Waits until so many messages at `qos` were counted by the counter `name`.
async fn counted(broker: &Broker, name: &str, qos: QoS, count: usize) {
    let line = format!("trunkline_mqtt_{name}_total{{qos=\"{}\"}} {count}\n", qos as u8);
    until(PATIENCE, async || broker.metrics.render().contains(&line)).await;
}

/// A client for which [`COUNT`] messages, `bytes` long as packets, were written, then the answer to a message of its own, then that
/// message, before the gate had another `opinion`. It has taken what its stream held.
async fn withheld(broker: &Broker, gate: &Wavering, bytes: usize, opinion: Opinion) -> Client {
    let mut client = broker.client(Version::V5, "slow").await;
    assert!(!client.subscribe(WAVERING, QoS::AtMostOnce).await.is_error());
    let mut publisher = broker.client(Version::V5, "publisher").await;
    let message = |payload: usize| Publish {
        topic: text(WAVERING),
        payload: vec![b'x'; payload].into(),
        ..Publish::default()
    };
    let empty = encoded(&Packet::Publish(message(bytes)), Version::V5).len();
    let payload = message(2 * bytes - empty).payload;
    for _ in 0..COUNT {
        publisher.publish(WAVERING, payload.clone(), QoS::AtLeastOnce).await;
    }
    counted(broker, "delivered", QoS::AtMostOnce, COUNT).await;
    let question = Publish {
        qos: QoS::AtLeastOnce,
        topic: text(WAVERING),
        packet_id: Some(PacketId::MIN),
        ..Publish::default()
    };
    client.send(&Packet::Publish(question)).await;
    // Who hears itself has its answer before.
    counted(broker, "delivered", QoS::AtMostOnce, COUNT + 1).await;
    gate.now(opinion);
    for _ in 0..STREAM_BYTES / bytes {
        assert_eq!(client.message().await.payload, payload);
    }
    client
}

/// Takes the answer to what the client published.
async fn answer(client: &mut Client) {
    match client.receive().await {
        Packet::PubAck(ack) => assert_eq!(ack.reason, ReasonCode::Success),
        other => panic!("expected PUBACK, got {other:?}"),
    }
}

#[tokio::test]
async fn a_subscriber_that_is_always_behind_stays_when_it_may_not_have_any_more_what_it_took_long_ago() {
    const BYTES: usize = 20 * 1024;
    const MESSAGES: usize = 20;
    let gate = Wavering::new();
    let broker = broker(&gate).await;
    let mut behind = broker.client(Version::V5, "behind").await;
    for filter in [WAVERING, "b"] {
        assert!(!behind.subscribe(filter, QoS::AtLeastOnce).await.is_error());
    }
    let mut publisher = broker.client(Version::V5, "publisher").await;
    let topics = ["b", WAVERING].into_iter().chain([const { "b" }; MESSAGES]);
    for topic in topics {
        publisher.publish(topic, vec![b'x'; BYTES], QoS::AtLeastOnce).await;
    }
    for topic in ["b", WAVERING, "b", "b"] {
        assert_eq!(*behind.take().await.topic, *topic);
    }
    gate.now(Opinion::Denied);
    for _ in 2..MESSAGES {
        assert_eq!(*behind.take().await.topic, *"b");
    }
    behind.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_subscriber_with_as_many_untaken_subscriptions_as_are_remembered_gets_the_rest_once_it_reads_on() {
    const RETAINED: usize = 5;
    // One of them is what keeps the stream full.
    const EACH_TIME: usize = SUBSCRIPTIONS_MAX - 1;
    const {
        assert!(
            2 * EACH_TIME + 2 == UNTAKEN_SUBSCRIPTIONS_MAX,
            "the wildcard is the last that there is room for"
        );
    };
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    let mut retain = async |topic: String, bytes: usize| {
        let message = Publish {
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: text(&topic),
            packet_id: Some(PacketId::MIN),
            payload: vec![b'x'; bytes].into(),
            ..Publish::default()
        };
        publisher.send(&Packet::Publish(message)).await;
        assert!(matches!(publisher.receive().await, Packet::PubAck(_)));
    };
    retain("full".to_owned(), 2 * STREAM_BYTES).await;
    for number in 0..2 * EACH_TIME {
        retain(format!("each/{number}"), 1).await;
    }
    for number in 0..RETAINED {
        retain(format!("all/{number}"), 1).await;
    }
    let mut client = broker.client(Version::V5, "slow").await;
    let filter = |filter: String| SubscribeFilter {
        filter: text(&filter),
        ..SubscribeFilter::default()
    };
    let mut delivered = 0;
    let mut subscribe = async |client: &mut Client, filters: Vec<String>, count: usize| {
        let packet = Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            filters: filters.into_iter().map(filter).collect(),
            properties: SubscribeProperties::default(),
        });
        client.send(&packet).await;
        delivered += count;
        counted(&broker, "delivered", QoS::AtMostOnce, delivered).await;
    };
    let each = |half: usize| (half * EACH_TIME..(half + 1) * EACH_TIME).map(|number| format!("each/{number}"));
    let unsubscribe = |filters: Vec<String>| {
        Packet::Unsubscribe(Unsubscribe {
            packet_id: PacketId::MIN,
            filters: filters.iter().map(|filter| text(filter)).collect(),
            properties: Default::default(),
        })
    };
    subscribe(&mut client, vec!["full".to_owned()], 1).await;
    subscribe(&mut client, each(0).collect(), EACH_TIME).await;
    client.send(&unsubscribe(each(0).collect())).await;
    subscribe(&mut client, each(1).collect(), EACH_TIME).await;
    client.send(&unsubscribe(each(1).collect())).await;
    // There is room for one of these, and the others wait until the client has taken what is before them.
    subscribe(&mut client, vec!["all/+".to_owned()], 1).await;
    // A timer of something else would hide that nobody looks.
    tokio::time::pause();
    let reads_on = tokio::time::Instant::now();
    let mut messages = 0;
    while messages < 1 + 2 * EACH_TIME + RETAINED {
        messages += usize::from(matches!(client.receive().await, Packet::Publish(_)));
    }
    assert!(reads_on.elapsed() < A_WHILE, "{:?}", reads_on.elapsed());
    tokio::time::resume();
    client.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_client_whose_permission_cannot_be_known_has_its_answers_and_is_told_that_the_server_is_busy() {
    let gate = Wavering::new();
    let broker = broker(&gate).await;
    let mut client = withheld(&broker, &gate, WHOLE, Opinion::Unknown).await;
    tokio::time::pause();
    answer(&mut client).await;
    assert_eq!(client.goodbye().await, Some(ReasonCode::ServerBusy));
    tokio::time::resume();
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_has_taken_a_part_of_what_may_not_leave_any_more_is_cut_off_without_a_word() {
    let gate = Wavering::new();
    let broker = broker(&gate).await;
    let mut client = withheld(&broker, &gate, WHOLE - 1, Opinion::Unknown).await;
    tokio::time::pause();
    assert_eq!(client.next().await, None);
    tokio::time::resume();
    assert!(!client.input.is_empty(), "it was not in the middle of a message");
    broker.stop().await;
}

#[tokio::test]
async fn a_node_that_drains_waits_for_permissions_and_gives_what_they_let_it() {
    let gate = Wavering::new();
    let broker = broker(&gate).await;
    let mut client = withheld(&broker, &gate, WHOLE, Opinion::Thinking).await;
    broker.cancel.cancel();
    let early = tokio::time::timeout(A_WHILE, client.next()).await;
    assert!(early.is_err(), "{early:?} came before it was known whether it may");
    gate.now(Opinion::GrantedAgain);
    for _ in 0..COUNT / 2 {
        client.message().await;
    }
    answer(&mut client).await;
    client.message().await;
    assert_eq!(client.goodbye().await, Some(ReasonCode::ServerShuttingDown));
    broker.stop().await;
}

#[tokio::test]
async fn a_node_that_drains_gives_answers_and_no_messages_where_permissions_stay_unknown() {
    let gate = Wavering::new();
    let broker = broker(&gate).await;
    let mut client = withheld(&broker, &gate, WHOLE, Opinion::Thinking).await;
    broker.cancel.cancel();
    tokio::time::pause();
    answer(&mut client).await;
    assert_eq!(client.goodbye().await, Some(ReasonCode::ServerShuttingDown));
    tokio::time::resume();
    gate.now(Opinion::Unknown);
    broker.stop().await;
}

#[tokio::test]
async fn a_client_whose_session_is_taken_over_has_its_answers_while_its_permission_is_asked_for() {
    let gate = Wavering::new();
    let broker = broker(&gate).await;
    let mut client = withheld(&broker, &gate, WHOLE, Opinion::Thinking).await;
    let second = broker.client(Version::V5, "slow").await;
    answer(&mut client).await;
    assert_eq!(client.goodbye().await, Some(ReasonCode::SessionTakenOver));
    gate.now(Opinion::Denied);
    drop(second);
    broker.stop().await;
}
