//! A comment on every service, method, message, field, enum, value and option of ours.

use std::collections::BTreeSet;

use prost_reflect::{EnumDescriptor, FileDescriptor, MessageDescriptor};

use crate::options::pool;

/// One declaration: its name and its place in its file, as source information gives it.
type Declared = (String, Vec<i32>);

#[test]
fn everything_that_the_contracts_declare_has_a_comment() {
    let ours = pool()
        .files()
        .filter(|file| file.package_name().starts_with("trunkline."));
    let mut bare = Vec::new();
    for file in ours {
        let (declared, commented) = (declared_in(&file), commented_in(&file));
        assert!(!declared.is_empty(), "{} declares nothing", file.name());
        bare.extend(
            declared
                .into_iter()
                .filter(|(_, path)| !commented.contains(path))
                .map(|(name, _)| name),
        );
    }
    assert!(bare.is_empty(), "without a comment: {}", bare.join(", "));
}

#[test]
fn a_package_is_where_its_name_says_and_nowhere_else() {
    for file in pool().files().filter(|file| file.name().starts_with("trunkline/")) {
        let folder = file.name().rsplit_once('/').unwrap().0;
        assert_eq!(file.package_name(), folder.replace('/', "."), "{}", file.name());
        assert!(folder.ends_with("/v1"), "{} has no version", file.name());
    }
}

#[test]
fn no_two_options_of_ours_share_a_number() {
    let ours: Vec<_> = pool()
        .all_extensions()
        .filter(|extension| extension.full_name().starts_with("trunkline."))
        .map(|extension| extension.number())
        .collect();
    assert_eq!(BTreeSet::from_iter(&ours).len(), ours.len(), "{ours:?}");
}

/// The places of a file that have a comment.
fn commented_in(file: &FileDescriptor) -> BTreeSet<Vec<i32>> {
    let source = file.file_descriptor_proto().source_code_info.as_ref();
    let locations = source.map(|info| &info.location[..]).unwrap_or_default();
    let has_words = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.trim().is_empty());
    let commented = locations
        .iter()
        .filter(|location| has_words(&location.leading_comments) || has_words(&location.trailing_comments));
    commented.map(|location| location.path.clone()).collect()
}

fn declared_in(file: &FileDescriptor) -> Vec<Declared> {
    let mut declared = Vec::new();
    for service in file.services() {
        declared.push((service.full_name().to_owned(), service.path().to_vec()));
        let methods = service.methods();
        declared.extend(methods.map(|method| (method.full_name().to_owned(), method.path().to_vec())));
    }
    for extension in file.extensions() {
        declared.push((extension.full_name().to_owned(), extension.path().to_vec()));
    }
    file.messages().for_each(|message| add_message(&message, &mut declared));
    file.enums().for_each(|kind| add_enum(&kind, &mut declared));
    declared
}

fn add_message(message: &MessageDescriptor, declared: &mut Vec<Declared>) {
    declared.push((message.full_name().to_owned(), message.path().to_vec()));
    for field in message.fields() {
        declared.push((field.full_name().to_owned(), field.path().to_vec()));
    }
    // The entry of a map is written by the compiler, not by us.
    let written = message.child_messages().filter(|child| !child.is_map_entry());
    written.for_each(|child| add_message(&child, declared));
    message.child_enums().for_each(|kind| add_enum(&kind, declared));
}

fn add_enum(kind: &EnumDescriptor, declared: &mut Vec<Declared>) {
    declared.push((kind.full_name().to_owned(), kind.path().to_vec()));
    for value in kind.values() {
        declared.push((value.full_name().to_owned(), value.path().to_vec()));
    }
}
