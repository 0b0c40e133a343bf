//! The operations of the contracts: each route with the method behind it, checked once so that serving cannot fail on it.

use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use prost_reflect::{DescriptorPool, MethodDescriptor};

use crate::error::Error;
use crate::options::{Audience, HttpRule, Options, SuccessRule, UpdateRule};
use crate::route::{Table, Template};
use crate::schema::{Field, Kind, Message, MessageId, Schema};

/// Every operation, and how requests find theirs.
#[derive(Debug)]
pub(crate) struct Contract {
    /// Messages of the operations.
    pub(crate) schema: Schema,
    /// Operations in the order of the contracts.
    pub(crate) operations: Vec<Operation>,
    /// From path and method to the operation's index.
    pub(crate) table: Table,
}

/// One route of one method.
#[derive(Debug)]
pub(crate) struct Operation {
    /// The method.
    pub(crate) method: MethodDescriptor,
    /// Path that gRPC calls it by.
    pub(crate) grpc_path: PathAndQuery,
    /// HTTP method.
    pub(crate) verb: Method,
    /// Path template.
    pub(crate) template: Template,
    /// Request message.
    pub(crate) input: MessageId,
    /// Response message.
    pub(crate) output: MessageId,
    /// Positions of the request fields that the path fills, from the left.
    pub(crate) path_fields: Vec<usize>,
    /// Positions of the request fields that the query may fill.
    pub(crate) query_fields: Vec<usize>,
    /// What the body fills.
    pub(crate) body: Body,
    /// How the body is a partial update, if it is one.
    pub(crate) update: Option<Update>,
    /// What success looks like.
    pub(crate) success: Success,
    /// Who may call.
    pub(crate) audience: Audience,
    /// Number of this route among those of its method, from 0.
    pub(crate) binding: usize,
}

/// What a request's body fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing; a body is ignored.
    Ignored,
    /// Every request field that the path does not fill.
    Whole,
    /// The request field at this position.
    Field(usize),
}

/// A partial update.
#[derive(Debug)]
pub(crate) struct Update {
    /// Position of the request field that takes the mask.
    pub(crate) mask: usize,
    /// Fields of the body's message that may change.
    pub(crate) fields: Vec<String>,
}

/// A success.
#[derive(Debug)]
pub(crate) struct Success {
    /// Status code.
    pub(crate) code: StatusCode,
    /// `Location` header: texts, each followed by the response field at a position, save after the last.
    pub(crate) location: Vec<(String, Option<usize>)>,
    /// Whether the body is empty.
    pub(crate) is_empty: bool,
}

impl Contract {
    /// Reads the contracts of this build.
    ///
    /// # Errors
    /// A route that cannot be served or stands in another's way.
    pub(crate) fn open() -> Result<Self, Error> {
        Self::read(&DescriptorPool::decode(trunkline_proto::DESCRIPTORS)?)
    }

    /// Reads the contracts in `pool`.
    pub(crate) fn read(pool: &DescriptorPool) -> Result<Self, Error> {
        let options = Options::find(pool)?;
        let mut contract = Self {
            schema: Schema::default(),
            operations: Vec::new(),
            table: Table::default(),
        };
        for method in pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
        {
            let rules = options.http(&method)?;
            if options.audience(&method) == Audience::Internal && !rules.is_empty() {
                return Err(Error::contract(method.full_name(), "an internal method has no route"));
            }
            for (binding, rule) in rules.iter().enumerate() {
                contract.add(&method, rule, binding, &options)?;
            }
        }
        Ok(contract)
    }

    fn add(
        &mut self,
        method: &MethodDescriptor,
        rule: &HttpRule,
        binding: usize,
        options: &Options,
    ) -> Result<(), Error> {
        let refuse = |problem: String| Error::contract(method.full_name(), problem);
        if method.is_server_streaming() || method.is_client_streaming() {
            return Err(refuse("streams are not served over HTTP".to_owned()));
        }
        let input = self.schema.add(&method.input(), options)?;
        let output = self.schema.add(&method.output(), options)?;
        let template = Template::parse(&rule.template).map_err(refuse)?;
        let (request, response) = (self.schema.message(input), self.schema.message(output));
        let path_fields = path_fields(&template, request).map_err(refuse)?;
        let body = body(&rule.body, request).map_err(refuse)?;
        let update = options
            .update(method)
            .map(|declared| self.update(&declared, request, body))
            .transpose()
            .map_err(refuse)?;
        let query_fields = query_fields(request, body, &path_fields, update.as_ref());
        let operation = Operation {
            grpc_path: PathAndQuery::try_from(format!("/{}/{}", method.parent_service().full_name(), method.name()))
                .map_err(|_| refuse("its name is no path".to_owned()))?,
            verb: rule.verb.clone(),
            success: success(&options.success(method), response).map_err(refuse)?,
            audience: options.audience(method),
            method: method.clone(),
            template,
            input,
            output,
            path_fields,
            query_fields,
            body,
            update,
            binding,
        };
        self.table
            .add(&operation.verb, &operation.template, self.operations.len())
            .map_err(refuse)?;
        self.operations.push(operation);
        Ok(())
    }

    fn update(&self, declared: &UpdateRule, request: &Message, body: Body) -> Result<Update, String> {
        let Body::Field(position) = body else {
            return Err("an update's body is one field of the request".to_owned());
        };
        let Kind::Message(resource) = request.fields[position].kind else {
            return Err("an update's body is a message".to_owned());
        };
        let mask = request
            .position(&declared.mask)
            .filter(|mask| request.fields[*mask].kind == Kind::Mask);
        let mask = mask.ok_or_else(|| format!("`{}` is no field mask of the request", declared.mask))?;
        let resource = self.schema.message(resource);
        let unfit = |name: &&String| {
            resource
                .position(name)
                .is_none_or(|position| resource.fields[position].is_output_only)
        };
        match declared.fields.iter().find(unfit) {
            Some(name) => Err(format!("`{name}` is no field that callers set")),
            None => Ok(Update {
                mask,
                fields: declared.fields.clone(),
            }),
        }
    }
}

fn path_fields(template: &Template, request: &Message) -> Result<Vec<usize>, String> {
    let find = |name: &str| {
        let position = request
            .position(name)
            .ok_or_else(|| format!("the request has no field `{name}`"))?;
        let field = &request.fields[position];
        let fits = field.kind == Kind::Text && !field.is_list;
        fits.then_some(position)
            .ok_or_else(|| format!("`{name}` in the path is not one text"))
    };
    template.variables().map(find).collect()
}

fn body(declared: &str, request: &Message) -> Result<Body, String> {
    match declared {
        "" => Ok(Body::Ignored),
        "*" => Ok(Body::Whole),
        name => request
            .position(name)
            .map(Body::Field)
            .ok_or_else(|| format!("the request has no field `{name}`")),
    }
}

/// Every field that neither path nor body nor mask fills and that a text can spell. Secrets do not belong into URLs.
fn query_fields(request: &Message, body: Body, path_fields: &[usize], update: Option<&Update>) -> Vec<usize> {
    let is_free = |position: usize, field: &Field| {
        let is_taken = match body {
            Body::Whole => true,
            Body::Field(taken) => taken == position,
            Body::Ignored => false,
        };
        let is_mask = update.is_some_and(|update| update.mask == position);
        let is_text = !matches!(field.kind, Kind::Message(_));
        is_text
            && !is_taken
            && !is_mask
            && !path_fields.contains(&position)
            && !field.is_input_only
            && !field.is_output_only
    };
    request
        .fields
        .iter()
        .enumerate()
        .filter(|(position, field)| is_free(*position, field))
        .map(|(position, _)| position)
        .collect()
}

fn success(declared: &SuccessRule, response: &Message) -> Result<Success, String> {
    let code = if declared.code == 0 { 200 } else { declared.code };
    let code = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .filter(StatusCode::is_success);
    let code = code.ok_or_else(|| format!("{} is no status code of a success", declared.code))?;
    if code == StatusCode::NO_CONTENT && !declared.empty {
        return Err("an answer with status 204 is empty".to_owned());
    }
    Ok(Success {
        code,
        location: location(&declared.location, response)?,
        is_empty: declared.empty,
    })
}

/// Takes `/clients/{id}` apart.
fn location(template: &str, response: &Message) -> Result<Vec<(String, Option<usize>)>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((text, tail)) = rest.split_once('{') {
        let (name, after) = tail
            .split_once('}')
            .ok_or_else(|| format!("`{template}` leaves a brace open"))?;
        let position = response
            .position(name)
            .filter(|position| response.fields[*position].kind == Kind::Text);
        let position = position.ok_or_else(|| format!("the response has no text `{name}`"))?;
        parts.push((text.to_owned(), Some(position)));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push((rest.to_owned(), None));
    }
    Ok(parts)
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
