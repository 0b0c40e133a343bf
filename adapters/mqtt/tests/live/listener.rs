//! The listener: real sockets, and what it does at its end.

use super::*;

#[tokio::test]
async fn a_listener_serves_until_it_is_cancelled_and_then_drains() {
    let broker = Broker::start().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn({
        let (adapter, cancel) = (Arc::clone(&broker.adapter), broker.cancel.clone());
        async move { adapter.serve(listener, cancel).await }
    });
    let mut client = Client::new(TcpStream::connect(address).await.unwrap(), Version::V5);
    client.send(&Packet::Connect(Box::new(connect("client")))).await;
    assert!(matches!(client.receive().await, Packet::ConnAck(connack) if connack.reason == ReasonCode::Success));
    client.subscribe("a", QoS::AtLeastOnce).await;
    client.publish("a", "1", QoS::AtMostOnce).await;
    assert_eq!(client.take().await.payload, "1");

    broker.cancel.cancel();
    assert_eq!(client.goodbye().await, Some(ReasonCode::ServerShuttingDown));
    tokio::time::timeout(PATIENCE, serving)
        .await
        .expect("the listener does not end")
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    broker.stop().await;
}

#[tokio::test]
async fn a_reason_reaches_a_client_that_was_still_sending() {
    let broker = Broker::start().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn({
        let (adapter, cancel) = (Arc::clone(&broker.adapter), broker.cancel.clone());
        async move { adapter.serve(listener, cancel).await }
    });
    let mut client = Client::new(TcpStream::connect(address).await.unwrap(), Version::V5);
    client.send(&Packet::Connect(Box::new(connect("client")))).await;
    client.receive().await;
    // A second CONNECT with far more behind it than the platform will read.
    let mut bytes = encoded(&Packet::Connect(Box::new(connect("client"))), Version::V5).to_vec();
    bytes.resize(256 * 1024, 0);
    let _ = client.stream.write_all(&bytes).await;
    assert_eq!(client.goodbye().await, Some(ReasonCode::ProtocolError));
    broker.stop().await;
    serving.await.unwrap();
}
