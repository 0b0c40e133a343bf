//! How services reach each other and are reached: transports, the hub, identities, the server stack and its guard.
//!
//! Owns what every call has in common, near or far: request id, trace, deadline, retry, panic, peer and caller. Decides nothing about
//! products: who may do what is in the contracts, and the answer comes from [`Authorizer`].
//!
//! **Invariants:** a call's peer and its caller are never confused: the peer is stamped by the transport or proven by a signed
//! token, the caller is an original token that is checked again by whoever is called; an internal method never answers on a
//! public listener, because only internal transports stamp a peer.

mod body;
pub mod caller;
pub mod forward;
pub mod guard;
pub mod hub;
pub mod listen;
pub mod peer;
pub mod server_tls;
pub mod stack;
pub mod status;
pub mod tls;
mod trace;
pub mod transport;
mod turns;

pub use caller::{Caller, ClientCaller, UserCaller};
pub use guard::{Authorizer, Credentials, RpcGuard};
pub use hub::Hub;
pub use peer::{Peer, ServiceKey};
pub use server_tls::ServerTls;
pub use tls::Tls;
pub use transport::Transport;
pub use turns::Turns;
