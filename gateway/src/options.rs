//! Reads the options that the contracts carry: routes, success codes, update masks, names of enum values, field behaviour.
//!
//! They are read once, while the edge opens. Prost's generated types drop them, so they come from the descriptors themselves.

use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, EnumValueDescriptor, ExtensionDescriptor, FieldDescriptor};
use prost_reflect::{MessageDescriptor, MethodDescriptor};

use crate::error::Error;

/// Verbs of a `google.api.HttpRule`, by the field that holds the template.
const VERBS: [(&str, Method); 5] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("patch", Method::PATCH),
];

/// The options, found by name in one pool.
pub(crate) struct Options {
    http: ExtensionDescriptor,
    success: ExtensionDescriptor,
    update: ExtensionDescriptor,
    value_name: ExtensionDescriptor,
    output_only: ExtensionDescriptor,
    input_only: ExtensionDescriptor,
    legacy_keys: ExtensionDescriptor,
    rule: ExtensionDescriptor,
}

/// One route of a method, as declared.
#[derive(Debug)]
pub(crate) struct HttpRule {
    /// HTTP method.
    pub(crate) verb: Method,
    /// Path template.
    pub(crate) template: String,
    /// `*`, the name of a request field, or empty.
    pub(crate) body: String,
}

/// `trunkline.http.v1.Success`, as declared.
#[derive(Debug, Default)]
pub(crate) struct SuccessRule {
    /// Status code, 0 for the default.
    pub(crate) code: i32,
    /// Template of the `Location` header, or empty.
    pub(crate) location: String,
    /// Whether the answer has no body.
    pub(crate) empty: bool,
}

/// `trunkline.http.v1.Update`, as declared.
#[derive(Debug)]
pub(crate) struct UpdateRule {
    /// Request field that takes the mask.
    pub(crate) mask: String,
    /// Fields that the method changes.
    pub(crate) fields: Vec<String>,
}

/// Who may call, as far as the edge and its description need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Processes of the platform alone.
    Internal,
    /// Anybody.
    Public,
    /// Users.
    Users,
    /// Users, and clients with their secret.
    UsersAndClients,
}

impl Options {
    /// Finds the options in `pool`.
    pub(crate) fn find(pool: &DescriptorPool) -> Result<Self, Error> {
        let find = |name: &'static str| pool.get_extension_by_name(name).ok_or(Error::OptionMissing(name));
        Ok(Self {
            http: find("google.api.http")?,
            success: find("trunkline.http.v1.success")?,
            update: find("trunkline.http.v1.update")?,
            value_name: find("trunkline.http.v1.name")?,
            output_only: find("trunkline.http.v1.output_only")?,
            input_only: find("trunkline.http.v1.input_only")?,
            legacy_keys: find("trunkline.http.v1.legacy_keys")?,
            rule: find("trunkline.authz.v1.rule")?,
        })
    }

    /// The routes of `method`: none, one, or one with additional bindings.
    pub(crate) fn http(&self, method: &MethodDescriptor) -> Result<Vec<HttpRule>, Error> {
        let Some(rule) = message(&method.options(), &self.http) else {
            return Ok(Vec::new());
        };
        let mut rules = vec![http_rule(method, &rule)?];
        for binding in list(&rule, "additional_bindings") {
            if let Some(binding) = binding.as_message() {
                rules.push(http_rule(method, binding)?);
            }
        }
        Ok(rules)
    }

    /// What `method` answers on success.
    pub(crate) fn success(&self, method: &MethodDescriptor) -> SuccessRule {
        message(&method.options(), &self.success).map_or_else(SuccessRule::default, |success| SuccessRule {
            code: success
                .get_field_by_name("code")
                .and_then(|code| code.as_i32())
                .unwrap_or_default(),
            location: text(&success, "location"),
            empty: flag(&success, "empty"),
        })
    }

    /// How a body becomes a partial update, if `method` is one.
    pub(crate) fn update(&self, method: &MethodDescriptor) -> Option<UpdateRule> {
        let update = message(&method.options(), &self.update)?;
        let fields = list(&update, "fields")
            .iter()
            .filter_map(|field| field.as_str().map(str::to_owned))
            .collect();
        Some(UpdateRule {
            mask: text(&update, "mask"),
            fields,
        })
    }

    /// Who may call `method`.
    pub(crate) fn audience(&self, method: &MethodDescriptor) -> Audience {
        const CALLER_CLIENT: i32 = 3;
        let Some(rule) = message(&method.options(), &self.rule) else {
            return Audience::Internal;
        };
        let callers = list(&rule, "callers");
        if rule.has_field_by_name("internal") {
            Audience::Internal
        } else if rule.has_field_by_name("public") {
            Audience::Public
        } else if callers
            .iter()
            .any(|caller| caller.as_enum_number() == Some(CALLER_CLIENT))
        {
            Audience::UsersAndClients
        } else {
            Audience::Users
        }
    }

    /// The text of an enum's value in JSON; `None` when the contract gives none.
    pub(crate) fn value_name(&self, value: &EnumValueDescriptor) -> Option<String> {
        let options = value.options();
        let name = options
            .has_extension(&self.value_name)
            .then(|| options.get_extension(&self.value_name))?;
        name.as_str().map(str::to_owned)
    }

    /// Whether the server alone sets `field`.
    pub(crate) fn is_output_only(&self, field: &FieldDescriptor) -> bool {
        field
            .options()
            .get_extension(&self.output_only)
            .as_bool()
            .unwrap_or_default()
    }

    /// Whether `field` is never written.
    pub(crate) fn is_input_only(&self, field: &FieldDescriptor) -> bool {
        field
            .options()
            .get_extension(&self.input_only)
            .as_bool()
            .unwrap_or_default()
    }

    /// Keys that older clients send in `message` and that mean nothing.
    pub(crate) fn legacy_keys(&self, message: &MessageDescriptor) -> Vec<String> {
        let options = message.options();
        let keys = options.get_extension(&self.legacy_keys);
        keys.as_list()
            .unwrap_or_default()
            .iter()
            .filter_map(|key| key.as_str().map(str::to_owned))
            .collect()
    }
}

fn http_rule(method: &MethodDescriptor, rule: &DynamicMessage) -> Result<HttpRule, Error> {
    let declared = VERBS.into_iter().find(|(field, _)| rule.has_field_by_name(field));
    let (field, verb) =
        declared.ok_or_else(|| Error::contract(method.full_name(), "its route has no known HTTP method"))?;
    if rule.has_field_by_name("response_body") {
        return Err(Error::contract(method.full_name(), "`response_body` is not supported"));
    }
    Ok(HttpRule {
        verb,
        template: text(rule, field),
        body: text(rule, "body"),
    })
}

/// The extension's message, when it is set.
fn message(options: &DynamicMessage, extension: &ExtensionDescriptor) -> Option<DynamicMessage> {
    let is_set = options.has_extension(extension);
    is_set
        .then(|| options.get_extension(extension).as_message().cloned())
        .flatten()
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message
        .get_field_by_name(field)
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn flag(message: &DynamicMessage, field: &str) -> bool {
    message
        .get_field_by_name(field)
        .and_then(|value| value.as_bool())
        .unwrap_or_default()
}

fn list(message: &DynamicMessage, field: &str) -> Vec<prost_reflect::Value> {
    message
        .get_field_by_name(field)
        .and_then(|value| value.as_list().map(<[_]>::to_vec))
        .unwrap_or_default()
}
