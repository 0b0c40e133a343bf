//! The evaluator: may this user do this to that object, and why? The same walk answers a check, a list and an explanation.
//!
//! Pure: it sees a [`Tree`] and nothing else. The rules are those of magistrala.md 1.3, without its quirks.

use std::collections::BTreeSet;
use std::fmt;

use trunkline_core::{RoleId, UserId};
use trunkline_proto::guard::Entity;
use uuid::Uuid;

use crate::actions::{self, DOMAIN_OWN};
use crate::tree::{Status, Tree};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// The user.
    pub user: UserId,
    /// Whether it administers the platform.
    pub platform_admin: bool,
}

/// What is asked about one object of a domain.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Kind that the object must be of.
    pub entity: Entity,
    /// Action that must be held on it.
    pub action: &'a str,
    /// The object.
    pub object: Uuid,
}

/// Why the answer is yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// The user administers the platform.
    PlatformAdmin,
    /// A role of the user on `holder`, the object itself or something above it, holds `action`.
    Role {
        /// The role.
        role: RoleId,
        /// The object that it is a role of.
        holder: Uuid,
        /// The action under the name that the role holds it by.
        action: String,
    },
}

/// Why the answer is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The object does not exist in the domain, or the user may not know that it does.
    Unknown,
    /// The user knows the object and does not hold the action.
    NotHeld,
    /// The domain is disabled and the user does not administer it.
    DomainDisabled,
    /// The domain is frozen and the user does not administer the platform.
    DomainFrozen,
    /// The object is disabled, and the action needs it enabled.
    ObjectDisabled,
}

/// One step of a decision, in the order in which it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The object that was looked at.
    pub holder: Uuid,
    /// The action that was looked for.
    pub action: String,
    /// Whether a role of the user held it there.
    pub is_held: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.is_held { "held" } else { "not held" };
        write!(formatter, "`{}` on {} is {verb}", self.action, self.holder)
    }
}

/// An answer with the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Yes, and by what; or no, and why.
    pub answer: Result<Grant, Denial>,
    /// What was looked at.
    pub trace: Vec<Step>,
}

/// The objects of one kind that a user holds an action on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    /// All of them in the domain.
    pub all: bool,
    /// Those directly in these groups.
    pub groups: BTreeSet<Uuid>,
    /// These.
    pub objects: BTreeSet<Uuid>,
}

/// Actions that carry messages and therefore need an enabled object.
const NEEDS_ENABLED: &[&str] = &["publish", "subscribe"];

/// Decides one question.
pub fn decide(tree: &Tree, subject: Subject, ask: Ask<'_>) -> Decision {
    let mut walk = Walk {
        tree,
        user: subject.user,
        trace: Vec::new(),
    };
    let answer = walk.answer(subject, ask);
    Decision {
        answer,
        trace: walk.trace,
    }
}

/// Whether `user` holds every action on the domain itself.
pub fn is_domain_admin(tree: &Tree, user: UserId) -> bool {
    let role = tree.role_on(user, tree.domain_id);
    role.is_some_and(|(_, role)| DOMAIN_OWN.iter().all(|action| role.actions.contains(*action)))
}

/// The objects of a kind that `subject` holds `action` on. It agrees with [`decide`] for every object of the tree.
pub fn expand(tree: &Tree, subject: Subject, entity: Entity, action: &str) -> Expansion {
    if subject.platform_admin {
        return Expansion {
            all: true,
            ..Expansion::default()
        };
    }
    if domain_gate(tree, subject).is_err() {
        return Expansion::default();
    }
    let holds = |id: Uuid, name: &Option<String>| {
        let role = tree.role_on(subject.user, id);
        name.as_ref()
            .is_some_and(|name| role.is_some_and(|(_, role)| role.actions.contains(name)))
    };
    if holds(tree.domain_id, &actions::by_domain(entity, action)) {
        return Expansion {
            all: true,
            ..Expansion::default()
        };
    }
    let (by_parent, by_ancestor) = (actions::by_parent(entity, action), actions::by_ancestor(entity, action));
    let mut expansion = Expansion::default();
    for (id, object) in tree.objects() {
        if object.entity == Entity::Group
            && (holds(id, &by_parent) || tree.groups_above(id).any(|group| holds(group, &by_ancestor)))
        {
            expansion.groups.insert(id);
        }
    }
    let own = Some(action.to_owned());
    for (_, role) in tree.roles_of(subject.user) {
        let object = tree.object(role.entity_id);
        if object.is_some_and(|object| object.entity == entity) && holds(role.entity_id, &own) {
            expansion.objects.insert(role.entity_id);
        }
    }
    expansion
}

/// Whether the domain's status lets the subject in at all.
fn domain_gate(tree: &Tree, subject: Subject) -> Result<(), Denial> {
    match tree.status() {
        _ if subject.platform_admin => Ok(()),
        Status::Enabled => Ok(()),
        Status::Disabled if is_domain_admin(tree, subject.user) => Ok(()),
        Status::Disabled => Err(Denial::DomainDisabled),
        Status::Frozen => Err(Denial::DomainFrozen),
    }
}

/// Whether the status of an object and of its domain allow `action`: messages need both enabled, whoever asks.
fn carries_messages(tree: &Tree, status: Status, action: &str) -> Result<(), Denial> {
    if !NEEDS_ENABLED.contains(&action) {
        return Ok(());
    }
    match (tree.status(), status) {
        (Status::Enabled, Status::Enabled) => Ok(()),
        (Status::Enabled, Status::Disabled | Status::Frozen) => Err(Denial::ObjectDisabled),
        (Status::Disabled, _) => Err(Denial::DomainDisabled),
        (Status::Frozen, _) => Err(Denial::DomainFrozen),
    }
}

/// One decision under way.
struct Walk<'a> {
    tree: &'a Tree,
    user: UserId,
    trace: Vec<Step>,
}

impl Walk<'_> {
    fn answer(&mut self, subject: Subject, ask: Ask<'_>) -> Result<Grant, Denial> {
        let object = self
            .tree
            .object(ask.object)
            .filter(|object| object.entity == ask.entity);
        let Some(object) = object else {
            return Err(Denial::Unknown);
        };
        let carries = carries_messages(self.tree, object.status, ask.action);
        if subject.platform_admin {
            return carries.map(|()| Grant::PlatformAdmin);
        }
        if !self.is_known(ask) {
            return Err(Denial::Unknown);
        }
        // Whoever disabled a domain by that action alone can repeat it, and take it back.
        let is_switch = ask.entity == Entity::Domain && ["enable", "disable"].contains(&ask.action);
        if !is_switch || self.tree.status() != Status::Disabled {
            domain_gate(self.tree, subject)?;
        }
        let grant = self.grant(ask).ok_or(Denial::NotHeld)?;
        carries.map(|()| grant)
    }

    /// Whether the user may know that the object exists: he holds any action on it, or inherits `read` of it.
    fn is_known(&mut self, ask: Ask<'_>) -> bool {
        let mut own = self.tree.role_on(self.user, ask.object).into_iter();
        if own.any(|(_, role)| !role.actions.is_empty()) {
            return true;
        }
        match ask.entity {
            // Whoever holds anything in a domain may know the domain.
            Entity::Domain => self.tree.roles_of(self.user).any(|(_, role)| !role.actions.is_empty()),
            _ => self.inherited(Ask { action: "read", ..ask }).is_some() || self.inherited(ask).is_some(),
        }
    }

    fn grant(&mut self, ask: Ask<'_>) -> Option<Grant> {
        if ask.entity == Entity::Domain && ask.action == "membership" {
            return self.membership(ask);
        }
        self.held(ask.object, ask.action).or_else(|| self.inherited(ask))
    }

    /// Membership of a domain is holding any action in it.
    fn membership(&mut self, ask: Ask<'_>) -> Option<Grant> {
        let (role, found) = self
            .tree
            .roles_of(self.user)
            .find(|(_, role)| !role.actions.is_empty())?;
        let action = found.actions.iter().min().cloned().unwrap_or_default();
        self.trace.push(Step {
            holder: ask.object,
            action: "membership".into(),
            is_held: true,
        });
        Some(Grant::Role {
            role,
            holder: found.entity_id,
            action,
        })
    }

    /// Looks at the groups above the object, nearest first, and then at the domain.
    fn inherited(&mut self, ask: Ask<'_>) -> Option<Grant> {
        let groups: Vec<_> = self.tree.groups_above(ask.object).collect();
        for (distance, group) in groups.into_iter().enumerate() {
            let name = match distance {
                0 => actions::by_parent(ask.entity, ask.action),
                _ => actions::by_ancestor(ask.entity, ask.action),
            };
            if let Some(grant) = name.and_then(|name| self.held(group, &name)) {
                return Some(grant);
            }
        }
        let name = actions::by_domain(ask.entity, ask.action)?;
        self.held(self.tree.domain_id, &name)
    }

    fn held(&mut self, holder: Uuid, action: &str) -> Option<Grant> {
        let role = self
            .tree
            .role_on(self.user, holder)
            .filter(|(_, role)| role.actions.contains(action));
        self.trace.push(Step {
            holder,
            action: action.to_owned(),
            is_held: role.is_some(),
        });
        role.map(|(role, _)| Grant::Role {
            role,
            holder,
            action: action.to_owned(),
        })
    }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
