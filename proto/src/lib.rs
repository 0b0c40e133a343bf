//! The contracts of Trunkline: messages, clients, servers and guards, all generated from the protos in this folder.
//!
//! Owns the words that services speak to each other and to the world. A `.proto` holds the RPC, its HTTP route, its authorization
//! rule and its words; nothing of that is written a second time.
//!
//! **Invariants:** generated code is never checked in; a method without a rule does not build; this crate depends on no other of
//! the workspace.

pub mod guard;

/// The encoded descriptors of every contract, with options and comments, as protox wrote them.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! packages {
    ($($area:ident),+) => {$(
        #[doc = concat!("The package `trunkline.", stringify!($area), "`.")]
        pub mod $area {
            /// Version 1.
            #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::nursery)]
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/trunkline.", stringify!($area), ".v1.rs"));
            }
        }
    )+};
}

packages!(auth, authz, channels, clients, domains, events, http, messages, users);

/// The guards of every service, and the rules of their methods.
pub mod guards {
    include!(concat!(env!("OUT_DIR"), "/guards.rs"));
}
