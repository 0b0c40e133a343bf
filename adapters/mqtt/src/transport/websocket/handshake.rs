//! The request that becomes a WebSocket (RFC 6455 section 4.2): who may have one, and the answer.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use sha1::{Digest as _, Sha1};

/// The sub-protocol, which a client must offer (MQTT 5 section 6).
const PROTOCOL: &str = "mqtt";
/// The version of RFC 6455.
const VERSION: &str = "13";
/// What the key is joined with (RFC 6455 section 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes that a key stands for.
const KEY_BYTES: usize = 16;

/// The web pages whose scripts may connect, by their origin. Who sends no origin is no web page and may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    listed: Vec<String>,
}

impl Origins {
    /// These, such as `https://app.example`, or `*` for all, besides pages of the host that is asked.
    ///
    /// # Errors
    /// One sentence about a text that is no origin.
    pub fn parse(listed: &[String]) -> Result<Self, String> {
        for origin in listed.iter().filter(|origin| *origin != "*") {
            let host = origin.split_once("://").map(|(_, host)| host).unwrap_or_default();
            if host.is_empty() || host.contains(['/', '*', '@', ' ']) {
                return Err(format!(
                    "`{origin}` is no origin; `https://app.example` is an example, and `*` is all"
                ));
            }
        }
        let listed = listed.iter().map(|origin| origin.to_ascii_lowercase()).collect();
        Ok(Self { listed })
    }

    fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let origin = origin.as_bytes().to_ascii_lowercase();
        let host = headers.get(HOST).map(|host| host.as_bytes().to_ascii_lowercase());
        let is_own = origin
            .split(|byte| *byte == b'/')
            .next_back()
            .is_some_and(|authority| host.as_deref() == Some(authority));
        let is_listed = |listed: &String| listed == "*" || listed.as_bytes() == origin;
        is_own || self.listed.iter().any(is_listed)
    }
}

/// The answer to a request: 101, after which its connection is a WebSocket, or why it does not become one.
pub(super) fn answer<B>(request: &Request<B>, origins: &Origins) -> Response<String> {
    match accept(request, origins) {
        Ok(accept) => {
            let mut answer = Response::new(String::new());
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = answer.headers_mut();
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            answer
        }
        Err(answer) => *answer,
    }
}

/// Refuses a request in words, and with a header if that says more.
pub(super) fn refuse(status: StatusCode, why: &str, header: Option<(HeaderName, &'static str)>) -> Response<String> {
    let mut answer = Response::new(format!("{why}\n"));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    if let Some((name, value)) = header {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// The proof that the request was understood.
fn accept<B>(request: &Request<B>, origins: &Origins) -> Result<HeaderValue, Box<Response<String>>> {
    let headers = request.headers();
    let refused = |status, why, header| Err(Box::new(refuse(status, why, header)));
    if request.method() != Method::GET {
        let why = "a WebSocket begins with GET";
        return refused(StatusCode::METHOD_NOT_ALLOWED, why, Some((http::header::ALLOW, "GET")));
    }
    let is_upgrade = has_word(headers, &UPGRADE, |word| word.eq_ignore_ascii_case("websocket"))
        && has_word(headers, &CONNECTION, |word| word.eq_ignore_ascii_case("upgrade"));
    if !is_upgrade || request.version() != Version::HTTP_11 {
        let why = "here is MQTT over WebSocket, which is asked for over HTTP/1.1";
        return refused(StatusCode::UPGRADE_REQUIRED, why, Some((UPGRADE, "websocket")));
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        let why = "the version of WebSocket here is 13";
        return refused(
            StatusCode::UPGRADE_REQUIRED,
            why,
            Some((SEC_WEBSOCKET_VERSION, VERSION)),
        );
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
    let Some(key) = key else {
        return refused(
            StatusCode::BAD_REQUEST,
            "Sec-WebSocket-Key is not 16 bytes in base64",
            None,
        );
    };
    if !has_word(headers, &SEC_WEBSOCKET_PROTOCOL, |word| word == PROTOCOL) {
        let why = "the sub-protocol here is mqtt; offer it in Sec-WebSocket-Protocol";
        return refused(StatusCode::BAD_REQUEST, why, None);
    }
    if !origins.admit(headers) {
        let why = "pages of this origin may not connect; the operator may list it under [mqtt.websocket]";
        return refused(StatusCode::FORBIDDEN, why, None);
    }
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let accept = HeaderValue::try_from(BASE64_STANDARD.encode(digest));
    Ok(accept.expect("base64 is valid in a header"))
}

/// The text of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether one of the words of a header, which commas separate, is wanted.
fn has_word(headers: &HeaderMap, name: &HeaderName, is_wanted: impl Fn(&str) -> bool) -> bool {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut words = texts.flat_map(|text| text.split(',')).map(str::trim);
    words.any(is_wanted)
}

fn is_key(key: &str) -> bool {
    BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}
