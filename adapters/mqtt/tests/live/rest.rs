//! What a client costs that says nothing: most of them, most of the time.

use super::greedy::{is_alone, resident_bytes};
use super::*;

/// What a connection may cost whose client was admitted, has one subscription and is silent, beside the kernel's part.
const REST_BYTES_MAX: usize = 6_000;
/// Clients that have come before the memory is looked at for the first time, and those that come then.
const CLIENTS_BEFORE: usize = 60;
const CLIENTS: usize = 360;

/// Clients with a subscription of their own, of which nothing but their sockets is left on this side.
async fn clients(address: SocketAddr, numbers: Range<usize>) -> Vec<std::net::TcpStream> {
    let mut streams = Vec::new();
    for number in numbers {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut client = Client::connected(stream, Version::V3, connect(&format!("thermometer-{number}"))).await;
        let filter = format!("buildings/17/floors/3/thermometers/{number}/settings");
        client.subscribe(&filter, QoS::AtLeastOnce).await;
        streams.push(client.stream.into_std().unwrap());
    }
    streams
}

#[tokio::test]
async fn a_client_at_rest_costs_less_than_six_kilobytes() {
    let broker = Broker::start().await;
    let address = broker.listen(Listener::from).await;
    let first = clients(address, 0..CLIENTS_BEFORE).await;
    let before = resident_bytes();
    let second = clients(address, CLIENTS_BEFORE..CLIENTS_BEFORE + CLIENTS).await;
    let each = resident_bytes().saturating_sub(before) / CLIENTS;
    println!("a client at rest costs {each} bytes");
    if is_alone() {
        assert!(each < REST_BYTES_MAX, "{each} bytes");
    }
    drop((first, second));
    broker.stop().await;
}
