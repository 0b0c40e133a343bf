//! Decisions about users: is the token genuine, may he log in now, and do the checks hold? Every guard ends here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tonic::Status;
use trunkline_core::error::{Code, reason};
use trunkline_core::{Clock, DomainId, UserId};
use trunkline_proto::auth::v1::{ObjectCheck, Principal};
use trunkline_proto::guard::Entity;
use trunkline_rpc::Authorizer;
use trunkline_rpc::guard::Question;
use uuid::Uuid;

use crate::error::{Error, reasons};
use crate::evaluate::{self, Ask, Denial, Expansion, Subject};
use crate::forest::Forest;
use crate::store::Store;
use crate::token::Tokens;
use crate::tree::Status as ObjectStatus;
use crate::user::PlatformRole;

/// Users whose standing is held in memory.
const STANDINGS_MAX: usize = 100_000;

/// What a decision needs to know of a user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Whether he may log in.
    pub is_enabled: bool,
    /// Whether he administers the platform.
    pub platform_admin: bool,
    /// Whether his e-mail address is verified.
    pub is_verified: bool,
}

/// Decides.
pub(crate) struct Decider {
    store: Store,
    forest: Arc<Forest>,
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
    standings: DashMap<UserId, Standing>,
    /// Counts the times that something was forgotten, so that what was read before is not remembered after.
    forgotten: AtomicU64,
}

impl Decider {
    /// A decider over the service's own data.
    pub(crate) fn new(store: Store, forest: Arc<Forest>, tokens: Arc<Tokens>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            forest,
            tokens,
            clock,
            standings: DashMap::new(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// The user that `token` is for, if he may log in now.
    ///
    /// # Errors
    /// UNAUTHENTICATED, or that the database failed.
    pub(crate) async fn authenticate(&self, token: &str, unverified: bool) -> Result<Subject, Error> {
        let user = self.tokens.verify(token, self.clock.now())?;
        let Some(standing) = self.standing(user).await? else {
            return Err(Error::refused(
                Code::Unauthenticated,
                reason::CREDENTIALS_INVALID,
                "the token is not valid; log in again",
            ));
        };
        if !standing.is_enabled {
            return Err(Error::refused(
                Code::Unauthenticated,
                reasons::USER_DISABLED,
                "the user is disabled",
            ));
        }
        if !standing.is_verified && !standing.platform_admin && !unverified {
            return Err(Error::refused(
                Code::Unauthenticated,
                reasons::EMAIL_UNVERIFIED,
                "email not verified",
            ));
        }
        Ok(Subject {
            user,
            platform_admin: standing.platform_admin,
        })
    }

    /// Who a subject is, as it is told to other services.
    pub(crate) async fn principal(&self, subject: Subject) -> Result<Principal, Error> {
        let verified = self
            .standing(subject.user)
            .await?
            .is_some_and(|standing| standing.is_verified);
        Ok(Principal {
            user_id: subject.user.to_string(),
            platform_admin: subject.platform_admin,
            verified,
        })
    }

    /// Whether `subject` passes every check.
    ///
    /// # Errors
    /// The refusal of the first check that fails.
    pub(crate) async fn check(&self, subject: Subject, checks: &[ObjectCheck]) -> Result<(), Error> {
        for check in checks {
            match entity_of(check.entity)? {
                Entity::Platform if subject.platform_admin => {}
                Entity::Platform => return Err(denied("only administrators of the platform may do this")),
                Entity::User => check_user(subject, check)?,
                entity => self.check_objects(subject, entity, check).await?,
            }
        }
        Ok(())
    }

    /// The objects of a kind that `subject` holds an action on.
    ///
    /// # Errors
    /// That the database failed.
    pub(crate) async fn expand(
        &self,
        subject: Subject,
        entity: Entity,
        action: &str,
        domain: DomainId,
    ) -> Result<Expansion, Error> {
        let grown = self.forest.tree(domain).await?;
        Ok(evaluate::expand(&grown.read(), subject, entity, action))
    }

    /// Whether a domain, and objects in it, exist and are enabled.
    ///
    /// # Errors
    /// NOT_FOUND or PERMISSION_DENIED for the first that is not.
    pub(crate) async fn require_enabled(&self, domain: DomainId, objects: &[Uuid]) -> Result<(), Error> {
        let grown = self.forest.tree(domain).await?;
        let tree = grown.read();
        for id in std::iter::once(&domain.uuid()).chain(objects) {
            let object = tree.object(*id).ok_or_else(|| Error::not_found("the object"))?;
            if object.status != ObjectStatus::Enabled {
                return Err(disabled(object.entity, object.status));
            }
        }
        Ok(())
    }

    /// Forgets what is known of a user, after it was changed.
    pub(crate) fn forget(&self, user: UserId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.standings.remove(&user);
    }

    async fn check_objects(&self, subject: Subject, entity: Entity, check: &ObjectCheck) -> Result<(), Error> {
        let domain: DomainId = parsed(&check.domain_id)?;
        let objects: Result<Vec<Uuid>, Error> = check
            .objects
            .iter()
            .map(|id| parsed::<DomainId>(id).map(DomainId::uuid))
            .collect();
        let objects = objects?;
        if objects.is_empty() {
            return Err(trunkline_core::Fault::invalid("objects", "names nothing").into());
        }
        let grown = self.forest.tree(domain).await?;
        for object in objects {
            let ask = Ask {
                entity,
                action: &check.action,
                object,
            };
            let decision = evaluate::decide(&grown.read(), subject, ask);
            if let Err(denial) = decision.answer {
                tracing::debug!(user.id = %subject.user, domain.id = %domain, object.id = %object, trace = ?decision.trace, "denied");
                return Err(told(denial, ask));
            }
        }
        Ok(())
    }

    async fn standing(&self, user: UserId) -> Result<Option<Standing>, Error> {
        if let Some(standing) = self.standings.get(&user) {
            return Ok(Some(*standing));
        }
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let found = self.store.user(user).await.map_err(Error::database("reading a user"))?;
        let standing = found.map(|user| Standing {
            is_enabled: user.is_enabled,
            platform_admin: user.role == PlatformRole::Admin,
            is_verified: user.verified_at.is_some(),
        });
        if let Some(standing) = standing {
            if self.standings.len() >= STANDINGS_MAX {
                self.standings.clear();
            }
            self.standings.insert(user, standing);
            if self.forgotten.load(Ordering::SeqCst) != forgotten {
                self.standings.remove(&user);
            }
        }
        Ok(standing)
    }
}

#[tonic::async_trait]
impl Authorizer for Decider {
    async fn authorize(&self, question: Question<'_>) -> Result<Principal, Status> {
        let decided = async {
            let subject = self.authenticate(question.token.expose(), question.unverified).await?;
            self.check(subject, &question.checks).await?;
            self.principal(subject).await
        };
        decided
            .await
            .map_err(|error| crate::rpc::status(&error, question.request_id))
    }
}

/// The kind of a number from the wire.
///
/// # Errors
/// INVALID_ARGUMENT for a number without a meaning.
pub(crate) fn entity_of(number: i32) -> Result<Entity, Error> {
    const ALL: [Entity; 8] = [
        Entity::Platform,
        Entity::User,
        Entity::Domain,
        Entity::Group,
        Entity::Client,
        Entity::Channel,
        Entity::Rule,
        Entity::Report,
    ];
    let found = ALL.into_iter().find(|entity| *entity as i32 == number);
    found.ok_or_else(|| trunkline_core::Fault::invalid("entity", "is no kind of entity").into())
}

/// A user is changed by himself or by an administrator, as the rule says; nobody else learns whether he exists.
fn check_user(subject: Subject, check: &ObjectCheck) -> Result<(), Error> {
    let is_self = |id: &String| id.parse() == Ok(subject.user);
    let is_own = !check.objects.is_empty() && check.objects.iter().all(is_self);
    let holds = (check.or_platform_admin && subject.platform_admin) || (check.or_self && is_own);
    if holds {
        Ok(())
    } else {
        Err(denied(
            "only the user himself or an administrator of the platform may do this",
        ))
    }
}

fn parsed<Id: std::str::FromStr<Err = trunkline_core::id::InvalidId>>(text: &str) -> Result<Id, Error> {
    text.parse()
        .map_err(|error: trunkline_core::id::InvalidId| trunkline_core::Fault::invalid("id", error.to_string()).into())
}

fn told(denial: Denial, ask: Ask<'_>) -> Error {
    let kind = kind_name(ask.entity);
    match denial {
        Denial::Unknown => Error::not_found(kind),
        Denial::NotHeld => denied(&format!(
            "this needs the action `{}` on {kind} {}",
            ask.action, ask.object
        )),
        Denial::DomainDisabled => disabled(Entity::Domain, ObjectStatus::Disabled),
        Denial::DomainFrozen => disabled(Entity::Domain, ObjectStatus::Frozen),
        Denial::ObjectDisabled => disabled(ask.entity, ObjectStatus::Disabled),
    }
}

fn disabled(entity: Entity, status: ObjectStatus) -> Error {
    let reason = match (entity, status) {
        (Entity::Domain, ObjectStatus::Frozen) => reasons::DOMAIN_FROZEN,
        (Entity::Domain, _) => reasons::DOMAIN_DISABLED,
        (Entity::Client, _) => reasons::CLIENT_DISABLED,
        (Entity::Channel, _) => reasons::CHANNEL_DISABLED,
        _ => reasons::OBJECT_DISABLED,
    };
    Error::refused(
        Code::PermissionDenied,
        reason,
        format!("the {} is {}", kind_name(entity), status.as_str()),
    )
}

const fn kind_name(entity: Entity) -> &'static str {
    match entity {
        Entity::Platform => "platform",
        Entity::User => "user",
        Entity::Domain => "domain",
        Entity::Group => "group",
        Entity::Client => "client",
        Entity::Channel => "channel",
        Entity::Rule => "rule",
        Entity::Report => "report",
    }
}

fn denied(message: &str) -> Error {
    Error::refused(Code::PermissionDenied, reason::NOT_AUTHORIZED, message)
}
