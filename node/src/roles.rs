//! The roles that a process can have, and what each of them needs: the one table from which everything about groupings follows.

use std::collections::BTreeSet;
use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// One part of the platform. Any set of them makes a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Users, domains, roles, and every decision about users.
    Auth,
    /// Clients and their credentials.
    Things,
    /// Channels and connections.
    Channels,
    /// MQTT.
    Mqtt,
    /// Publishing over HTTP.
    Http,
    /// From the log into the message store.
    Writer,
    /// Queries over stored messages.
    Reader,
    /// The API over HTTP and gRPC.
    Gateway,
}

/// How the roles of one process are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// Every role, calling each other as functions. What the configuration gives no address for is embedded in the data folder.
    #[default]
    Whole,
    /// The same with a loopback socket between the services, as between processes: tests run every scenario in this shape too.
    WholeOverSockets,
    /// The roles that the configuration names, on Postgres and NATS; it says where the services are that do not run here.
    Split,
}

impl Role {
    /// Every role, callees first.
    pub const ALL: [Self; 8] = [
        Self::Auth,
        Self::Things,
        Self::Channels,
        Self::Mqtt,
        Self::Http,
        Self::Writer,
        Self::Reader,
        Self::Gateway,
    ];

    /// The word for it in configuration, logs and health.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Things => "things",
            Self::Channels => "channels",
            Self::Mqtt => "mqtt",
            Self::Http => "http",
            Self::Writer => "writer",
            Self::Reader => "reader",
            Self::Gateway => "gateway",
        }
    }

    /// The services that it calls.
    pub const fn asks(self) -> &'static [Self] {
        match self {
            Self::Auth | Self::Writer => &[],
            Self::Things | Self::Channels => &[Self::Auth],
            Self::Mqtt | Self::Http | Self::Reader => &[Self::Auth, Self::Things, Self::Channels],
            Self::Gateway => &[Self::Auth, Self::Things, Self::Channels, Self::Reader],
        }
    }

    /// The proto names of the contracts that it serves to other processes; none for the roles that nobody calls.
    pub fn contracts(self) -> &'static [&'static str] {
        match self {
            Self::Auth => &trunkline_auth::SERVICES,
            Self::Things => &trunkline_things::SERVICES,
            Self::Channels => &trunkline_channels::SERVICES,
            Self::Reader => &["trunkline.messages.v1.MessagesService"],
            Self::Mqtt | Self::Http | Self::Writer | Self::Gateway => &[],
        }
    }

    /// Whether it keeps rows in a database.
    pub const fn keeps_rows(self) -> bool {
        matches!(
            self,
            Self::Auth | Self::Things | Self::Channels | Self::Writer | Self::Reader
        )
    }

    /// Whether it writes to the bus or reads from it.
    pub const fn is_on_bus(self) -> bool {
        !matches!(self, Self::Reader | Self::Gateway)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The roles of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles(BTreeSet<Role>);

impl Roles {
    /// These roles; one that is named twice counts once.
    pub(crate) fn new(roles: &[Role]) -> Self {
        Self(roles.iter().copied().collect())
    }

    /// Every role.
    pub(crate) fn all() -> Self {
        Self::new(&Role::ALL)
    }

    /// Whether `role` runs in this process.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Whether one of `roles` runs in this process.
    pub(crate) fn has_any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.has(*role))
    }

    /// Whether other processes may call something that runs here.
    pub(crate) fn serves_others(&self) -> bool {
        self.iter().any(|role| !role.contracts().is_empty())
    }

    /// The roles, callees first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        self.0.iter().copied()
    }

    /// The services that the roles call and that do not run here, each with the first role that calls it.
    pub(crate) fn elsewhere(&self) -> Vec<(Role, Role)> {
        let asked = |service: Role| self.iter().find(|role| role.asks().contains(&service));
        Role::ALL
            .into_iter()
            .filter(|service| !self.has(*service))
            .filter_map(|service| Some((service, asked(service)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_platform_asks_nobody_elsewhere() {
        assert_eq!(Roles::all().elsewhere(), []);
    }

    #[test]
    fn what_a_slice_asks_elsewhere_is_named_with_who_asks() {
        let slice = Roles::new(&[Role::Writer, Role::Reader, Role::Channels]);
        assert_eq!(
            slice.elsewhere(),
            [(Role::Auth, Role::Channels), (Role::Things, Role::Reader)]
        );
        assert_eq!(Roles::new(&[Role::Writer]).elsewhere(), []);
    }

    #[test]
    fn calls_between_services_go_one_way() {
        for role in Role::ALL {
            assert!(role.asks().iter().all(|asked| *asked < role), "{role}");
        }
    }
}
