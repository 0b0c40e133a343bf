//! What members leave whose sessions could not be left in order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use trunkline_bus::state::{Key, Versioned};
use trunkline_testkit::{throughout, until};

use super::line::{Call, Fate, Line};
use super::sessions::lasting;
use super::*;

const SHARE: &str = "$share/group/a";

async fn broker() -> (Broker, Arc<Line>) {
    let folder = tempfile::tempdir().unwrap();
    let bus = open_bus(&folder).await;
    let line = Line::new(&bus);
    let broker = Broker::of(|deps| line.open(deps), bus, folder);
    (broker, line)
}

impl Broker {
    async fn share(&self, connect: Connect) -> Client {
        let mut member = self.client_with(Version::V5, connect).await;
        assert!(!member.subscribe(SHARE, QoS::ExactlyOnce).await.is_error());
        member
    }

    /// The record of the only session.
    async fn session(&self) -> (Key, Versioned) {
        let sessions = self.bus.state.list(&Key::durable("mqtt.session")).await;
        sessions.unwrap().remove(0)
    }
}

#[tokio::test]
async fn what_a_member_has_goes_to_another_though_its_session_is_too_large_to_be_left() {
    let (broker, line) = broker().await;
    let mut gone = broker.share(lasting(Version::V5, "gone")).await;
    // All sessions are read some time after the start, and then not for long.
    let is_swept = Arc::new(AtomicBool::new(false));
    line.judge({
        let is_swept = Arc::clone(&is_swept);
        move |key, _| {
            is_swept.fetch_or(key.name() == "mqtt.session.ff", Ordering::Relaxed);
            Fate::Heard
        }
    });
    until(PATIENCE, async || is_swept.load(Ordering::Relaxed)).await;
    let mut publisher = broker.publisher().await;
    publisher.publish("a", "0;", QoS::AtLeastOnce).await;
    assert_eq!(number_of(&gone.message().await), 0);
    let mut other = broker.share(connect("other")).await;
    let session = broker.session().await.0;
    line.judge(move |key, call| match call {
        // One that has no owner and was left in order: format, session, owner, epoch, since when.
        Call::Write(value) if *key == session && value[17] == 0 && value[27] == 1 => Fate::TooLarge,
        _ => Fate::Heard,
    });
    gone.vanish().await;
    assert_eq!(number_of(&other.take().await), 0);
    broker.stop().await;
}

#[tokio::test]
async fn while_shared_state_is_away_a_session_that_could_not_be_left_is_asked_for_seldom() {
    let (broker, line) = broker().await;
    let member = broker.share(lasting(Version::V5, "member")).await;
    let session = broker.session().await.0;
    let asked = Arc::new(AtomicUsize::new(0));
    line.judge({
        let asked = Arc::clone(&asked);
        move |key, call| match call {
            _ if *key != session => Fate::Heard,
            Call::Read => {
                asked.fetch_add(1, Ordering::Relaxed);
                Fate::Lost
            }
            Call::Write(_) | Call::Delete => Fate::Lost,
        }
    });
    member.vanish().await;
    throughout(Duration::from_secs(4), async || asked.load(Ordering::Relaxed) < 15).await;
    line.judge(|_, _| Fate::Heard);
    broker.stop().await;
}

#[tokio::test]
async fn a_member_whose_goodbye_shared_state_does_not_hear_leaves_what_it_has_when_it_does() {
    let (broker, line) = broker().await;
    let mut gone = broker.share(lasting(Version::V5, "gone")).await;
    let mut publisher = broker.publisher().await;
    until(PATIENCE, async || {
        let found = broker.session().await.1;
        found.value.windows(SHARE.len()).any(|part| part == SHARE.as_bytes())
    })
    .await;
    let (session, before) = broker.session().await;
    publisher.publish("a", "0;", QoS::AtLeastOnce).await;
    assert_eq!(number_of(&gone.message().await), 0);
    until(PATIENCE, async || broker.session().await.1.revision > before.revision).await;
    // That the session has the next message is written late, and nothing else is heard.
    let mut writes = 0;
    line.judge(move |key, call| match call {
        _ if *key != session => Fate::Heard,
        Call::Write(_) => {
            writes += 1;
            if writes == 1 { Fate::Late } else { Fate::Lost }
        }
        Call::Read | Call::Delete => Fate::Lost,
    });
    publisher.publish("a", "1;", QoS::ExactlyOnce).await;
    until(PATIENCE, async || line.has_late().await).await;
    gone.leave_with(Some(0)).await;
    let mut other = broker.share(connect("other")).await;
    other.is_quiet().await;
    line.judge(|_, _| Fate::Heard);
    assert_eq!(number_of(&other.take().await), 0);
    // The client said that it would not come back, and what it may have had at QoS 2 is nobody else's.
    until(PATIENCE, async || broker.kept().await == 0).await;
    let (mut gone, is_present) = broker.back(Version::V5, "gone").await;
    assert!(!is_present);
    gone.is_quiet().await;
    publisher.publish("a", "2;", QoS::ExactlyOnce).await;
    assert_eq!(number_of(&other.take().await), 2);
    other.is_quiet().await;
    broker.stop().await;
}
