//! The OpenAPI 3.1 document, made from the contracts: routes from their rules, words from their comments, schemas from their
//! messages.
//!
//! `gateway/openapi.json` is its checked-in form, which the edge serves; a test holds it to the contracts. Routes that no contract
//! has, those of the data plane, are in `openapi/data_plane.json`.

mod comments;
mod schemas;

use serde_json::{Map, Value, json};

use crate::contract::{Body, Contract, Operation};
use crate::error::Error;
use crate::openapi::comments::{Comment, Comments};
use crate::openapi::schemas::Schemas;
use crate::options::Audience;

/// The document as it is checked in and served.
pub const CHECKED_IN: &str = include_str!("../openapi.json");
/// Routes of the data plane, which are no RPCs: paths and tags.
const DATA_PLANE: &str = include_str!("openapi/data_plane.json");

/// Failures that any operation may answer with: component, status, description.
const FAILURES: [(&str, &str, &str); 11] = [
    ("InvalidRequest", "400", "The request is wrong; `fields` names what."),
    ("Unauthenticated", "401", "No credentials came, or they are not valid."),
    ("PermissionDenied", "403", "The caller may not."),
    (
        "NotFound",
        "404",
        "It does not exist, or the caller may not know that it does.",
    ),
    (
        "Conflict",
        "409",
        "It exists already, or the state of things does not allow it now.",
    ),
    ("PayloadTooLarge", "413", "The body is larger than the limit."),
    ("UnsupportedMediaType", "415", "The body is not `application/json`."),
    (
        "TooManyRequests",
        "429",
        "A quota or a limit is reached; repeat after `Retry-After` seconds.",
    ),
    ("Internal", "500", "A defect; it is logged under `request_id`."),
    (
        "Unavailable",
        "503",
        "It cannot be done now; repeat after `Retry-After` seconds.",
    ),
    ("DeadlineExceeded", "504", "It took too long."),
];

/// Makes the document from the contracts of this build.
///
/// # Errors
/// Contracts that cannot be served.
pub fn generate() -> Result<String, Error> {
    let contract = Contract::open()?;
    let comments = Comments::read(&contract);
    let mut schemas = Schemas::new(&contract.schema, &comments);
    let data_plane: Value = serde_json::from_str(DATA_PLANE).expect("the fragment is checked in, and a test reads it");
    let mut paths: Map<String, Value> = data_plane["paths"].as_object().cloned().unwrap_or_default();
    for operation in &contract.operations {
        let path = paths.entry(operation.template.to_string()).or_insert_with(|| json!({}));
        path[operation.verb.as_str().to_ascii_lowercase()] = describe(&contract, operation, &comments, &mut schemas);
    }
    let mut tags = tags(&contract, &comments);
    tags.extend(data_plane["tags"].as_array().cloned().unwrap_or_default());
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Trunkline",
            "description": "The HTTP API of the Trunkline IoT platform.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "responses": failure_responses(),
            "securitySchemes": security_schemes(),
        },
    });
    let mut text = serde_json::to_string_pretty(&document).expect("texts always serialize into memory");
    text.push('\n');
    Ok(text)
}

/// One tag per service with routes.
fn tags(contract: &Contract, comments: &Comments) -> Vec<Value> {
    let mut tags: Vec<Value> = Vec::new();
    for operation in &contract.operations {
        let name = tag(operation);
        if !tags.iter().any(|tag| tag["name"] == name) {
            let description = comments.of_service(operation.method.parent_service()).text;
            tags.push(json!({ "name": name, "description": description }));
        }
    }
    tags
}

/// `ClientsService` is tagged `Clients`.
fn tag(operation: &Operation) -> String {
    let service = operation.method.parent_service();
    service.name().trim_end_matches("Service").to_owned()
}

fn describe(contract: &Contract, operation: &Operation, comments: &Comments, schemas: &mut Schemas<'_>) -> Value {
    let Comment { summary, rest, .. } = comments.of_method(&operation.method);
    let mut described = json!({
        "operationId": operation_id(operation),
        "tags": [tag(operation)],
        "summary": summary,
        "responses": responses(contract, operation, comments, schemas),
        "security": security(operation.audience),
    });
    if !rest.is_empty() {
        described["description"] = rest.into();
    }
    let parameters = parameters(contract, operation, schemas);
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(schema) = body_schema(contract, operation, schemas) {
        described["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    described
}

/// The method's name with a small first letter; further routes of a method are numbered.
fn operation_id(operation: &Operation) -> String {
    let name = operation.method.name();
    let (first, rest) = name.split_at(1);
    let number = if operation.binding == 0 {
        String::new()
    } else {
        (operation.binding + 1).to_string()
    };
    format!("{}{rest}{number}", first.to_ascii_lowercase())
}

fn parameters(contract: &Contract, operation: &Operation, schemas: &mut Schemas<'_>) -> Vec<Value> {
    let fields = &contract.schema.message(operation.input).fields;
    let in_path = operation.path_fields.iter().map(|position| (*position, "path"));
    let in_query = operation.query_fields.iter().map(|position| (*position, "query"));
    let describe = |(position, place): (usize, &str)| {
        let field = &fields[position];
        let mut parameter = json!({
            "name": field.name,
            "in": place,
            "required": place == "path",
            "schema": schemas.value(field),
            "description": schemas.comment(field),
        });
        if field.is_list {
            parameter["style"] = "form".into();
            parameter["explode"] = false.into();
        }
        parameter
    };
    in_path.chain(in_query).map(describe).collect()
}

fn body_schema(contract: &Contract, operation: &Operation, schemas: &mut Schemas<'_>) -> Option<Value> {
    let input = contract.schema.message(operation.input);
    match (operation.body, &operation.update) {
        (Body::Ignored, _) => None,
        (Body::Whole, _) => {
            let path_fields: Vec<&str> = operation
                .path_fields
                .iter()
                .map(|position| input.fields[*position].name.as_str())
                .collect();
            Some(schemas.body(operation.input, input.descriptor.name(), &|field| {
                !path_fields.contains(&field.name.as_str())
            }))
        }
        (Body::Field(position), None) => Some(schemas.value(&input.fields[position])),
        (Body::Field(position), Some(update)) => {
            let crate::schema::Kind::Message(resource) = input.fields[position].kind else {
                return None;
            };
            let name = format!("{}Body", operation.method.name());
            Some(schemas.body(resource, &name, &|field| update.fields.contains(&field.name)))
        }
    }
}

fn responses(contract: &Contract, operation: &Operation, comments: &Comments, schemas: &mut Schemas<'_>) -> Value {
    let output = contract.schema.message(operation.output);
    let mut success = json!({ "description": comments.of_message(&output.descriptor).text });
    if !operation.success.is_empty {
        success["content"] = json!({ "application/json": { "schema": schemas.reference(operation.output) } });
    }
    if !operation.success.location.is_empty() {
        success["headers"] =
            json!({ "Location": { "description": "Path of what was created.", "schema": { "type": "string" } } });
    }
    let mut responses = Map::new();
    responses.insert(operation.success.code.as_str().to_owned(), success);
    let has_body = operation.body != Body::Ignored;
    for (name, status, _) in FAILURES {
        let can_happen = match status {
            "409" => operation.verb != http::Method::GET,
            "413" | "415" => has_body,
            _ => true,
        };
        if can_happen {
            responses.insert(
                status.to_owned(),
                json!({ "$ref": format!("#/components/responses/{name}") }),
            );
        }
    }
    responses.into()
}

fn failure_responses() -> Value {
    let mut responses = Map::new();
    for (name, status, description) in FAILURES {
        let mut response = json!({
            "description": description,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
        });
        if status == "429" || status == "503" {
            let retry = json!({ "description": "Seconds after which to repeat.", "schema": { "type": "integer" } });
            response["headers"] = json!({ "Retry-After": retry });
        }
        responses.insert(name.to_owned(), response);
    }
    responses.into()
}

fn security(audience: Audience) -> Value {
    match audience {
        Audience::Internal | Audience::Public => json!([]),
        Audience::Users => json!([{ "bearer": [] }]),
        Audience::UsersAndClients => json!([{ "bearer": [] }, { "client": [] }]),
    }
}

fn security_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A user's access token.",
        },
        "client": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "A client's secret, written `Client <secret>`.",
        },
        "basic": {
            "type": "http",
            "scheme": "basic",
            "description": "A client's secret as the password; publishing only.",
        },
    })
}
