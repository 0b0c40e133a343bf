//! The matrix of denials: every method, over gRPC and over its HTTP route, asked by everybody, against a table written by hand.

mod cast;
mod requests;
mod table;

use std::collections::{BTreeSet, HashMap};

use prost_reflect::MethodDescriptor;
use serde_json::{Value, json};
use trunkline_tests::{World, scenarios};

use self::cast::{Cast, Stage};
use self::requests::Request;
use crate::grpc::{Grpc, Told, methods};
use crate::subject::{Subject, http};

scenarios!(
    everybody_gets_exactly_the_reviewed_answer_from_every_method_and_route,
    methods_between_services_do_not_exist_outside,
);

/// One line of the table.
struct Line {
    name: &'static str,
    /// Status of success over HTTP.
    success: u16,
    /// Who asks, and the word for what he is told.
    answers: Vec<(&'static str, &'static str)>,
    /// What `exact` holds and `almost` lacks: kind and action.
    needs: Vec<(&'static str, &'static str)>,
}

/// The table, read.
fn lines() -> Vec<Line> {
    let mut lines = table::ANSWERS.lines().filter(|line| !line.is_empty());
    let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let needs_of = |cell: &'static str| cell.split(',').filter_map(|need| need.split_once(':')).collect();
    let read = |line: &'static str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells.len(), head.len(), "{line}");
        let last = cells.len() - 1;
        Line {
            name: cells[0],
            success: cells[1].parse().unwrap(),
            answers: head[2..last]
                .iter()
                .copied()
                .zip(cells[2..last].iter().copied())
                .collect(),
            needs: needs_of(cells[last]),
        }
    };
    lines.map(read).collect()
}

/// What a word of the table means, and the status that it has over HTTP.
fn meaning(word: &str, success: u16) -> (Told, u16) {
    if word == "ok" {
        return (Told::ok(), success);
    }
    let (_, code, reason, status) = table::WORDS
        .iter()
        .find(|(known, ..)| *known == word)
        .unwrap_or_else(|| panic!("the table has no word {word}"));
    (Told::failure(code, reason), *status)
}

/// The name of a method in the table, such as `clients.GetClient`.
fn name_of(method: &MethodDescriptor) -> String {
    let service = method.parent_service();
    let area = service.package_name().split('.').nth(1).unwrap_or_default().to_owned();
    format!("{area}.{}", method.name())
}

/// The method that a line is about; none for a route that no method stands behind.
fn method_of(line: &str) -> Option<MethodDescriptor> {
    let name = line.split('/').next().unwrap_or_default();
    let found = methods().find(|method| name_of(method) == name);
    assert!(found.is_some() || name.starts_with("http."), "no contract has {name}");
    found
}

fn path_of(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

#[test]
fn every_method_has_a_line_in_the_table_or_is_internal() {
    let reviewed = lines()
        .into_iter()
        .filter_map(|line| Some(name_of(&method_of(line.name)?)));
    let reviewed: BTreeSet<String> = reviewed.chain(INTERNAL.map(str::to_owned)).collect();
    let all: BTreeSet<String> = methods().map(|method| name_of(&method)).collect();
    assert_eq!(all, reviewed);
}

/// A route without the names of its variables.
fn shape_of(route: &str) -> String {
    let texts = route
        .split('{')
        .map(|part| part.split_once('}').map_or(part, |(_, text)| text));
    texts.collect::<Vec<_>>().join("{}")
}

#[test]
fn every_route_of_the_published_document_is_asked() {
    let document: Value = serde_json::from_str(include_str!("../../gateway/openapi.json")).unwrap();
    let asked: BTreeSet<String> = requests::all().iter().map(|request| shape_of(request.http)).collect();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for verb in operations
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters")
        {
            let route = shape_of(&format!("{} {path}", verb.to_uppercase()));
            assert!(asked.contains(&route), "nobody asks {route}");
        }
    }
}

#[test]
fn every_line_has_one_request_and_every_request_one_line() {
    let lines: Vec<&str> = lines().iter().map(|line| line.name).collect();
    let mut asked: Vec<&str> = requests::all().iter().map(|request| request.line).collect();
    let mut sorted = lines.clone();
    sorted.sort_unstable();
    asked.sort_unstable();
    assert_eq!(asked, sorted);
    assert_eq!(BTreeSet::from_iter(&lines).len(), lines.len());
}

async fn everybody_gets_exactly_the_reviewed_answer_from_every_method_and_route(world: World) {
    let grpc = Grpc::connect(&world).await;
    let cast = Cast::assemble(&world).await;
    let mut stages = HashMap::new();
    let mut wrong = Vec::new();
    for line in lines() {
        let request = requests::all()
            .into_iter()
            .find(|request| request.line == line.name)
            .unwrap();
        let rpc = method_of(line.name).map(|method| path_of(&method));
        for (column, word) in &line.answers {
            let is_closed = column.starts_with("closed-");
            let expected = meaning(word, line.success);
            for rpc in [None].into_iter().chain(rpc.as_ref().map(Some)) {
                let props = (line.needs.clone(), is_closed);
                let stage = match stages.remove(&props) {
                    Some(stage) => stage,
                    None => Stage::build(&world, &cast, &line.needs, is_closed).await,
                };
                let subject = cast.subject(column, &stage);
                let fill = |text: &str| cast.fill(text, &subject, &stage);
                let (told, status) = match rpc {
                    Some(rpc) => {
                        let message = serde_json::from_str(&fill(&request.message.to_string())).unwrap();
                        let answer = grpc.call(rpc, subject.authorization.as_deref(), &message).await;
                        (Told::by_grpc(&answer), expected.1)
                    }
                    None => by_http(&world, &subject, &request, fill).await,
                };
                if (&told, status) != (&expected.0, expected.1) {
                    let (name, how) = (line.name, rpc.map_or("HTTP", |_| "gRPC"));
                    let told = format!("{} {}", told.code, told.reason);
                    wrong.push(format!("{name} asked by {column} over {how}: {told}, not {word}"));
                }
                // The next one may ask on the same stage, unless something on it is gone or has another status now.
                let is_spoilt = request.http.starts_with("DELETE ") || request.http.ends_with("able");
                if told != Told::ok() || !is_spoilt {
                    stages.insert(props, stage);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.stop().await;
}

async fn by_http(world: &World, subject: &Subject, request: &Request, fill: impl Fn(&str) -> String) -> (Told, u16) {
    let (method, path) = request.http.split_once(' ').unwrap();
    let method: http::Method = method.parse().unwrap();
    let (content_type, body) = match &request.body {
        Value::Null => (None, String::new()),
        body => (Some("application/json"), fill(&body.to_string())),
    };
    let answer = http(world, subject).send(method, &fill(path), content_type, body).await;
    (Told::by_http(&answer), answer.status)
}

/// What processes of the platform say to each other.
const INTERNAL: [&str; 12] = [
    "auth.Authenticate",
    "auth.Authorize",
    "auth.CheckObjects",
    "auth.Expand",
    "auth.Register",
    "auth.ResolveDomain",
    "auth.SetParent",
    "auth.SetStatus",
    "auth.Unregister",
    "channels.Authorize",
    "clients.Authenticate",
    "clients.Identify",
];

async fn methods_between_services_do_not_exist_outside(world: World) {
    let grpc = Grpc::connect(&world).await;
    let cast = Cast::assemble(&world).await;
    let stage = Stage::build(&world, &cast, &[], false).await;
    for name in INTERNAL {
        let path = path_of(&method_of(name).unwrap());
        for column in ["nobody", "garbage", "stranger", "owner", "admin", "disabled", "device"] {
            let subject = cast.subject(column, &stage);
            let authorization = subject.authorization.as_deref();
            let answer = grpc.call(&path, authorization, &json!({})).await;
            assert_eq!(
                answer.unwrap_err().code(),
                tonic::Code::Unimplemented,
                "{name} asked by {column}"
            );
            let answer = http(&world, &subject).post(&format!("/{path}"), &json!({})).await;
            assert_eq!(
                Told::by_http(&answer),
                Told::failure("NOT_FOUND", "ROUTE_NOT_FOUND"),
                "{name} asked by {column}"
            );
        }
    }
    world.stop().await;
}
