//! The contracts themselves: words on everything, a route and a rule on every method, and rules that cannot be written wrong.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "contract/comments.rs"]
mod comments;
#[path = "../proto/build/guards.rs"]
mod guards;
#[path = "contract/options.rs"]
mod options;
#[path = "contract/routes.rs"]
mod routes;
#[path = "contract/rules.rs"]
mod rules;
