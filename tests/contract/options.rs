//! The contracts as they are compiled in, and the options that they carry.

use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};

/// Every contract, with what it imports.
pub(crate) fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(trunkline_proto::DESCRIPTORS).unwrap())
}

/// Every method of ours.
pub(crate) fn methods() -> Vec<MethodDescriptor> {
    let services = pool().services();
    let ours = services.filter(|service| service.full_name().starts_with("trunkline."));
    ours.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// The option of a method by its full name, such as `google.api.http`.
pub(crate) fn option(method: &MethodDescriptor, name: &str) -> Option<DynamicMessage> {
    let options = method.options();
    let found = options
        .extensions()
        .find(|(extension, _)| extension.full_name() == name);
    found.and_then(|(_, value)| value.as_message().cloned())
}

/// The text of a field; empty when it is unset.
pub(crate) fn text(of: &DynamicMessage, field: &str) -> String {
    let value = of.get_field_by_name(field);
    value
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Whether only processes of the platform may call a method.
pub(crate) fn is_internal(method: &MethodDescriptor) -> bool {
    option(method, "trunkline.authz.v1.rule").is_some_and(|rule| rule.has_field_by_name("internal"))
}

/// The route of a method as `VERB template`; none when it has none.
pub(crate) fn route(method: &MethodDescriptor) -> Option<String> {
    let rule = option(method, "google.api.http")?;
    let verbs = ["get", "put", "post", "delete", "patch"];
    let verb = verbs.into_iter().find(|verb| !text(&rule, verb).is_empty())?;
    Some(format!("{} {}", verb.to_uppercase(), text(&rule, verb)))
}
