//! Any method of the contracts over gRPC, with messages written as JSON, and what a caller is told over gRPC and over HTTP in one form.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage as _};
use serde_json::Value;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use trunkline_rpc::status::to_fault;
use trunkline_testkit::http::Answer;
use trunkline_tests::World;

/// What a caller is told: `OK`, or the code and reason of a failure with the fields that are wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) code: String,
    pub(crate) reason: String,
    pub(crate) fields: Vec<String>,
}

impl Told {
    /// That it was done.
    pub(crate) fn ok() -> Self {
        Self::failure("OK", "")
    }

    /// A failure without fields.
    pub(crate) fn failure(code: &str, reason: &str) -> Self {
        Self {
            code: code.to_owned(),
            reason: reason.to_owned(),
            fields: Vec::new(),
        }
    }

    /// What an answer over HTTP tells. A failure has a message and the request's id, always.
    pub(crate) fn by_http(answer: &Answer) -> Self {
        if (200..300).contains(&answer.status) {
            return Self::ok();
        }
        let body = answer.json();
        let fields = body["fields"].as_array().into_iter().flatten();
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"), "{body}");
        Self {
            code: answer.text_at("/code"),
            reason: answer.text_at("/reason"),
            fields: fields
                .map(|violation| violation["field"].as_str().unwrap_or_default().to_owned())
                .collect(),
        }
    }

    /// What an answer over gRPC tells.
    pub(crate) fn by_grpc(answer: &Result<DynamicMessage, Status>) -> Self {
        let Err(status) = answer else { return Self::ok() };
        let fault = to_fault(status);
        Self {
            code: fault.code.name().to_owned(),
            reason: fault.reason.into_owned(),
            fields: fault.fields.into_iter().map(|violation| violation.field).collect(),
        }
    }
}

/// Every contract.
pub(crate) fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(trunkline_proto::DESCRIPTORS).unwrap())
}

/// Every method of the contracts.
pub(crate) fn methods() -> impl Iterator<Item = MethodDescriptor> {
    let services = pool()
        .services()
        .filter(|service| service.full_name().starts_with("trunkline."));
    services.flat_map(|service| service.methods().collect::<Vec<_>>())
}

/// gRPC to the public listener of a platform.
#[derive(Clone)]
pub(crate) struct Grpc(tonic::client::Grpc<Channel>);

impl Grpc {
    /// Connects.
    pub(crate) async fn connect(world: &World) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", world.addresses.grpc)).unwrap();
        Self(tonic::client::Grpc::new(endpoint.connect().await.unwrap()))
    }

    /// Calls `rpc`, such as `trunkline.clients.v1.ClientsService/GetClient`.
    pub(crate) async fn call(
        &self,
        rpc: &str,
        authorization: Option<&str>,
        message: &Value,
    ) -> Result<DynamicMessage, Status> {
        let method = methods()
            .find(|method| format!("{}/{}", method.parent_service().full_name(), method.name()) == rpc)
            .unwrap_or_else(|| panic!("no contract has {rpc}"));
        let mut request = Request::new(message_of(&method.input(), message));
        if let Some(value) = authorization {
            request.metadata_mut().insert("authorization", value.parse().unwrap());
        }
        let mut grpc = self.0.clone();
        grpc.ready().await.unwrap();
        let path = format!("/{rpc}").parse().unwrap();
        let answer = grpc.unary(request, path, DynamicCodec(method.output())).await;
        answer.map(tonic::Response::into_inner)
    }
}

/// A message from JSON: fields by their proto names, enum values by number, bytes in base64, free JSON as it is.
fn message_of(descriptor: &MessageDescriptor, json: &Value) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    if descriptor.full_name() == "trunkline.http.v1.Json" {
        message.set_field_by_name("text", prost_reflect::Value::Bytes(json.to_string().into()));
        return message;
    }
    for (name, value) in json.as_object().into_iter().flatten() {
        let field = descriptor.get_field_by_name(name);
        let field = field.unwrap_or_else(|| panic!("{} has no field {name}", descriptor.full_name()));
        let value = match value.as_array().filter(|_| field.is_list()) {
            Some(items) => prost_reflect::Value::List(items.iter().map(|item| value_of(&field.kind(), item)).collect()),
            None => value_of(&field.kind(), value),
        };
        message.set_field(&field, value);
    }
    message
}

fn value_of(kind: &Kind, json: &Value) -> prost_reflect::Value {
    use prost_reflect::Value as Proto;

    let number = || json.as_i64().unwrap_or_else(|| panic!("{json} is no number"));
    let text = || json.as_str().unwrap_or_else(|| panic!("{json} is no text"));
    match kind {
        Kind::Message(inner) => Proto::Message(message_of(inner, json)),
        Kind::Enum(_) => Proto::EnumNumber(i32::try_from(number()).unwrap()),
        Kind::String => Proto::String(text().to_owned()),
        Kind::Bytes => Proto::Bytes(Bytes::from(STANDARD.decode(text()).unwrap())),
        Kind::Bool => Proto::Bool(json.as_bool().unwrap()),
        Kind::Int64 => Proto::I64(number()),
        Kind::Uint64 => Proto::U64(u64::try_from(number()).unwrap()),
        other => panic!("{other:?} is used by no request so far"),
    }
}

/// Dynamic messages on the wire; keeps the descriptor of answers.
struct DynamicCodec(MessageDescriptor);

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = DynamicEncoder;
    type Decoder = DynamicDecoder;

    fn encoder(&mut self) -> DynamicEncoder {
        DynamicEncoder
    }

    fn decoder(&mut self) -> DynamicDecoder {
        DynamicDecoder(self.0.clone())
    }
}

struct DynamicEncoder;

impl Encoder for DynamicEncoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message
            .encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

struct DynamicDecoder(MessageDescriptor);

impl Decoder for DynamicDecoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.clone(), buffer);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// The ids of the items in the only list of messages that an answer has.
pub(crate) fn ids_of(answer: &DynamicMessage) -> Vec<String> {
    let descriptor = answer.descriptor();
    let lists = descriptor.fields().filter(|field| field.is_list());
    let items = lists.filter_map(|field| Some(answer.get_field(&field).as_list()?.to_vec()));
    let id = |item: &prost_reflect::Value| Some(item.as_message()?.get_field_by_name("id")?.as_str()?.to_owned());
    items.flatten().filter_map(|item| id(&item)).collect()
}
