//! The peer: async-nats as its documentation has it, publishing the same envelopes into a plain stream of the same server.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::stream;
use async_nats::{ConnectOptions, HeaderMap};
use bytes::Bytes;
use trunkline_bus::NewEntry;
use trunkline_core::{ChannelId, ClientId, DomainId, MessageId};
use trunkline_proto::messages::v1::{Envelope, Protocol, Publisher, PublisherKind};

use crate::Content;

const STREAM: &str = "bench_bare";
const SUBJECT: &str = "bench.bare";
/// Envelopes that are made before the clock runs and are sent in turn, so that making them costs the peer nothing.
const ENVELOPES: usize = 1_024;
/// How long the server keeps ids of messages, as in the streams of the platform.
const IDS_WINDOW: Duration = Duration::from_secs(60);
/// Longest wait for an acknowledgement.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// How many messages were acknowledged, and in what time, with `in_flight` of them under way.
pub(super) async fn run(nats: &str, in_flight: usize, payload_bytes: usize, time: Duration) -> Result<(u64, Duration)> {
    let options = ConnectOptions::with_user_and_password("owner".to_owned(), "owner".to_owned());
    let client = options.connect(nats).await?;
    let jetstream = async_nats::jetstream::new(client);
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![format!("{SUBJECT}.*")],
        duplicate_window: IDS_WINDOW,
        ..stream::Config::default()
    };
    jetstream.create_stream(config).await?;
    let (envelopes, subject) = (envelopes(payload_bytes)?, format!("{SUBJECT}.{}", DomainId::new()));
    let (started, mut sent, mut acks) = (Instant::now(), 0_u64, VecDeque::with_capacity(in_flight));
    while started.elapsed() < time {
        if acks.len() == in_flight {
            acknowledged(acks.pop_front()).await?;
        }
        let mut headers = HeaderMap::new();
        // The server refuses what it has already, as it does for the platform.
        headers.insert("Nats-Msg-Id", MessageId::new().uuid().simple().to_string());
        let envelope = envelopes[sent as usize % ENVELOPES].clone();
        acks.push_back(
            jetstream
                .publish_with_headers(subject.clone(), headers, envelope)
                .await?,
        );
        sent += 1;
    }
    while !acks.is_empty() {
        acknowledged(acks.pop_front()).await?;
    }
    let took = started.elapsed();
    let stored = jetstream.get_stream(STREAM).await?.get_info().await?.state.messages;
    ensure!(
        stored == sent,
        "the bare publisher had {sent} acknowledged and {stored} stored"
    );
    jetstream.delete_stream(STREAM).await?;
    Ok((sent, took))
}

async fn acknowledged(ack: Option<PublishAckFuture>) -> Result<()> {
    let ack = ack.context("there is one")?;
    let answer = tokio::time::timeout(ACK_WAIT, ack).await;
    answer.context("NATS does not acknowledge")??;
    Ok(())
}

/// What the adapter would append, encoded.
fn envelopes(payload_bytes: usize) -> Result<Vec<Bytes>> {
    let [domain, channel, client] = [DomainId::new().uuid(), ChannelId::new().uuid(), ClientId::new().uuid()];
    let id = |id: uuid::Uuid| Bytes::copy_from_slice(id.as_bytes());
    let envelope = |number: usize| {
        let content = Content::new("bare", 0, number as u64, number as u64, payload_bytes);
        let envelope = Envelope {
            id: id(MessageId::new().uuid()),
            domain_id: id(domain),
            channel_id: id(channel),
            publisher: Some(Publisher {
                kind: PublisherKind::Client.into(),
                id: id(client),
                credential_id: id(client),
            }),
            device_id: id(client),
            session_id: id(client),
            protocol: Protocol::Mqtt.into(),
            received_at: 1_700_000_000_000_000_000 + number as i64,
            qos: 1,
            payload: content.payload().into(),
            ..Envelope::default()
        };
        let sealed = NewEntry::seal(envelope, payload_bytes.max(content.payload().len()))?;
        Ok(Bytes::copy_from_slice(sealed.encoded()))
    };
    (0..ENVELOPES).map(envelope).collect()
}
