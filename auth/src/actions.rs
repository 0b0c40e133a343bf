//! The actions of each kind of entity, and how they are inherited (magistrala.md 1.2 and 1.3).
//!
//! An action on a client, a channel or a group is also held through a role of a group above it or of its domain, under a longer
//! name: `client_read` of a group covers the clients directly in it, `subgroup_client_read` those of all groups below it, and
//! `client_read` of the domain covers them all.

use trunkline_proto::guard::Entity;

/// Actions on a client.
pub const CLIENT: &[&str] = &[
    "update",
    "read",
    "delete",
    "set_parent_group",
    "connect_to_channel",
    "manage_role",
    "add_role_users",
    "remove_role_users",
    "view_role_users",
];

/// Actions on a channel.
pub const CHANNEL: &[&str] = &[
    "update",
    "read",
    "delete",
    "set_parent_group",
    "connect_to_client",
    "publish",
    "subscribe",
    "manage_role",
    "add_role_users",
    "remove_role_users",
    "view_role_users",
];

/// Actions on a group itself.
const GROUP_OWN: &[&str] = &[
    "update",
    "read",
    "membership",
    "delete",
    "set_child",
    "set_parent",
    "manage_role",
    "add_role_users",
    "remove_role_users",
    "view_role_users",
];

/// What may be created in a group.
const GROUP_CREATE: &[&str] = &[
    "client_create",
    "channel_create",
    "subgroup_create",
    "subgroup_client_create",
    "subgroup_channel_create",
];

/// Actions on a domain itself. Whoever holds all of them is its administrator.
pub const DOMAIN_OWN: &[&str] = &[
    "update",
    "enable",
    "disable",
    "read",
    "delete",
    "manage_role",
    "add_role_users",
    "remove_role_users",
    "view_role_users",
];

/// What may be created in a domain.
const DOMAIN_CREATE: &[&str] = &["client_create", "channel_create", "group_create"];

/// Actions of a domain on the alarms, rules and reports in it.
const DOMAIN_RULES: &[&str] = &[
    "alarm_update",
    "alarm_read",
    "alarm_delete",
    "rule_create",
    "rule_update",
    "rule_read",
    "rule_delete",
    "rule_manage_role",
    "rule_add_role_users",
    "rule_remove_role_users",
    "rule_view_role_users",
    "alarm_assign",
    "alarm_acknowledge",
    "alarm_resolve",
    "report_create",
    "report_update",
    "report_read",
    "report_delete",
    "report_manage_role",
    "report_add_role_users",
    "report_remove_role_users",
    "report_view_role_users",
];

/// Actions on a rule.
const RULE: &[&str] = &[
    "update",
    "read",
    "delete",
    "manage_role",
    "add_role_users",
    "remove_role_users",
    "view_role_users",
    "alarm_read",
    "alarm_assign",
    "alarm_acknowledge",
    "alarm_resolve",
];

/// Actions on a report.
const REPORT: &[&str] = &[
    "update",
    "read",
    "delete",
    "manage_role",
    "add_role_users",
    "remove_role_users",
    "view_role_users",
];

/// Whatever a role of this kind of entity may hold, in the order in which the original lists it.
pub fn available(entity: Entity) -> Vec<String> {
    let owned = |actions: &[&str]| actions.iter().map(ToString::to_string).collect::<Vec<_>>();
    let under = |prefix: &str, actions: &[&str]| {
        actions
            .iter()
            .map(|action| format!("{prefix}_{action}"))
            .collect::<Vec<_>>()
    };
    match entity {
        Entity::Platform | Entity::User => Vec::new(),
        Entity::Client => owned(CLIENT),
        Entity::Channel => owned(CHANNEL),
        Entity::Rule => owned(RULE),
        Entity::Report => owned(REPORT),
        Entity::Group => [
            owned(GROUP_OWN),
            owned(GROUP_CREATE),
            under("client", CLIENT),
            under("channel", CHANNEL),
            under("subgroup", GROUP_OWN),
            under("subgroup_client", CLIENT),
            under("subgroup_channel", CHANNEL),
        ]
        .concat(),
        Entity::Domain => [
            owned(DOMAIN_OWN),
            owned(DOMAIN_CREATE),
            under("client", CLIENT),
            under("channel", CHANNEL),
            under("group", GROUP_OWN),
            owned(DOMAIN_RULES),
        ]
        .concat(),
    }
}

/// The name under which a role of the group that an entity is directly in holds `action` on it.
pub fn by_parent(entity: Entity, action: &str) -> Option<String> {
    match entity {
        Entity::Client => Some(format!("client_{action}")),
        Entity::Channel => Some(format!("channel_{action}")),
        Entity::Group => Some(format!("subgroup_{action}")),
        Entity::Platform | Entity::User | Entity::Domain | Entity::Rule | Entity::Report => None,
    }
}

/// The name under which a role of a group further up holds `action` on an entity.
pub fn by_ancestor(entity: Entity, action: &str) -> Option<String> {
    match entity {
        Entity::Client => Some(format!("subgroup_client_{action}")),
        Entity::Channel => Some(format!("subgroup_channel_{action}")),
        Entity::Group => Some(format!("subgroup_{action}")),
        Entity::Platform | Entity::User | Entity::Domain | Entity::Rule | Entity::Report => None,
    }
}

/// The name under which a role of the domain holds `action` on an entity in it.
pub fn by_domain(entity: Entity, action: &str) -> Option<String> {
    match entity {
        Entity::Client => Some(format!("client_{action}")),
        Entity::Channel => Some(format!("channel_{action}")),
        Entity::Group => Some(format!("group_{action}")),
        Entity::Rule if action.starts_with("alarm_") => Some(action.to_owned()),
        Entity::Rule => Some(format!("rule_{action}")),
        Entity::Report => Some(format!("report_{action}")),
        Entity::Platform | Entity::User | Entity::Domain => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_as_many_actions_as_the_original() {
        let counts = [
            (Entity::Client, 9),
            (Entity::Channel, 11),
            (Entity::Group, 10 + 5 + 9 + 11 + 10 + 9 + 11),
            (Entity::Domain, 9 + 3 + 9 + 11 + 10 + 22),
            (Entity::Rule, 11),
            (Entity::Report, 7),
        ];
        for (entity, count) in counts {
            let available = available(entity);
            let distinct: std::collections::HashSet<_> = available.iter().collect();
            assert_eq!((available.len(), distinct.len()), (count, count), "{entity:?}");
        }
    }

    #[test]
    fn whatever_is_inherited_can_be_held() {
        for (entity, actions) in [
            (Entity::Client, CLIENT),
            (Entity::Channel, CHANNEL),
            (Entity::Group, GROUP_OWN),
        ] {
            for action in actions {
                let group = available(Entity::Group);
                assert!(
                    group.contains(&by_parent(entity, action).unwrap()),
                    "{entity:?} {action}"
                );
                assert!(
                    group.contains(&by_ancestor(entity, action).unwrap()),
                    "{entity:?} {action}"
                );
                assert!(
                    available(Entity::Domain).contains(&by_domain(entity, action).unwrap()),
                    "{entity:?} {action}"
                );
            }
        }
    }
}
