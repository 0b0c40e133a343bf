//! The route table: a tree of path segments. A literal segment wins over a variable, leftmost first.
//!
//! Slashes before the first segment are one slash, because clients join a base URL that ends in `/` with a path that begins
//! with one. Anywhere else an empty segment matches nothing: an empty id must not turn one route into another.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use http::Method;

use crate::percent;

/// Segments of the longest path that is looked up.
const SEGMENTS_MAX: usize = 16;

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This very text.
    Literal(String),
    /// Any text that is not empty.
    Variable(String),
    /// Any UUID in its usual form.
    Uuid(String),
}

/// A path template such as `/{domain_id}/clients/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Segment>);

/// Routes by path and method.
#[derive(Debug, Default)]
pub(crate) struct Table {
    root: Node,
    /// Shape of each path with the template that came first.
    shapes: HashMap<String, Template>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    uuid: Option<Box<Node>>,
    variable: Option<Box<Node>>,
    routes: Vec<(Method, usize)>,
}

/// What a path and a method lead to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Match<'a> {
    /// The route, with the variables' values in the order of its template.
    Route(usize, Vec<Cow<'a, str>>),
    /// The path exists with other methods, as `Allow` lists them.
    OtherMethods(String),
    /// There is no such path.
    Nothing,
}

impl Template {
    /// Reads a template; an error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix('/').ok_or("a path template starts with `/`")?;
        let segments: Vec<Segment> = path.split('/').map(segment).collect::<Result<_, _>>()?;
        if segments.len() > SEGMENTS_MAX {
            return Err(format!("a path template has at most {SEGMENTS_MAX} segments"));
        }
        let mut names = BTreeSet::new();
        let repeated = Self(segments.clone())
            .variables()
            .find(|name| !names.insert(name.to_string()))
            .map(str::to_owned);
        match repeated {
            Some(name) => Err(format!("`{{{name}}}` comes twice in its path")),
            None => Ok(Self(segments)),
        }
    }

    /// Names of its variables, from the left.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Variable(name) | Segment::Uuid(name) => Some(name.as_str()),
        })
    }

    /// The template with its variables' names left out.
    fn shape(&self) -> String {
        let parts = self.0.iter().map(|segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Variable(_) | Segment::Uuid(_) => "/{}".to_owned(),
        });
        parts.collect()
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(formatter, "/{text}"),
            Segment::Variable(name) | Segment::Uuid(name) => write!(formatter, "/{{{name}}}"),
        })
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some("domain_id") => Ok(Segment::Uuid("domain_id".to_owned())),
        Some(name) if is_word(name) => Ok(Segment::Variable(name.to_owned())),
        None if is_word(text) => Ok(Segment::Literal(text.to_owned())),
        Some(_) | None => Err(format!("`{text}` is neither a word nor a variable in braces")),
    }
}

impl Table {
    /// Adds `route`. An error says which earlier template it cannot stand beside.
    pub(crate) fn add(&mut self, verb: &Method, template: &Template, route: usize) -> Result<(), String> {
        let earlier = self.shapes.entry(template.shape()).or_insert_with(|| template.clone());
        if earlier != template {
            return Err(format!("{template} and {earlier} are one path with different names"));
        }
        let mut node = &mut self.root;
        for segment in &template.0 {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Uuid(_) => node.uuid.get_or_insert_default(),
                Segment::Variable(_) => node.variable.get_or_insert_default(),
            };
        }
        if node.routes.iter().any(|(known, _)| known == verb) {
            return Err(format!("{verb} {template} is declared twice"));
        }
        node.routes.push((verb.clone(), route));
        Ok(())
    }

    /// Looks a request up. HEAD is answered where GET is. The path is chosen before the method.
    pub(crate) fn find<'a>(&self, verb: &Method, path: &'a str) -> Match<'a> {
        let segments: Option<Vec<Cow<'a, str>>> = path
            .trim_start_matches('/')
            .split('/')
            .take(SEGMENTS_MAX + 1)
            .map(percent::decode_segment)
            .collect();
        let Some(segments) = segments else {
            return Match::Nothing;
        };
        let mut captures = Vec::new();
        let Some(node) = self.root.find(&segments, &mut captures) else {
            return Match::Nothing;
        };
        let verb = if verb == Method::HEAD { &Method::GET } else { verb };
        match node.routes.iter().find(|(known, _)| known == verb) {
            Some((_, route)) => Match::Route(
                *route,
                captures.into_iter().map(|index| segments[index].clone()).collect(),
            ),
            None => Match::OtherMethods(node.allow()),
        }
    }
}

impl Node {
    /// The node of a path, with the indices of the segments that variables took.
    fn find(&self, segments: &[Cow<'_, str>], captures: &mut Vec<usize>) -> Option<&Self> {
        self.descend(segments, 0, captures)
    }

    fn descend(&self, segments: &[Cow<'_, str>], index: usize, captures: &mut Vec<usize>) -> Option<&Self> {
        let Some(text) = segments.get(index) else {
            return (!self.routes.is_empty()).then_some(self);
        };
        if let Some(found) = self
            .literals
            .get(text.as_ref())
            .and_then(|node| node.descend(segments, index + 1, captures))
        {
            return Some(found);
        }
        let uuid = self.uuid.as_deref().filter(|_| is_uuid(text));
        let variable = self.variable.as_deref().filter(|_| !text.is_empty());
        for node in [uuid, variable].into_iter().flatten() {
            captures.push(index);
            if let Some(found) = node.descend(segments, index + 1, captures) {
                return Some(found);
            }
            captures.pop();
        }
        None
    }

    fn allow(&self) -> String {
        let mut verbs: BTreeSet<&str> = self.routes.iter().map(|(verb, _)| verb.as_str()).collect();
        if verbs.contains("GET") {
            verbs.insert("HEAD");
        }
        verbs.insert("OPTIONS");
        verbs.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// Whether `text` is a UUID with hyphens, in either case.
fn is_uuid(text: &str) -> bool {
    const HYPHENATED_BYTES: usize = 36;
    text.len() == HYPHENATED_BYTES && uuid::Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
