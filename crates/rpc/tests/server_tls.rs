//! TLS towards the outside: what is shown, who is let in, and what a stranger can make it hold.

#![allow(
    clippy::unwrap_used,
    reason = "a test says that something does not hold by panicking"
)]

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use trunkline_rpc::ServerTls;
use trunkline_rpc::server_tls::{ClientCertificate, HANDSHAKE_BYTES_MAX, TlsFiles};
use trunkline_testkit::{Authority, Certificate};

/// A time far away.
const NEVER: &str = "20990101000000Z";

fn files(own: &Certificate) -> TlsFiles {
    TlsFiles {
        certificate: own.certificate.clone(),
        key: own.key.clone(),
        client_authority: None,
        client_certificate: ClientCertificate::Required,
        client_revocations: None,
    }
}

/// Has one client connect and say something; gives the certificate that it was shown.
async fn meet(tls: &ServerTls, client: &TlsConnector) -> std::io::Result<Vec<u8>> {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from("localhost").unwrap();
    let speaking = async {
        let mut stream = client.connect(name, near).await?;
        stream.write_all(b"?").await?;
        // With TLS 1.3 a client learns only now whether it was let in.
        stream.read_u8().await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap();
        Ok::<_, std::io::Error>(shown[0].to_vec())
    };
    let answering = async {
        let mut stream = tls.accept(far).await?;
        stream.read_u8().await?;
        stream.write_all(b"!").await?;
        stream.flush().await
    };
    let (shown, answered) = tokio::join!(speaking, answering);
    answered?;
    shown
}

#[tokio::test]
async fn a_client_without_a_certificate_of_the_authority_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let own = ours.issue_for_localhost();
    let required = TlsFiles {
        client_authority: Some(ours.file()),
        ..files(&own)
    };
    let optional = TlsFiles {
        client_certificate: ClientCertificate::Optional,
        ..required.clone()
    };
    let required = ServerTls::open(required, &[]).unwrap();
    let optional = ServerTls::open(optional, &[]).unwrap();
    let friend = ours.connector(Some(&ours.issue("friend", "DNS:friend")));
    let stranger = ours.connector(Some(&theirs.issue("stranger", "DNS:friend")));
    let nobody = ours.connector(None);
    assert!(meet(&required, &friend).await.is_ok() && meet(&optional, &friend).await.is_ok());
    assert!(meet(&required, &stranger).await.is_err() && meet(&optional, &stranger).await.is_err());
    assert!(meet(&required, &nobody).await.is_err());
    assert!(meet(&optional, &nobody).await.is_ok());
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_a_lapsed_list_admits_nobody() {
    let authority = Authority::new();
    let own = authority.issue_for_localhost();
    let (good, bad) = (authority.issue("good", "DNS:good"), authority.issue("bad", "DNS:bad"));
    let listed = TlsFiles {
        client_authority: Some(authority.file()),
        client_revocations: Some(authority.revoke(&[&bad], NEVER)),
        ..files(&own)
    };
    let tls = ServerTls::open(listed, &[]).unwrap();
    let (good, bad) = (authority.connector(Some(&good)), authority.connector(Some(&bad)));
    meet(&tls, &good).await.unwrap();
    assert!(meet(&tls, &bad).await.is_err());

    let _lapsed = authority.revoke(&[], "20200102000000Z");
    assert!(tls.reload().unwrap());
    assert!(meet(&tls, &good).await.is_err());
}

#[tokio::test]
async fn who_must_show_a_certificate_is_given_no_way_around_it() {
    let authority = Authority::new();
    let own = authority.issue_for_localhost();
    let client = authority.issue("client", "DNS:client");
    let asking = TlsFiles {
        client_authority: Some(authority.file()),
        ..files(&own)
    };
    let connector = authority.connector(Some(&client));
    let (near, far) = duplex(64 * 1024);
    let tls = ServerTls::open(asking, &[]).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let (connected, accepted) = tokio::join!(connector.connect(name, near), tls.accept(far));
    let (mut client, mut server) = (connected.unwrap(), accepted.unwrap());
    server.write_all(b"!").await.unwrap();
    server.flush().await.unwrap();
    client.read_u8().await.unwrap();
    assert_eq!(client.get_ref().1.tls13_tickets_received(), 0);
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_the_next_client_and_a_broken_one_to_none() {
    let authority = Authority::new();
    let own = authority.issue_for_localhost();
    let tls = ServerTls::open(files(&own), &[]).unwrap();
    let first = meet(&tls, &authority.connector(None)).await.unwrap();
    assert!(!tls.reload().unwrap(), "nothing was replaced");

    let certificate = std::fs::read(&own.certificate).unwrap();
    let _ = authority.issue_for_localhost();
    assert!(tls.reload().unwrap());
    let second = meet(&tls, &authority.connector(None)).await.unwrap();
    assert_ne!(first, second);

    // The certificate of before does not fit the key of now.
    std::fs::write(&own.certificate, certificate).unwrap();
    assert!(tls.reload().is_err());
    assert!(!tls.reload().unwrap(), "a fault is told once");
    std::fs::remove_file(&own.certificate).unwrap();
    assert!(!tls.reload().unwrap());
    assert_eq!(meet(&tls, &authority.connector(None)).await.unwrap(), second);
}

#[tokio::test]
async fn a_stranger_can_make_a_handshake_hold_no_more_than_its_budget() {
    let authority = Authority::new();
    let tls = Arc::new(ServerTls::open(files(&authority.issue_for_localhost()), &[]).unwrap());
    let (mut near, far) = duplex(1024);
    let accepting = tokio::spawn(async move { tls.accept(far).await.map(drop) });
    // A ClientHello that says to be nearly 64 KiB long, in records of 16 KiB.
    let mut sent = 0;
    let mut hello = vec![1, 0, 0xff, 0x00, 3, 3];
    hello.resize(0xff00, 0x61);
    'sending: for record in hello.chunks(16 * 1024) {
        let length = u16::try_from(record.len()).unwrap().to_be_bytes();
        let record = [&[22, 3, 1], length.as_slice(), record].concat();
        for piece in record.chunks(512) {
            if near.write_all(piece).await.is_err() {
                break 'sending;
            }
            sent += piece.len();
        }
    }
    drop(near);
    assert!(accepting.await.unwrap().is_err());
    assert!(sent <= HANDSHAKE_BYTES_MAX + 8 * 1024, "{sent} bytes were taken");
}
