//! What reaches the services, and how their successes come back.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use trunkline_proto::channels::v1::{ConnectRequest, ConnectResponse, ConnectionType};
use trunkline_proto::clients::v1::{
    Client, CreateClientRequest, ListClientsRequest, ListClientsResponse, Status as ClientStatus,
};
use trunkline_proto::clients::v1::{DeleteClientResponse, EnableClientRequest, UpdateClientRequest};
use trunkline_proto::http::v1::Json;
use trunkline_proto::messages::v1::{Message as Record, ReadMessagesRequest, ReadMessagesResponse};
use trunkline_proto::users::v1::{IssueTokenRequest, Token};

use crate::platform::{CLIENT, DOMAIN, Platform, REQUEST_ID, client, clients, request};

/// What the original's Go tools send when they update or create a client.
fn whole_client() -> Value {
    json!({
        "id": CLIENT, "name": "pump", "tags": ["a"], "domain_id": DOMAIN, "credentials": { "identity": "sn-7", "secret": "12345678" },
        "metadata": { "b": 1, "a": [true] }, "created_at": "0001-01-01T00:00:00Z", "updated_at": "0001-01-01T00:00:00Z",
        "status": "enabled", "permissions": ["read"], "roles": [],
    })
}

#[tokio::test]
async fn a_created_resource_arrives_whole_and_answers_with_its_place() {
    let platform = Platform::answering(&Client {
        id: CLIENT.into(),
        name: Some("pump".into()),
        ..Client::default()
    });
    let answer = platform
        .send(request("POST", &clients(), whole_client().to_string()))
        .await;
    let received: CreateClientRequest = platform.received();
    let client = received.client.unwrap();
    assert_eq!(
        (received.domain_id.as_str(), client.id.as_str(), client.name.as_deref()),
        (DOMAIN, CLIENT, Some("pump"))
    );
    assert_eq!(client.metadata.unwrap().text, r#"{"a":[true],"b":1}"#);
    assert_eq!(client.credentials.unwrap().secret.as_deref(), Some("12345678"));
    assert_eq!(
        (client.domain_id.as_str(), client.status, client.created_at),
        ("", 0, None)
    );
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.headers["location"], format!("/clients/{CLIENT}"));
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["x-request-id"], REQUEST_ID);
    assert_eq!(
        answer.json(),
        json!({ "id": CLIENT, "name": "pump", "tags": [], "domain_id": "" })
    );
}

#[tokio::test]
async fn an_update_changes_the_declared_fields_that_are_present_and_never_a_secret() {
    let platform = Platform::answering(&Client::default());
    let answer = platform
        .send(request("PATCH", &client(), whole_client().to_string()))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let received: UpdateClientRequest = platform.received();
    let mut paths = received.update_mask.unwrap().paths;
    paths.sort();
    assert_eq!(paths, ["metadata", "name"]);
    assert_eq!(received.id, CLIENT);
    assert_eq!(received.client.unwrap().credentials, None);

    platform
        .send(request(
            "PATCH",
            &client(),
            r#"{"name":"","metadata":null,"private_metadata":{}}"#,
        ))
        .await;
    let received: UpdateClientRequest = platform.received();
    assert_eq!(received.update_mask.unwrap().paths, ["name", "private_metadata"]);
    assert_eq!(received.client.unwrap().name.as_deref(), Some(""));
}

#[tokio::test]
async fn the_path_wins_over_the_body() {
    let platform = Platform::answering(&ConnectResponse {});
    let body = json!({ "domain_id": "another", "channel_ids": ["c"], "client_ids": [CLIENT], "types": ["publish", "Subscribe"] });
    let answer = platform
        .send(request(
            "POST",
            &format!("//{DOMAIN}/channels/connect?domain_id=third"),
            body.to_string(),
        ))
        .await;
    let received: ConnectRequest = platform.received();
    assert_eq!(received.domain_id, DOMAIN);
    assert_eq!(
        received.types,
        [ConnectionType::Publish as i32, ConnectionType::Subscribe as i32]
    );
    assert_eq!((answer.status, answer.body.len()), (StatusCode::CREATED, 0));
    assert_eq!(answer.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_query_is_split_before_it_is_decoded_and_unknown_keys_are_ignored() {
    let platform = Platform::answering(&ListClientsResponse::default());
    let query =
        "limit=5&name=a%26b%3Fc+d&order=&status=ALL?roles=true&with_metadata=false&unknown=1&unknown=2&metadata=%7B%7D";
    let answer = platform
        .send(request("GET", &format!("{}?{query}", clients()), ""))
        .await;
    let received: ListClientsRequest = platform.received();
    assert_eq!(
        (received.limit, received.name.as_str(), received.order),
        (5, "a&b?c d", 0)
    );
    assert_eq!(received.status, ClientStatus::All as i32);
    assert_eq!(
        answer.json(),
        json!({ "total": 0, "offset": 0, "limit": 0, "clients": [] })
    );
}

#[tokio::test]
async fn stored_records_are_written_with_their_numbers_and_free_json_as_it_came() {
    let record = Record {
        channel: "c".into(),
        time: 1_276_020_076_001_000_000,
        value: Some(23.1),
        payload: Some(Json {
            text: Bytes::from_static(br#"{"z": 1, "a":1.50}"#),
        }),
        ..Record::default()
    };
    let platform = Platform::answering(&ReadMessagesResponse {
        total: 1,
        messages: vec![record],
        ..ReadMessagesResponse::default()
    });
    let path = format!(
        "/{DOMAIN}/channels/{CLIENT}/messages?from=1276020076000000000&limit=0&created_from=0001-01-01T00%3A00%3A00Z"
    );
    let answer = platform.send(request("GET", &path, "")).await;
    let received: ReadMessagesRequest = platform.received();
    assert_eq!(
        (received.from, received.to, received.channel_id.as_str()),
        (Some(1_276_020_076_000_000_000), None, CLIENT)
    );
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(
        text.contains(r#""time":1276020076001000000,"value":23.1,"payload":{"z": 1, "a":1.50},"#),
        "{text}"
    );
    assert!(
        text.starts_with(r#"{"offset":0,"limit":0,"total":1,"total_is_capped":false,"messages":[{"#),
        "{text}"
    );
}

#[tokio::test]
async fn bodies_of_calls_that_take_none_are_ignored() {
    let platform = Platform::answering(&DeleteClientResponse {});
    let answer = platform
        .send(request("DELETE", &client(), r#"{"parent_group_id":"x"}"#))
        .await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0));
    let platform = Platform::answering(&Client::default());
    let answer = platform
        .send(request("POST", &format!("{}/enable?roles=true", client()), "not json"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(platform.received::<EnableClientRequest>().id, CLIENT);
}

#[tokio::test]
async fn credentials_and_traces_go_on_and_nothing_else_does() {
    let platform = Platform::answering(&ListClientsResponse::default());
    let mut list = request("GET", &clients(), "");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (name, value) in [
        ("authorization", "Client s3cret"),
        ("traceparent", trace),
        ("x-request-id", "mine"),
        ("cookie", "a=b"),
    ] {
        list.headers_mut().insert(name, value.parse().unwrap());
    }
    platform.send(list).await;
    let call = platform.calls.lock().unwrap()[0].clone();
    assert_eq!(call.path, "/trunkline.clients.v1.ClientsService/ListClients");
    assert_eq!(
        (&call.headers["authorization"], &call.headers["traceparent"]),
        (&"Client s3cret".parse().unwrap(), &trace.parse().unwrap())
    );
    let mut names: Vec<&str> = call.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "content-type", "te", "traceparent"]);
}

#[tokio::test]
async fn a_login_answers_as_the_original_does() {
    let token = Token {
        access_token: "jwt".into(),
        refresh_token: None,
        access_type: "user".into(),
    };
    let platform = Platform::answering(&token);
    let answer = platform
        .send(request(
            "POST",
            "/users/tokens/issue",
            r#"{"username":"a","password":"b","description":null}"#,
        ))
        .await;
    assert_eq!(platform.received::<IssueTokenRequest>().password, "b");
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.json(), json!({ "access_token": "jwt", "access_type": "user" }));
}

#[tokio::test]
async fn a_connection_goes_on_after_an_ignored_body_and_head_has_none() {
    let platform = Platform::answering(&DeleteClientResponse {});
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, platform.router.clone()).into_future());
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (delete, list) = (client(), clients());
    let requests = format!(
        "DELETE {delete} HTTP/1.1\r\nhost: edge\r\ncontent-length: 7\r\n\r\n{{\"a\":1}}\
         HEAD {list} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let (first, second) = answers.split_once("\r\n\r\n").unwrap();
    assert!(first.starts_with("HTTP/1.1 204 "), "{first}");
    assert!(
        second.starts_with("HTTP/1.1 200 ") && second.ends_with("\r\n\r\n"),
        "{second}"
    );
    server.abort();
}
