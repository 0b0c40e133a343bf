//! The edge from outside: HTTP in, what reaches the services behind it, and how their answers come back.
//!
//! Behind the edge stands a transport that takes gRPC frames apart, shows what arrived, and answers as told.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use axum::body::Body as HttpBody;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use serde_json::{Value, json};
use tonic::Status;
use tonic::body::Body;
use tower::{ServiceExt as _, service_fn};
use trunkline_core::error::{Code, Fault, FieldViolation, reason};
use trunkline_gateway::{Config, router};
use trunkline_proto::channels::v1::{ConnectRequest, ConnectResponse, ConnectionType};
use trunkline_proto::clients::v1::{
    Client, CreateClientRequest, ListClientsRequest, ListClientsResponse, Status as ClientStatus,
};
use trunkline_proto::clients::v1::{DeleteClientResponse, EnableClientRequest, UpdateClientRequest};
use trunkline_proto::http::v1::Json;
use trunkline_proto::messages::v1::{Message as Record, ReadMessagesRequest, ReadMessagesResponse};
use trunkline_proto::users::v1::{IssueTokenRequest, Token};
use trunkline_rpc::{Transport, status};

const DOMAIN: &str = "0193a0f0-0000-7000-8000-000000000001";
const CLIENT: &str = "0193a0f0-0000-7000-8000-000000000002";
const REQUEST_ID: &str = "0193a0f0-0000-7000-8000-0000000000ff";

/// A call as it arrived behind the edge.
#[derive(Debug, Clone)]
struct Call {
    path: String,
    headers: HeaderMap,
    message: Bytes,
}

/// The edge before a platform that answers every call alike.
struct Platform {
    router: axum::Router,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Platform {
    fn answering(message: &impl Message) -> Self {
        Self::with(Ok(message.encode_to_vec()))
    }

    fn failing(status: Status) -> Self {
        Self::with(Err(status))
    }

    fn with(outcome: Result<Vec<u8>, Status>) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let transport = Transport::new(service_fn(move |request: Request<Body>| {
            let (seen, outcome) = (seen.clone(), outcome.clone());
            async move {
                let (head, body) = request.into_parts();
                let frame = body.collect().await.unwrap().to_bytes();
                let length = u32::from_be_bytes(frame[1..5].try_into().unwrap());
                assert_eq!((frame[0], length as usize), (0, frame.len() - 5));
                let call = Call {
                    path: head.uri.path().to_owned(),
                    headers: head.headers,
                    message: frame.slice(5..),
                };
                seen.lock().unwrap().push(call);
                Ok::<_, Status>(answer(outcome))
            }
        }));
        Self {
            router: router(&Config::default(), transport).unwrap(),
            calls,
        }
    }

    async fn send(&self, request: Request<HttpBody>) -> Answer {
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// The message that the last call carried.
    fn received<M: Message + Default>(&self) -> M {
        M::decode(
            self.calls
                .lock()
                .unwrap()
                .last()
                .expect("no call arrived")
                .message
                .clone(),
        )
        .unwrap()
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

/// A gRPC answer: a frame and trailers, or trailers alone.
fn answer(outcome: Result<Vec<u8>, Status>) -> Response<Body> {
    let mut response = match outcome {
        Ok(message) => {
            let mut frame = BytesMut::new();
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).unwrap());
            frame.put_slice(&message);
            let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            Response::new(Body::new(
                Full::new(frame.freeze()).with_trailers(async move { Some(Ok(trailers)) }),
            ))
        }
        Err(status) => status.into_http(),
    };
    response
        .headers_mut()
        .insert("x-request-id", REQUEST_ID.parse().unwrap());
    response
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

fn request(verb: &str, path: &str, body: impl Into<HttpBody>) -> Request<HttpBody> {
    Request::builder()
        .method(verb)
        .uri(path)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

fn clients() -> String {
    format!("/{DOMAIN}/clients")
}

fn client() -> String {
    format!("/{DOMAIN}/clients/{CLIENT}")
}

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
async fn an_update_refuses_unknown_fields_by_name() {
    let platform = Platform::answering(&Client::default());
    let answer = platform.send(request("PATCH", &client(), r#"{"nmae":"x"}"#)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.json()["fields"],
        json!([{ "field": "nmae", "description": "unknown field" }])
    );
    assert_eq!(platform.calls(), 0);
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
async fn a_query_that_is_wrong_is_refused_by_name() {
    let platform = Platform::answering(&ListClientsResponse::default());
    for (query, field, description) in [
        ("limit=ten", "limit", "must be a whole number, not negative, of 64 bits"),
        ("limit=1&limit=2", "limit", "is given twice in the query"),
        ("status=gone", "status", "must be one of enabled, disabled, all"),
        ("name=%ff", "name", "is not percent-encoded UTF-8"),
    ] {
        let answer = platform
            .send(request("GET", &format!("{}?{query}", clients()), ""))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(
            answer.json()["fields"],
            json!([{ "field": field, "description": description }]),
            "{query}"
        );
    }
    assert_eq!(platform.calls(), 0);
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
async fn a_body_must_be_json_of_bounded_size_and_say_so() {
    let platform = Platform::answering(&Client::default());
    let post = |content_type: Option<&str>, body: HttpBody| {
        let mut request = Request::builder().method("POST").uri(clients());
        if let Some(content_type) = content_type {
            request = request.header("content-type", "").header("content-type", content_type);
        }
        request.body(body).unwrap()
    };
    let large = "x".repeat((1 << 20) + 1);
    let chunks = futures_util::stream::iter(
        [600 << 10; 2].map(|length| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; length]))),
    );
    let json = Some("application/json");
    for (request, status, reason) in [
        (post(None, "{}".into()), 415, reason::UNSUPPORTED_MEDIA_TYPE),
        (
            post(Some("text/plain"), "{}".into()),
            415,
            reason::UNSUPPORTED_MEDIA_TYPE,
        ),
        (post(json, large.into()), 413, reason::PAYLOAD_TOO_LARGE),
        (
            post(json, HttpBody::from_stream(chunks)),
            413,
            reason::PAYLOAD_TOO_LARGE,
        ),
        (post(json, HttpBody::empty()), 400, "INVALID_JSON"),
        (post(json, "{\"name\":".into()), 400, "INVALID_JSON"),
        (
            post(json, b"{\"metadata\":{\"a\":\"\xff\"}}".to_vec().into()),
            400,
            "INVALID_JSON",
        ),
        (post(json, "{\"name\":1}".into()), 400, reason::INVALID_FIELD),
    ] {
        let answer = platform.send(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["reason"].as_str().unwrap()),
            (status, reason)
        );
        assert!(
            answer.json()["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
        assert_eq!(
            answer.json()["request_id"],
            answer.headers["x-request-id"].to_str().unwrap()
        );
    }
    assert_eq!(platform.calls(), 0);
    let sent = platform
        .send(post(Some("Application/JSON; charset=utf-8"), "{}".into()))
        .await;
    assert_eq!(sent.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let transport = Transport::new(service_fn(|_| async {
        Err::<Response<Body>, _>(Status::internal("was called"))
    }));
    let config = Config {
        body_wait_ms: 10,
        ..Config::default()
    };
    let request = request(
        "POST",
        &clients(),
        HttpBody::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>()),
    );
    let response = router(&config, transport).unwrap().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_method_that_no_service_has_is_501() {
    let nobody = trunkline_rpc::transport::in_process(tonic::service::Routes::default().into_axum_router());
    let router = router(&Config::default(), nobody).unwrap();
    let response = router.oneshot(request("GET", &clients(), "")).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap()["reason"],
        "UNIMPLEMENTED"
    );
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_answer_in_json() {
    let platform = Platform::answering(&Client::default());
    for (verb, path, status, allow) in [
        ("GET", "/nowhere", 404, None),
        ("GET", "/", 404, None),
        ("GET", "/factory/clients", 404, None),
        ("DELETE", &format!("{}/", clients()), 404, None),
        ("PUT", &clients(), 405, Some("GET, HEAD, OPTIONS, POST")),
        ("POST", "/openapi.json", 405, Some("GET,HEAD")),
    ] {
        let answer = platform.send(request(verb, path, "")).await;
        assert_eq!(answer.status.as_u16(), status, "{verb} {path}");
        assert!(
            answer.json()["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{verb} {path}"
        );
        assert_eq!(
            answer.headers.get("allow").map(|allow| allow.to_str().unwrap()),
            allow,
            "{verb} {path}"
        );
    }
    let answer = platform.send(request("OPTIONS", &client(), "")).await;
    assert_eq!(
        (answer.status, &answer.headers["allow"]),
        (
            StatusCode::NO_CONTENT,
            &"DELETE, GET, HEAD, OPTIONS, PATCH".parse().unwrap()
        )
    );
    assert_eq!(platform.calls(), 0);
    let answer = platform.send(request("GET", "/openapi.json", "")).await;
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

#[tokio::test]
async fn every_fault_answers_with_the_status_of_the_one_table_and_the_same_words() {
    let reasons = [reason::NOT_AUTHORIZED, reason::LOG_FULL, reason::REVOCATION_PENDING];
    for (code, reason) in Code::ALL
        .into_iter()
        .flat_map(|code| reasons.map(|reason| (code, reason)))
    {
        let mut fault = Fault::new(code, reason, "the words: of \"the\" service, ü");
        fault.fields.push(FieldViolation {
            field: "limit".into(),
            description: "is wrong".into(),
        });
        let platform = Platform::failing(status::from_fault(
            fault.retry_after(std::time::Duration::from_millis(1_200)),
        ));
        let answer = platform.send(request("GET", &clients(), "")).await;
        assert_eq!(answer.status.as_u16(), code.http(reason), "{code:?} {reason}");
        let expected = json!({
            "message": "the words: of \"the\" service, ü", "error": reason.to_lowercase().replace('_', " "), "code": code.name(),
            "reason": reason, "request_id": REQUEST_ID, "fields": [{ "field": "limit", "description": "is wrong" }],
        });
        assert_eq!(answer.json(), expected, "{code:?}");
        assert_eq!(answer.headers["retry-after"], "2");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(
            answer.headers.contains_key("www-authenticate"),
            answer.status == StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test]
async fn a_violation_is_named_as_the_http_caller_wrote_it() {
    let platform = Platform::failing(status::from_fault(Fault::invalid(
        "client.credentials.secret",
        "is too short",
    )));
    let answer = platform.send(request("POST", &clients(), "{}")).await;
    assert_eq!(answer.json()["message"], "credentials.secret: is too short");
    assert_eq!(answer.json()["fields"][0]["field"], "credentials.secret");
}

#[tokio::test]
async fn what_libraries_say_of_defects_stays_inside() {
    for (status, http, reason) in [
        (Status::internal("sqlx: no such column"), 500, reason::INTERNAL),
        (Status::unknown("h2: broken pipe"), 500, reason::INTERNAL),
        (
            Status::unavailable("tcp connect error 10.0.0.1"),
            503,
            reason::DEPENDENCY_UNAVAILABLE,
        ),
    ] {
        let inside = status.message().to_owned();
        let answer = Platform::failing(status).send(request("GET", &clients(), "")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["reason"].as_str()),
            (http, Some(reason))
        );
        assert!(!String::from_utf8_lossy(&answer.body).contains(&inside), "{inside}");
    }
}
