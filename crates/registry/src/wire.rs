//! What the contracts of all registries say alike, to and from own types. A fault names the field by its request path.

use prost_types::{FieldMask, Timestamp as ProtoTime};
use trunkline_core::attributes::{Metadata, NAME_BYTES_MAX, Name, bounded_text};
use trunkline_core::{DomainId, Fault, Id, Timestamp};
use trunkline_proto::auth::v1::ExpandResponse;
use trunkline_proto::http::v1::Json;

use crate::error::Error;
use crate::list::Visible;

/// Letters of a wrong path that its fault shows.
const SHOWN_MAX: usize = 64;

/// A text that was given. An empty one is the same as none: older clients send all fields always.
pub fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The id of a domain.
///
/// # Errors
/// INVALID_ARGUMENT when the text is no UUID.
pub fn domain_id(text: &str) -> Result<DomainId, Fault> {
    text.parse().map_err(|_| Fault::invalid("domain_id", "is not a UUID"))
}

/// The id of an object.
///
/// # Errors
/// INVALID_ARGUMENT when the text is no UUID, or the one that names nothing.
pub fn id<I: Id>(field: &str, text: &str) -> Result<I, Fault> {
    let id: I = text.parse().map_err(|_| Fault::invalid(field, "is not a UUID"))?;
    if id.uuid().is_nil() {
        return Err(Fault::invalid(field, "is the nil UUID, which names nothing"));
    }
    Ok(id)
}

/// A name, where one was given.
///
/// # Errors
/// INVALID_ARGUMENT, see [`Name::parse`].
pub fn name(field: &str, text: Option<String>) -> Result<Option<Name>, Fault> {
    given(text).map(|text| Name::parse(field, &text)).transpose()
}

/// Part of a name to look for, with case folded.
///
/// # Errors
/// INVALID_ARGUMENT when it is longer than any name.
pub fn part_of_name(text: &str) -> Result<Option<String>, Fault> {
    bounded_text("name", text, NAME_BYTES_MAX)?;
    Ok(Some(text.to_lowercase()).filter(|text| !text.is_empty()))
}

/// Free JSON, where some was given.
///
/// # Errors
/// INVALID_ARGUMENT, see [`Metadata::parse`].
pub fn metadata(field: &str, json: Option<Json>) -> Result<Option<Metadata>, Fault> {
    json.map(|json| Metadata::parse(field, &json.text)).transpose()
}

/// Free JSON as contracts carry it.
pub fn json(metadata: Metadata) -> Json {
    Json {
        text: metadata.into_string().into(),
    }
}

/// A time as contracts carry it.
pub fn time(time: Timestamp) -> ProtoTime {
    let nanos = time.micros().rem_euclid(1_000_000) * 1_000;
    ProtoTime {
        seconds: time.seconds(),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

/// The paths of an update, each of which is one of `changeable`.
///
/// # Errors
/// INVALID_ARGUMENT that shows the first other one.
pub fn paths(mask: Option<FieldMask>, changeable: &[&str]) -> Result<Vec<String>, Fault> {
    let paths = mask.unwrap_or_default().paths;
    let Some(other) = paths.iter().find(|path| !changeable.contains(&path.as_str())) else {
        return Ok(paths);
    };
    let shown: String = other.chars().take(SHOWN_MAX).collect();
    let quoted: Vec<_> = changeable.iter().map(|path| format!("`{path}`")).collect();
    let (last, others) = quoted
        .split_last()
        .map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
    let description = format!("names `{shown}`; only {} and {last} can be changed", others.join(", "));
    Err(Fault::invalid("update_mask", description))
}

/// What `auth` says that the caller may read.
///
/// # Errors
/// [`Error::Answer`] when an id is none; RESOURCE_EXHAUSTED, see [`Visible::some`].
pub fn visible<I: Id>(held: &ExpandResponse) -> Result<Visible<I>, Error> {
    if held.all {
        return Ok(Visible::All);
    }
    let groups = held.group_ids.iter().map(|id| id.parse()).collect::<Result<_, _>>();
    let objects = held.object_ids.iter().map(|id| id.parse()).collect::<Result<_, _>>();
    match (groups, objects) {
        (Ok(groups), Ok(objects)) => Ok(Visible::some(groups, objects)?),
        (Err(_), _) | (_, Err(_)) => Err(Error::Answer {
            service: "auth",
            defect: "an expanded id is no UUID",
        }),
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::ClientId;

    use super::*;

    const ID: &str = "0192f0c1-7b1e-7c3a-9a55-0123456789ab";

    #[test]
    fn an_expansion_that_is_no_list_of_ids_is_an_error_and_not_an_empty_list() {
        let held = |all, id: &str| ExpandResponse {
            all,
            group_ids: Vec::new(),
            object_ids: vec![id.into()],
        };
        assert_eq!(visible::<ClientId>(&held(true, ID)).unwrap(), Visible::All);
        let some = Visible::Some {
            groups: Vec::new(),
            objects: vec![ID.parse().unwrap()],
        };
        assert_eq!(visible::<ClientId>(&held(false, ID)).unwrap(), some);
        assert!(visible::<ClientId>(&held(false, "x")).is_err());
    }

    #[test]
    fn a_path_that_cannot_be_changed_is_shown_beside_those_that_can() {
        let mask = |paths: &[&str]| {
            Some(FieldMask {
                paths: paths.iter().map(ToString::to_string).collect(),
            })
        };
        let changeable = ["name", "tags", "metadata"];
        assert_eq!(paths(mask(&["tags"]), &changeable), Ok(vec!["tags".to_owned()]));
        assert_eq!(paths(None, &changeable), Ok(Vec::new()));
        let fault = paths(mask(&["tags", "status"]), &changeable).unwrap_err();
        assert_eq!(fault.fields[0].field, "update_mask");
        let told = "names `status`; only `name`, `tags` and `metadata` can be changed";
        assert!(fault.message.ends_with(told), "{}", fault.message);
        let long = "x".repeat(1_000);
        assert!(paths(mask(&[&long]), &changeable).unwrap_err().message.len() < 200);
    }
}
