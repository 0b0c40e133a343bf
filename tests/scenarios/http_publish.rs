//! Publishing by HTTP: who may, what the answers say, and that what was answered by 202 is there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use trunkline_testkit::http::Answer;
use trunkline_tests::{Device, Domain, World, scenarios};
use uuid::Uuid;

scenarios!(
    each_form_of_credentials_publishes_and_the_answer_names_the_message,
    a_content_type_is_kept_and_decides_how_a_message_is_read,
    what_cannot_be_published_is_refused_in_json,
);

/// Bytes of a message that are one too many.
const TOO_LARGE: usize = 256 * 1024 + 1;

async fn boiler(world: &World) -> (Domain, String, Device) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    (plant, channel, device)
}

async fn publish(
    world: &World,
    authorization: &str,
    topic: &str,
    kind: Option<&str>,
    body: impl Into<Vec<u8>>,
) -> Answer {
    let client = world.anonymous().with_authorization(authorization);
    client.send(Method::POST, &format!("/{topic}"), kind, body.into()).await
}

async fn each_form_of_credentials_publishes_and_the_answer_names_the_message(world: World) {
    let (plant, channel, device) = boiler(&world).await;
    let forms = [
        format!("Client {}", device.secret),
        device.secret.clone(),
        format!("Basic {}", STANDARD.encode(format!("{}:{}", device.id, device.secret))),
    ];
    let mut last_sequence = 0;
    let mut accepted = Vec::new();
    for form in &forms {
        for topic in [plant.topic(&channel), "m/plant/c/boiler".to_owned()] {
            let answer = publish(&world, form, &format!("{topic}/a/b%20c"), None, r#"{"a":1}"#)
                .await
                .expect(202);
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let body = answer.json();
            assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
            assert_eq!(body["tier"], world.tier().await);
            let sequence = body["sequence"].as_u64().unwrap();
            assert!(sequence > last_sequence, "{body} after {last_sequence}");
            last_sequence = sequence;
            accepted.push(body["message_id"].as_str().unwrap().parse::<Uuid>().unwrap());
        }
    }
    let mut stored = plant.stored(&channel, accepted.len()).await;
    stored.reverse();
    for (record, message_id) in stored.iter().zip(accepted) {
        assert_eq!(record["message_id"], json!(message_id));
        assert_eq!(record["subtopic"], "a/b c");
        assert_eq!(record["publisher"], json!(device.id));
        assert_eq!(record["protocol"], "http");
        assert_eq!(record["payload"], json!({ "a": 1 }));
    }
    world.stop().await;
}

async fn a_content_type_is_kept_and_decides_how_a_message_is_read(world: World) {
    let (plant, channel, device) = boiler(&world).await;
    let secret = format!("Client {}", device.secret);
    let pack = r#"[{"n":"a","u":"Cel","v":1.5}]"#;
    for (level, content_type, body) in [
        ("senml", "application/senml+json", pack),
        ("parameters", "application/senml+json; charset=utf-8", pack),
        ("text", "text/plain", pack),
        ("broken", "application/senml+json", "{"),
        ("picture", "image/png", "\u{1}"),
    ] {
        let topic = format!("{}/{level}", plant.topic(&channel));
        publish(&world, &secret, &topic, Some(content_type), body)
            .await
            .expect(202);
        let record = trunkline_testkit::until_some(std::time::Duration::from_secs(10), async || {
            plant.records(&channel, &format!("&subtopic={level}")).await.pop()
        })
        .await;
        assert_eq!(record["content_type"], content_type, "{record}");
        let is_resolved = body == pack;
        assert_eq!(record.get("value"), is_resolved.then_some(&json!(1.5)), "{record}");
        let data = json!(STANDARD.encode(body));
        assert_eq!(record.get("data_value"), (!is_resolved).then_some(&data), "{record}");
        assert_eq!(record.get("decode_error").is_some(), level == "broken", "{record}");
    }
    world.stop().await;
}

async fn what_cannot_be_published_is_refused_in_json(world: World) {
    let (plant, channel, device) = boiler(&world).await;
    let (topic, secret) = (plant.topic(&channel), format!("Client {}", device.secret));
    let too_large = publish(&world, &secret, &topic, None, vec![b'x'; TOO_LARGE]).await;
    assert_refused(&too_large, 413);
    assert_refused(&publish(&world, &secret, &topic, None, "").await, 400);
    assert_refused(&publish(&world, "Bearer token", &topic, None, "x").await, 401);
    let client = world.anonymous().with_authorization(&secret);
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
        let answer = client.send(method.clone(), &format!("/{topic}"), None, "x").await;
        assert_refused(&answer, 405);
        let allowed = answer.header("allow").unwrap_or_default();
        assert!(
            allowed.split(',').any(|other| other.trim() == "POST"),
            "{method}: {allowed}"
        );
    }
    publish(&world, &secret, &topic, None, vec![b'x'; TOO_LARGE - 1])
        .await
        .expect(202);
    let stored = plant.stored(&channel, 1).await;
    assert_eq!(stored.len(), 1, "only what was answered by 202 is kept");
    let kept = stored[0]["data_value"].as_str().unwrap();
    assert_eq!(STANDARD.decode(kept).unwrap().len(), TOO_LARGE - 1);
    world.stop().await;
}

fn assert_refused(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body: Value = answer.json();
    for field in ["message", "error", "code", "reason", "request_id"] {
        assert!(
            body[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field} of {body}"
        );
    }
}
