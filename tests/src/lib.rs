//! End-to-end scenarios, contract tests and tidy tests of the whole workspace, and the world that the scenarios run in.
//!
//! A [`World`] is a platform of its own in the test process: own storage, free ports, fresh domains. Each scenario runs three times: whole,
//! whole with sockets between its services, and split into processes on Postgres and NATS.
//!
//! **Invariants:** nothing of the platform is replaced by a mock; no test waits for a time to pass, only for a condition.

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "all of this is test code")]

mod platform;
mod split;
mod world;

pub use platform::PASSWORD;
pub use split::{nats_settings, nats_user};
pub use trunkline::{Role, Shape};
pub use world::{Addresses, Device, Domain, World};

/// Makes three tests of each scenario, `async fn(World)`: `whole`, `over_sockets` with the services apart, and `split`. None is exempt.
#[macro_export]
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            $crate::scenario!($name whole Whole);
            $crate::scenario!($name over_sockets WholeOverSockets);
            $crate::scenario!($name split Split);
        })+
    };
}

/// One scenario in one shape.
#[macro_export]
macro_rules! scenario {
    ($name:ident $shape:ident $Shape:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $shape() {
            super::$name($crate::World::start($crate::Shape::$Shape).await).await;
        }
    };
}
