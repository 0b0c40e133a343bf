//! End-to-end scenarios, contract tests and tidy tests of the whole workspace, and the world that the scenarios run in.
//!
//! A [`World`] is a whole platform of its own in the test process: own data folder, free ports, fresh domains. Each scenario runs twice,
//! with the services as function calls of each other and with sockets between them.
//!
//! **Invariants:** nothing of the platform is replaced by a mock; no test waits for a time to pass, only for a condition.

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "all of this is test code")]

mod world;

pub use trunkline::Shape;
pub use world::{Addresses, Device, Domain, PASSWORD, World};

/// Makes two tests of each scenario, `async fn(World)`: `whole`, and `over_sockets` with the services apart.
#[macro_export]
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn whole() {
                super::$name($crate::World::start($crate::Shape::Whole).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_sockets() {
                super::$name($crate::World::start($crate::Shape::WholeOverSockets).await).await;
            }
        }
    )+};
}
