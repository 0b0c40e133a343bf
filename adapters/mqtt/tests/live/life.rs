//! Beginnings and ends of connections.

use trunkline_mqtt_wire::Auth;

use super::*;

#[tokio::test]
async fn a_later_connection_with_an_equal_client_id_takes_over() {
    let broker = Broker::start().await;
    let mut first = broker.client(Version::V5, "same").await;
    let mut old = broker.client(Version::V3, "other").await;
    let mut second = broker.client(Version::V5, "same").await;
    let _newer = broker.client(Version::V3, "other").await;
    assert_eq!(first.goodbye().await, Some(ReasonCode::SessionTakenOver));
    assert_eq!(old.goodbye().await, None);
    second.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn another_principal_cannot_take_a_session_over() {
    let broker = Broker::start().await;
    let named = |user: &str| Connect {
        user_name: Some(text(user)),
        ..connect("same")
    };
    let mut first = broker.client_with(Version::V5, named("one")).await;
    let mut second = broker.client_with(Version::V5, named("two")).await;
    first.is_quiet().await;
    second.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn draining_acknowledges_what_the_log_has_and_says_so() {
    let broker = Broker::start().await;
    let mut client = broker.client(Version::V5, "client").await;
    let mut old = broker.client(Version::V3, "old").await;
    client.publish("a", "1", QoS::AtLeastOnce).await;
    broker.stop().await;
    assert_eq!(client.goodbye().await, Some(ReasonCode::ServerShuttingDown));
    assert_eq!(old.goodbye().await, None);
}

#[tokio::test]
async fn filters_are_refused_one_by_one() {
    let broker = Broker::start().await;
    let mut client = broker.client(Version::V5, "client").await;
    let filters = ["denied", "$share/group/denied", "a"].map(|filter| SubscribeFilter {
        filter: text(filter),
        ..SubscribeFilter::default()
    });
    let expected = [
        ReasonCode::NotAuthorized,
        ReasonCode::NotAuthorized,
        ReasonCode::GRANTED_QOS0,
    ];
    assert_eq!(client.subscribe_to(filters.to_vec()).await, expected);
    // What is no share of anything on MQTT 5 is malformed there.
    let mut old = broker.client(Version::V3, "old").await;
    assert_eq!(
        old.subscribe("$share/group", QoS::AtMostOnce).await,
        ReasonCode::UnspecifiedError
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_session_has_a_bounded_number_of_subscriptions() {
    let broker = Broker::start().await;
    let mut client = broker.client(Version::V5, "client").await;
    for number in 0..trunkline_mqtt::limits::SUBSCRIPTIONS_MAX {
        assert!(!client.subscribe(&number.to_string(), QoS::AtMostOnce).await.is_error());
    }
    assert_eq!(
        client.subscribe("more", QoS::AtMostOnce).await,
        ReasonCode::QuotaExceeded
    );
    assert!(!client.subscribe("0", QoS::AtLeastOnce).await.is_error());
    broker.stop().await;
}

#[tokio::test]
async fn a_refused_feature_ends_the_connection_with_its_reason() {
    let broker = Broker::start().await;
    let mut client = broker.client(Version::V5, "client").await;
    let mut auth = Auth {
        reason: ReasonCode::ReAuthenticate,
        ..Auth::default()
    };
    auth.properties.authentication_method = Some(text("SCRAM"));
    client.send(&Packet::Auth(Box::new(auth))).await;
    assert_eq!(client.goodbye().await, Some(ReasonCode::BadAuthenticationMethod));
    broker.stop().await;
}
