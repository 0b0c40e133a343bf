//! What the edge refuses itself, and how the services' failures come back.

use axum::body::Body as HttpBody;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tonic::Status;
use tonic::body::Body;
use tower::{ServiceExt as _, service_fn};
use trunkline_core::error::{Code, Fault, FieldViolation, reason};
use trunkline_gateway::{Config, router};
use trunkline_proto::clients::v1::{Client, ListClientsResponse};
use trunkline_rpc::{Transport, status};

use crate::platform::{Platform, REQUEST_ID, client, clients, request};

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
