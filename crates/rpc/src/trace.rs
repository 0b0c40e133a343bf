//! Traces of calls: a call that is made within something recorded carries a `traceparent`, and whoever serves it records below that.

use http::{HeaderMap, HeaderValue, Request};
use trunkline_core::error::Code;
use trunkline_proto::guards::METHODS;
use trunkline_telemetry::Tracer;
use trunkline_telemetry::traces::{Kind, Span, TRACEPARENT, TRACESTATE, TraceContext, child, traceparent_of};

use crate::status;

/// What a call from outside brought along as its trace. Without this mark a call is the platform's own, and its trace is believed.
#[derive(Clone)]
pub(crate) struct FromOutside(Option<HeaderValue>);

/// Takes what a call from outside says of its trace out of its headers, so that it goes no further by itself.
pub(crate) fn mark_outside<B>(request: &mut Request<B>) {
    let said = traceparent_of(request.headers()).and_then(|value| HeaderValue::from_str(value).ok());
    let headers = request.headers_mut();
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
    request.extensions_mut().insert(FromOutside(said));
}

/// The span of a call that is served, if it is recorded.
pub(crate) fn serving<B>(tracer: &Tracer, request: &Request<B>, method: &'static str) -> Option<Span> {
    match request.extensions().get::<FromOutside>() {
        Some(FromOutside(said)) => tracer.admit(Kind::Server, name_of(method), || said.as_ref()?.to_str().ok()),
        None => {
            let caller = traceparent_of(request.headers()).and_then(TraceContext::parse)?;
            tracer.follow(Kind::Server, name_of(method), caller)
        }
    }
}

/// The span of a call that is made, if it is made within something recorded; the callee then knows of it.
pub(crate) fn calling<B>(request: &mut Request<B>) -> Option<Span> {
    let span = child(Kind::Client, || name_of(known_method(request.uri().path())))?;
    if let Ok(value) = HeaderValue::try_from(span.context().to_string()) {
        request.headers_mut().insert(TRACEPARENT, value);
    }
    Some(span)
}

/// Says in a call's span how it was answered.
pub(crate) fn answered(span: &mut Span, answer: &HeaderMap) {
    let number = status::number_of(answer);
    span.number("rpc.grpc.status_code", number.into());
    let code = Code::from_grpc(number);
    // What the caller did wrong is no failure of the call.
    let is_failure = matches!(
        code,
        Code::DeadlineExceeded | Code::Unimplemented | Code::Internal | Code::Unavailable
    );
    if number != 0 && is_failure {
        span.fail(code.name());
    }
}

/// The path as the contracts spell it, so that callers cannot make labels and names up.
pub(crate) fn known_method(path: &str) -> &'static str {
    METHODS
        .iter()
        .find(|method| method.path == path)
        .map_or("other", |method| method.path)
}

/// `package.Service/Method`, as names of spans are by custom.
fn name_of(method: &'static str) -> &'static str {
    method.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::any;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    use trunkline_telemetry::Metrics;
    use trunkline_telemetry::traces::{Config, Resource};

    use super::*;
    use crate::stack;

    const SAID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    /// Calls a service behind the layers of `enter` and the inner ones, and tells the `traceparent` of what it calls in its turn; empty
    /// when nothing is recorded.
    async fn carried_on(sampling_ratio: f64, enter: fn(Router) -> Router, said: Option<&str>) -> String {
        let config = Config {
            otlp_endpoint: Some("http://127.0.0.1:1".to_owned()),
            sampling_ratio,
            ..Config::default()
        };
        let metrics = Metrics::new();
        let (tracer, _export) = Tracer::open(&config, &Resource::default(), &metrics).unwrap();
        let service = async || {
            let mut onward = Request::new(());
            let _span = calling(&mut onward);
            traceparent_of(onward.headers()).unwrap_or_default().to_owned()
        };
        let router = Router::new().route("/", any(service));
        let mut request = Request::builder().uri("/");
        if let Some(said) = said {
            request = request.header(TRACEPARENT, said);
        }
        let router = enter(stack::inner(router, &metrics, &tracer));
        let answer = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.into()).unwrap()
    }

    #[tokio::test]
    async fn a_call_from_outside_is_in_its_own_trace_and_cannot_have_itself_recorded() {
        assert_eq!(carried_on(0.0, stack::outer, Some(SAID)).await, "");
        assert!(carried_on(1.0, stack::outer, Some(SAID)).await.contains(TRACE));
        let own = carried_on(1.0, stack::outer, Some("00-nonsense")).await;
        assert!(own.ends_with("-01") && !own.contains(TRACE), "{own}");
    }

    #[tokio::test]
    async fn a_call_of_the_platform_is_recorded_if_and_only_if_its_caller_is() {
        let unsampled = SAID.replace("-01", "-00");
        let carried = carried_on(0.0, |router| router, Some(SAID)).await;
        assert!(
            carried.contains(TRACE) && !carried.contains("b7ad6b7169203331"),
            "{carried}"
        );
        assert_eq!(carried_on(1.0, |router| router, Some(&unsampled)).await, "");
        assert_eq!(carried_on(1.0, |router| router, None).await, "");
    }
}
