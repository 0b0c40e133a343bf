//! The table of channels: SQL and row types, no decisions. Connections are beside it.

mod connections;

use prost::Message as _;
use trunkline_bus::Route;
use trunkline_core::attributes::{Metadata, Name, Tags};
use trunkline_core::{ChannelId, Fault, Timestamp, UserId};
use trunkline_db::{Error, Migrations, Row, Tx, Value, params};
use trunkline_proto::guard::Entity;
use trunkline_registry::store::Statements;
use trunkline_registry::{Object, Place, Status, statements};

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

const INSERT: &str = "
    INSERT INTO channels (domain_id, id, parent_group_id, route, name, name_folded, tags, metadata, status, created_by, created_at,
        updated_at, updated_by, revision)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// Stores a new channel.
///
/// # Errors
/// [`Error::Conflict`] with one of the names in [`constraint`].
pub async fn insert(tx: &mut Tx<'_>, channel: &Channel) -> Result<(), Error> {
    let values = params![
        channel.domain_id,
        channel.id,
        channel.parent_group_id,
        channel.route.as_ref().map(Route::as_str),
        channel.name.as_ref().map(Name::as_str),
        folded(channel),
        channel.tags.to_json(),
        channel.metadata.as_ref().map(Metadata::as_str),
        channel.status.as_str(),
        channel.created_by,
        channel.created_at,
        channel.updated_at,
        channel.updated_by,
        channel.revision,
    ];
    tx.execute(INSERT, values).await?;
    Ok(())
}

impl Object for Channel {
    type Id = ChannelId;

    const ENTITY: Entity = Entity::Channel;
    const NOUN: &'static str = "channel";
    const NOUNS: &'static str = "channels";
    const STATEMENTS: Statements = statements! {
            table: "channels",
            columns: [
        "domain_id",
        "id",
        "parent_group_id",
        "route",
        "name",
        "tags",
        "metadata",
        "status",
        "created_by",
        "created_at",
        "updated_at",
        "updated_by",
        "revision",
    ],
            set: "parent_group_id = $3, name = $4, name_folded = $5, tags = $6, metadata = $7, status = $8, \
                updated_at = $9, updated_by = $10, revision = $11",
        };

    fn place(&self) -> Place<ChannelId> {
        Place {
            domain_id: self.domain_id,
            id: self.id,
            revision: self.revision,
        }
    }

    fn status(&self) -> Status {
        self.status
    }

    fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    fn touch(&mut self, by: Option<UserId>, at: Timestamp) {
        self.updated_at = at;
        self.updated_by = by;
        self.revision += 1;
    }

    fn read(row: &Row) -> Result<Self, Error> {
        let route: Option<String> = row.get("route")?;
        let name: Option<String> = row.get("name")?;
        let metadata: Option<String> = row.get("metadata")?;
        Ok(Self {
            id: row.get("id")?,
            domain_id: row.get("domain_id")?,
            parent_group_id: row.get("parent_group_id")?,
            route: route.map(|text| stored_route(&text)).transpose()?,
            name: name
                .map(|text| Name::parse("name", &text))
                .transpose()
                .map_err(corrupt)?,
            tags: Tags::from_json(&row.get::<String>("tags")?),
            metadata: metadata.map(Metadata::trusted),
            status: row.parse("status")?,
            created_by: row.get("created_by")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
            updated_by: row.get("updated_by")?,
            revision: row.get("revision")?,
        })
    }

    fn values(&self) -> Vec<Value> {
        params![
            self.domain_id,
            self.id,
            self.parent_group_id,
            self.name.as_ref().map(Name::as_str),
            folded(self),
            self.tags.to_json(),
            self.metadata.as_ref().map(Metadata::as_str),
            self.status.as_str(),
            self.updated_at,
            self.updated_by,
            self.revision,
        ]
    }

    fn event_body(&self) -> Vec<u8> {
        convert::channel(self).encode_to_vec()
    }
}

/// Unnamed channels sort before all others on both databases, which do not agree about NULL.
fn folded(channel: &Channel) -> String {
    channel.name.as_ref().map(Name::folded).unwrap_or_default()
}

fn stored_route(text: &str) -> Result<Route, Error> {
    crate::channel::parse_route("route", text).map_err(corrupt)
}

fn corrupt(fault: Fault) -> Error {
    Error::Corrupt(fault.into())
}
