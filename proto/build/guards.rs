//! Writes a guard around each service trait from the `(trunkline.authz.v1.rule)` of its methods.
//!
//! A method without a rule, with a rule of two kinds, or with a rule that names a field which the request lacks does not build; the
//! error names it. The file has no dependency on the build script, so that the contract tests can run it on bad contracts.

use std::fmt::Write as _;

use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage as _,
    ServiceDescriptor,
};

/// Generates the guards of every service under `trunkline.`, one module per service.
///
/// # Errors
/// One sentence that names the method and what its rule lacks.
pub(crate) fn generate(pool: &DescriptorPool) -> Result<String, String> {
    let mut code = String::new();
    let mut methods = Vec::new();
    for service in pool
        .services()
        .filter(|service| service.full_name().starts_with("trunkline."))
    {
        code += &guard_of(&service)?;
        for method in service.methods() {
            methods.push(format!("&{}::{}", module_of(&service), constant_of(method.name())));
        }
    }
    let _ = writeln!(code, "/// The methods of every contract, with their rules.");
    let _ = writeln!(
        code,
        "pub static METHODS: &[&crate::guard::Method] = &[{}];",
        methods.join(", ")
    );
    Ok(code)
}

/// The module with the guard of one service and a constant for the rule of each method.
fn guard_of(service: &ServiceDescriptor) -> Result<String, String> {
    let (package, name) = (
        service.package_name().replace("trunkline.", "").replace('.', "::"),
        service.name(),
    );
    let server = format!("{}_server", snake(name));
    let mut rules = String::new();
    let mut methods = String::new();
    for method in service.methods() {
        let rule = rule_of(&method)?;
        rules += &rule_constant(&method, &rule)?;
        methods += &guarded_method(&method, &rule)?;
    }
    Ok(format!(
        "/// The guard of `{full}` and the rules of its methods.
#[allow(unused_imports, clippy::all)]
pub mod {module} {{
    use crate::{package}::*;
    use crate::guard::{{Call, Caller, Check, Entity, Guard, Method, Rule, Target}};
    use std::sync::Arc;

{rules}
    /// `{name}` behind the rules of its contract.
    #[derive(Clone)]
    pub struct Guarded<S> {{
        inner: Arc<S>,
        guard: Arc<dyn Guard>,
    }}

    impl<S> Guarded<S> {{
        /// Puts `guard` in front of `inner`.
        pub fn new(inner: Arc<S>, guard: Arc<dyn Guard>) -> Self {{
            Self {{ inner, guard }}
        }}
    }}

    #[tonic::async_trait]
    impl<S: {server}::{name}> {server}::{name} for Guarded<S> {{
{methods}    }}
}}

",
        full = service.full_name(),
        module = module_of(service),
    ))
}

/// The generated method: it hands the call's targets to the guard and, when that lets it pass, the request to the service.
fn guarded_method(method: &MethodDescriptor, rule: &DynamicMessage) -> Result<String, String> {
    if method.is_client_streaming() || method.is_server_streaming() {
        return Err(format!(
            "{} streams: guards are written for unary methods only",
            method.full_name()
        ));
    }
    let mut targets = String::new();
    for (index, check) in messages(rule, "check").iter().enumerate() {
        let object = path_expression(method, &text(check, "object"))?;
        let domain = path_expression(method, &text(check, "domain"))?;
        let _ = write!(
            targets,
            "Target {{ check: {index}, objects: {}, domain_id: {} }}, ",
            object.unwrap_or_else(|| "Vec::new()".into()),
            domain.map_or_else(|| "String::new()".into(), |ids| format!("Target::single({ids})")),
        );
    }
    let call = if targets.is_empty() {
        "Vec::new()".into()
    } else {
        format!("vec![{targets}]")
    };
    let message = if targets.contains("message") {
        "message"
    } else {
        "_message"
    };
    let (input, output) = (method.input().name().to_owned(), method.output().name().to_owned());
    Ok(format!(
        "        async fn {name}(&self, request: tonic::Request<{input}>) -> Result<tonic::Response<{output}>, tonic::Status> {{
            let (metadata, mut extensions, message) = request.into_parts();
            let targets = {{ let {message} = &message; {call} }};
            self.guard.admit(Call {{ method: &{constant}, targets }}, &metadata, &mut extensions).await?;
            self.inner.{name}(tonic::Request::from_parts(metadata, extensions, message)).await
        }}
",
        name = snake(method.name()),
        constant = constant_of(method.name()),
    ))
}

/// The constant that keeps a method's rule.
fn rule_constant(method: &MethodDescriptor, rule: &DynamicMessage) -> Result<String, String> {
    let kind = rule_kind(method, rule)?;
    let callers: Vec<_> = names(rule, "callers")
        .iter()
        .map(|name| format!("Caller::{}", pascal(name.trim_start_matches("CALLER_"))))
        .collect();
    let callers = if callers.is_empty() {
        "Caller::User, Caller::Pat".into()
    } else {
        callers.join(", ")
    };
    let options = method.method_descriptor_proto().options.as_ref();
    let idempotent = options.is_some_and(|options| options.idempotency_level.is_some_and(|level| level != 0));
    Ok(format!(
        "    /// The rule of `{full}`.
    pub static {constant}: Method = Method {{
        path: \"/{service}/{name}\",
        idempotent: {idempotent},
        unverified: {unverified},
        callers: &[{callers}],
        rule: {kind},
    }};
",
        full = method.full_name(),
        constant = constant_of(method.name()),
        service = method.parent_service().full_name(),
        name = method.name(),
        unverified = flag(rule, "unverified"),
    ))
}

/// The one kind that a rule has.
fn rule_kind(method: &MethodDescriptor, rule: &DynamicMessage) -> Result<String, String> {
    let checks = messages(rule, "check");
    let mut kinds = Vec::new();
    if flag(rule, "authenticated") {
        kinds.push("Rule::Authenticated".to_owned());
    }
    if let Some(internal) = message(rule, "internal") {
        let peers = texts(&internal, "peers");
        if peers.is_empty() {
            return Err(format!("{}: an internal rule names its peers", method.full_name()));
        }
        if method
            .options()
            .extensions()
            .any(|(extension, _)| extension.full_name() == "google.api.http")
        {
            return Err(format!("{}: an internal method has no HTTP route", method.full_name()));
        }
        kinds.push(format!("Rule::Internal(&{peers:?})"));
    }
    if let Some(public) = message(rule, "public") {
        kinds.push(format!("Rule::Public {{ switch: {:?} }}", text(&public, "switch")));
    }
    if !checks.is_empty() {
        let checks: Result<Vec<_>, _> = checks.iter().map(|check| check_of(method, check)).collect();
        kinds.push(format!("Rule::Checks(&[{}])", checks?.join(", ")));
    }
    match kinds.as_slice() {
        [kind] => Ok(kind.clone()),
        _ => Err(format!(
            "{}: its rule must be exactly one of check, authenticated, internal and public",
            method.full_name()
        )),
    }
}

/// One check as a constant expression.
fn check_of(method: &MethodDescriptor, check: &DynamicMessage) -> Result<String, String> {
    let entity = names(check, "entity").pop().unwrap_or_default();
    let (action, object, domain) = (text(check, "action"), text(check, "object"), text(check, "domain"));
    let lacks = |what: &str| Err(format!("{}: a check on {entity} names {what}", method.full_name()));
    match entity.as_str() {
        "PLATFORM" => {}
        "USER" if object.is_empty() => return lacks("its object"),
        "USER" => {}
        "" | "ENTITY_KIND_UNSPECIFIED" => return lacks("its entity"),
        _ if object.is_empty() => return lacks("its object"),
        _ if domain.is_empty() => return lacks("its domain"),
        _ => {}
    }
    if action.is_empty() {
        return lacks("its action");
    }
    Ok(format!(
        "Check {{ entity: Entity::{}, action: {action:?}, object: {object:?}, is_repeated: {}, domain: {domain:?}, \
         or_self: {}, or_platform_admin: {} }}",
        pascal(&entity),
        is_repeated(method, &object),
        flag(check, "or_self"),
        flag(check, "or_platform_admin"),
    ))
}

/// An expression of type `Vec<String>` that reads the field at `path`; `None` for an empty path.
fn path_expression(method: &MethodDescriptor, path: &str) -> Result<Option<String>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let unfit = |what: &str| {
        format!(
            "{}: its rule names `{path}`, which {what} of {}",
            method.full_name(),
            method.input().full_name()
        )
    };
    let (mut descriptor, mut expression): (MessageDescriptor, String) = (method.input(), "Some(message)".into());
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        let field = descriptor
            .get_field_by_name(segment)
            .ok_or_else(|| unfit("is no field"))?;
        let name = escaped(segment);
        match (segments.peek(), field.kind()) {
            (Some(_), Kind::Message(inner)) if !field.is_list() => {
                expression += &format!(".and_then(|message| message.{name}.as_ref())");
                descriptor = inner;
            }
            (None, Kind::String) if field.is_list() => {
                return Ok(Some(format!(
                    "{expression}.map(|message| message.{name}.clone()).unwrap_or_default()"
                )));
            }
            (None, Kind::String) if field.supports_presence() => {
                return Ok(Some(format!(
                    "{expression}.and_then(|message| message.{name}.clone()).into_iter().collect()"
                )));
            }
            (None, Kind::String) if field.cardinality() != Cardinality::Repeated => {
                return Ok(Some(format!(
                    "{expression}.map(|message| message.{name}.clone()).into_iter().collect()"
                )));
            }
            _ => return Err(unfit("is no text field")),
        }
    }
    Err(unfit("is no field"))
}

/// Whether the field at `path` is a list.
fn is_repeated(method: &MethodDescriptor, path: &str) -> bool {
    let (mut descriptor, mut is_list) = (Some(method.input()), false);
    for segment in path.split('.') {
        let field = descriptor.and_then(|message| message.get_field_by_name(segment));
        is_list = field.as_ref().is_some_and(prost_reflect::FieldDescriptor::is_list);
        descriptor = field.and_then(|field| field.kind().as_message().cloned());
    }
    is_list
}

/// The rule of a method, which every method must have.
fn rule_of(method: &MethodDescriptor) -> Result<DynamicMessage, String> {
    let options = method.options();
    let rule = options
        .extensions()
        .find(|(extension, _)| extension.full_name() == "trunkline.authz.v1.rule");
    match rule.and_then(|(_, value)| value.as_message().cloned()) {
        Some(rule) => Ok(rule),
        None => Err(format!("{} has no (trunkline.authz.v1.rule)", method.full_name())),
    }
}

fn text(of: &DynamicMessage, field: &str) -> String {
    of.get_field_by_name(field)
        .and_then(|value| value.as_str().map(ToOwned::to_owned))
        .unwrap_or_default()
}

fn flag(of: &DynamicMessage, field: &str) -> bool {
    of.get_field_by_name(field)
        .and_then(|value| value.as_bool())
        .unwrap_or_default()
}

fn texts(of: &DynamicMessage, field: &str) -> Vec<String> {
    let value = of.get_field_by_name(field);
    let items = value.as_ref().and_then(|value| value.as_list()).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.as_str().map(ToOwned::to_owned))
        .collect()
}

fn messages(of: &DynamicMessage, field: &str) -> Vec<DynamicMessage> {
    let value = of.get_field_by_name(field);
    let items = value.as_ref().and_then(|value| value.as_list()).unwrap_or_default();
    items.iter().filter_map(|item| item.as_message().cloned()).collect()
}

fn message(of: &DynamicMessage, field: &str) -> Option<DynamicMessage> {
    of.has_field_by_name(field)
        .then(|| of.get_field_by_name(field)?.as_message().cloned())
        .flatten()
}

/// Names of the enum values that a single or repeated field holds.
fn names(of: &DynamicMessage, field: &str) -> Vec<String> {
    let Some(descriptor) = of.descriptor().get_field_by_name(field) else {
        return Vec::new();
    };
    let Kind::Enum(kind) = descriptor.kind() else {
        return Vec::new();
    };
    let value = of.get_field(&descriptor);
    let numbers: Vec<i32> = match value.as_list() {
        Some(items) => items.iter().filter_map(|item| item.as_enum_number()).collect(),
        None => value.as_enum_number().into_iter().collect(),
    };
    numbers
        .into_iter()
        .filter_map(|number| kind.get_value(number))
        .map(|value| value.name().to_owned())
        .collect()
}

fn module_of(service: &ServiceDescriptor) -> String {
    snake(service.name())
}

fn constant_of(method: &str) -> String {
    snake(method).to_uppercase()
}

/// `UpdateClient` as `update_client`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// `CLIENT` as `Client`.
fn pascal(name: &str) -> String {
    name.split('_')
        .map(|word| word[..1].to_uppercase() + &word[1..].to_lowercase())
        .collect()
}

/// A field's name as Rust spells it.
fn escaped(name: &str) -> String {
    if matches!(name, "type" | "match" | "ref" | "move" | "use") {
        format!("r#{name}")
    } else {
        name.to_owned()
    }
}
