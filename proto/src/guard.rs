//! What the generated guards know: the rule of each method as a constant, and the trait that enforces it.

use tonic::metadata::MetadataMap;
use tonic::{Extensions, Status};

/// One method of a contract, with its rule.
#[derive(Debug)]
pub struct Method {
    /// Path of the method, such as `/trunkline.clients.v1.ClientsService/GetClient`.
    pub path: &'static str,
    /// Whether it may be repeated without harm.
    pub idempotent: bool,
    /// Whether a user whose e-mail address is not verified may call.
    pub unverified: bool,
    /// Kinds of caller that may call at all.
    pub callers: &'static [Caller],
    /// What must hold.
    pub rule: Rule,
}

impl Method {
    /// The proto name of its service, such as `trunkline.clients.v1.ClientsService`.
    pub fn service(&self) -> &'static str {
        self.path[1..].split('/').next().unwrap_or_default()
    }
}

/// What must hold for a call to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Anybody may call, if the named switch of the configuration is on; an empty name is always on.
    Public {
        /// Name of the switch.
        switch: &'static str,
    },
    /// Any authenticated caller of the right kind may call.
    Authenticated,
    /// Only processes that run these services may call.
    Internal(&'static [&'static str]),
    /// All of these must hold.
    Checks(&'static [Check]),
}

/// One condition of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Kind of the objects.
    pub entity: Entity,
    /// Action that must be held on each of them.
    pub action: &'static str,
    /// Path of the request field with the ids of the objects; empty where there is none.
    pub object: &'static str,
    /// Whether that field is a list of ids.
    pub is_repeated: bool,
    /// Path of the request field with the domain's id; empty where there is none.
    pub domain: &'static str,
    /// Holds also for the user whose id the object is.
    pub or_self: bool,
    /// Holds also for platform administrators.
    pub or_platform_admin: bool,
}

/// Kinds of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A user with an access token.
    User,
    /// A user with a personal access token.
    Pat,
    /// A client with its secret.
    Client,
}

/// Kinds of entity that actions are held on; the numbers are those of `trunkline.authz.v1.EntityKind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Entity {
    /// The platform itself.
    Platform = 1,
    /// A user.
    User = 2,
    /// A domain.
    Domain = 3,
    /// A group.
    Group = 4,
    /// A client.
    Client = 5,
    /// A channel.
    Channel = 6,
    /// A rule.
    Rule = 7,
    /// A report.
    Report = 8,
}

/// One call on its way through a guard.
#[derive(Debug)]
pub struct Call {
    /// The method that is called.
    pub method: &'static Method,
    /// The ids that the request names, one entry per check of the rule.
    pub targets: Vec<Target>,
}

/// The ids that a request names for one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Index of the check in the rule.
    pub check: usize,
    /// Ids of the objects, as the request spells them.
    pub objects: Vec<String>,
    /// Id of the domain, as the request spells it; empty when the check has none.
    pub domain_id: String,
}

impl Target {
    /// The only id of a path that is not repeated.
    #[doc(hidden)]
    pub fn single(ids: Vec<String>) -> String {
        ids.into_iter().next().unwrap_or_default()
    }
}

/// Decides whether a call may reach its service.
#[tonic::async_trait]
pub trait Guard: Send + Sync + 'static {
    /// Lets `call` pass, having put the caller into `extensions`, or says why not.
    ///
    /// # Errors
    /// The status that the caller gets.
    async fn admit(&self, call: Call, metadata: &MetadataMap, extensions: &mut Extensions) -> Result<(), Status>;
}
