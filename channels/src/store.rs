//! The table of channels: SQL and row types, no decisions. Connections are beside it.

mod connections;

use trunkline_bus::Route;
use trunkline_core::ChannelId;
use trunkline_db::{Error, Migrations, Row, Value, params};
use trunkline_proto::guard::Entity;
use trunkline_registry::store::Statements;
use trunkline_registry::{Base, Object, corrupt, statements};

use crate::channel::Channel;
use crate::convert;

pub use connections::{
    Reachable, Revocation, connect, disconnect, forget_client, insert_revocation, present, reach, remove_revocation,
    revocations,
};

/// The migrations of this service.
pub const MIGRATIONS: Migrations = trunkline_db::migrations!("channels", "0001_channels");

/// The unique constraints that a new channel can violate.
pub mod constraint {
    /// The id is in use in the domain.
    pub const ID: &str = "channels_pkey";
    /// The id is in use, here or in another domain.
    pub const ID_ANYWHERE: &str = "channels_id_key";
    /// The route is in use in the domain.
    pub const ROUTE: &str = "channels_domain_id_route_key";
}

impl Object for Channel {
    type Id = ChannelId;

    const ENTITY: Entity = Entity::Channel;
    const NOUN: &'static str = "channel";
    const NOUNS: &'static str = "channels";
    const STATEMENTS: Statements = statements!("channels", "route" = 13, "created_by" = 14);

    fn base(&self) -> &Base<ChannelId> {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base<ChannelId> {
        &mut self.base
    }

    fn read(base: Base<ChannelId>, row: &Row) -> Result<Self, Error> {
        let route: Option<String> = row.get("route")?;
        Ok(Self {
            base,
            route: route.map(|text| stored_route(&text)).transpose()?,
            created_by: row.get("created_by")?,
        })
    }

    fn own_values(&self) -> Vec<Value> {
        params![self.route.as_ref().map(Route::as_str), self.created_by]
    }

    fn event_body(&self) -> Vec<u8> {
        convert::event_body(self)
    }
}

fn stored_route(text: &str) -> Result<Route, Error> {
    crate::channel::parse_route("route", text).map_err(corrupt)
}
