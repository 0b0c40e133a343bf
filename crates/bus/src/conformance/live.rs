//! The suite of [`Live`].

use std::sync::Arc;

use bytes::Bytes;

use super::in_time;
use crate::feed::FeedError;
use crate::live::{LIVE_PAYLOAD_BYTES_MAX, Live, LiveError, News};

/// Names every case of the suite as a test; `$live` is a future of what must live as long as the test and a fresh
/// `Arc<dyn Live>`.
#[macro_export]
macro_rules! live_conformance {
    ($live:expr) => {
        $crate::live_conformance!(@cases $live;
            a_subscription_is_active_when_it_returns, a_prefix_is_whole_tokens, a_listener_that_lags_is_told,
            what_is_no_subject_is_refused
        );
    };
    (@cases $live:expr; $($case:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (_world, live) = $live.await;
            $crate::conformance::live::$case(live).await;
        }
    )+};
}

/// Nothing published after `subscribe` returned is missed.
pub async fn a_subscription_is_active_when_it_returns(live: Arc<dyn Live>) {
    for number in 0..50_u8 {
        let mut feed = live.subscribe("node").await.unwrap();
        live.publish("node.takeover", Bytes::copy_from_slice(&[number]))
            .await
            .unwrap();
        let expected = News {
            subject: "node.takeover".to_owned(),
            payload: Bytes::copy_from_slice(&[number]),
        };
        assert_eq!(in_time("the news", feed.next()).await, Ok(expected));
    }
}

/// `a` covers `a` and `a.b`, not `ab`.
pub async fn a_prefix_is_whole_tokens(live: Arc<dyn Live>) {
    let mut feed = live.subscribe("a").await.unwrap();
    for subject in ["ab", "b.a", "a.b", "a"] {
        live.publish(subject, Bytes::new()).await.unwrap();
    }
    for expected in ["a.b", "a"] {
        assert_eq!(in_time("the news", feed.next()).await.unwrap().subject, expected);
    }
}

/// Bounded, and lag is told.
pub async fn a_listener_that_lags_is_told(live: Arc<dyn Live>) {
    let mut feed = live.subscribe("a").await.unwrap();
    let payload = Bytes::from(vec![0; LIVE_PAYLOAD_BYTES_MAX]);
    for _ in 0..1_000 {
        live.publish("a", payload.clone()).await.unwrap();
    }
    let first = in_time("the news", feed.next()).await;
    assert!(matches!(first, Err(FeedError::Lagged(lost)) if lost > 0), "{first:?}");
    assert!(in_time("the news", feed.next()).await.is_ok());
}

/// A subject cannot smuggle in a wildcard or an empty token.
pub async fn what_is_no_subject_is_refused(live: Arc<dyn Live>) {
    for subject in ["", ".", "a.", "a..b", "a.*", "a.>", "a b", "ä"] {
        let refusal = live.publish(subject, Bytes::new()).await;
        assert_eq!(refusal, Err(LiveError::Subject(subject.to_owned())));
    }
}
