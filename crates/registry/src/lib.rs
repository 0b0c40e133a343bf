//! What the registries of a domain's objects have in common: those of clients, of channels, and those to come.
//!
//! An object has a row here and a place in `auth`, which decides by it. Owns the order in which the two change, so that a call that
//! is interrupted can be repeated or is finished later ([`Registry`]); the events of these changes; lists that are cut to what the
//! caller may read; and how all of that fails. Does not own what an object is made of, nor what only one kind of them does.
//!
//! **Invariants:** a row is written after `auth` has registered the object and removed after `auth` has forgotten it; each change and
//! its event are one transaction.

mod answer;
mod base;
mod error;
pub mod event;
mod list;
mod object;
mod registry;
pub mod store;
pub mod wire;

pub use answer::answer;
pub use base::Base;
pub use error::{Error, reasons, refusal};
pub use event::{Origin, Place};
pub use list::{Direction, List, Order, VISIBLE_MAX, Visible};
pub use object::{Change, Object, Status, UnknownStatus, corrupt};
pub use registry::Registry;
