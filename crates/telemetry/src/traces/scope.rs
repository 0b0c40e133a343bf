//! Which span a task works below. It is the one thing that goes along with a call without being a parameter: everything between an adapter
//! and the transport would have to hand it on, and nothing there decides anything by it.

use std::sync::Arc;

use super::context::TraceContext;
use super::span::{Kind, Parent, Span};
use super::tracer::Recorder;

tokio::task_local! {
    static CURRENT: Option<Scope>;
}

/// A span that work may be recorded below, whether it is still open or not.
#[derive(Debug, Clone)]
pub struct Scope {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) context: TraceContext,
}

/// Runs `work` below `scope`, or below nothing. Tasks that it spawns are below nothing.
pub fn within<Work: Future>(scope: Option<Scope>, work: Work) -> impl Future<Output = Work::Output> {
    CURRENT.scope(scope, work)
}

/// A span below the one that this task works below; `None` when it works below none, and then nobody asks for the name.
pub fn child(kind: Kind, name: impl FnOnce() -> &'static str) -> Option<Span> {
    let scope = CURRENT.try_with(Option::clone).ok()??;
    Some(Span::open(scope.recorder, kind, name(), &Parent::Here(scope.context)))
}
