//! Sessions that outlive their connections, or have a will: one record in `State` for each, and who owns it.
//!
//! A record says what the client subscribed to, how far in the log it is and what is under way; of messages, only its will is in it. It
//! belongs to the node that took it by compare-and-swap, and whoever finds a write refused owns it no more. A session that ends with its
//! connection and has no will has none.

mod agenda;
pub(crate) mod bytes;
mod holds;
mod look;
mod nodes;
mod record;
mod settle;
mod store;
mod sweep;
mod takeover;

pub(crate) use bytes::{Reader, put_long};
pub(crate) use look::{Ended, Seen};
pub(crate) use record::{Content, Stored, Unsent, message_id};
pub(crate) use store::{Claimed, NotClaimed, NotSaved, Owned, Sessions, Wish};
