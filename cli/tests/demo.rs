//! What the demo says when there is no platform to show.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use trunkline_cli::{Demo, demo};
use trunkline_testkit::free_dir;

fn flags(address: SocketAddr, password_file: PathBuf) -> Demo {
    Demo {
        email: Some("ada@example.org".to_owned()),
        password_file: Some(password_file),
        url: format!("http://{address}"),
        mqtt: address.to_string(),
        messages: None,
    }
}

/// Runs the demo against a server that gives this one answer.
async fn run_against(answer: &str) -> String {
    let dir = free_dir();
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, "correct horse\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        // The login's body ends in the only `}` of the request.
        while !request.ends_with(b"}") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(demo(flags(address, password_file)), server);
    outcome.unwrap_err().to_string()
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn without_a_platform_the_error_names_the_command_that_starts_one() {
    let dir = free_dir();
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, "x").unwrap();
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = demo(flags(address, password_file)).await.unwrap_err().to_string();
    let expected = format!(
        "no platform answers at http://{address}; start one with `trunkline up`, or give its address with `--url`"
    );
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_wrong_password_is_told_as_one() {
    let error = run_against(&answer("401 Unauthorized", r#"{"message":"nobody known"}"#)).await;
    assert!(
        error.starts_with("the platform does not know this e-mail address with this password"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_the_platform() {
    let error = run_against(&answer(
        "503 Service Unavailable",
        r#"{"message":"too many calls at once"}"#,
    ))
    .await;
    assert_eq!(error, "the platform did not log you in: too many calls at once");
}

#[tokio::test]
async fn another_server_is_told_from_a_platform() {
    for strange in [answer("200 OK", "<html>"), answer("404 Not Found", "nothing here")] {
        let error = run_against(&strange).await;
        assert!(error.contains("answers, but not as a platform does ("), "{error}");
        assert!(error.ends_with("is it the right `--url`?"), "{error}");
    }
}
