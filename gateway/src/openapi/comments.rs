//! The words of the contracts: comments by full proto name.

use std::collections::HashMap;

use prost_reflect::{EnumDescriptor, EnumValueDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor};
use prost_reflect::{MethodDescriptor, ServiceDescriptor};

use crate::contract::Contract;

/// Comments of every file, by file name and path of the declaration.
pub(super) struct Comments(HashMap<(String, Vec<i32>), String>);

/// One comment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comment {
    /// All of it.
    pub(super) text: String,
    /// Its first sentence, without the full stop.
    pub(super) summary: String,
    /// What follows the first sentence.
    pub(super) rest: String,
}

impl Comments {
    /// Reads the comments of every file that the contract's pool holds.
    pub(super) fn read(contract: &Contract) -> Self {
        let Some(first) = contract.operations.first() else {
            return Self(HashMap::new());
        };
        let pool = first.method.parent_pool().clone();
        let mut comments = HashMap::new();
        for file in pool.files() {
            let locations = file
                .file_descriptor_proto()
                .source_code_info
                .as_ref()
                .map(|info| &info.location[..]);
            for location in locations.unwrap_or_default() {
                if let Some(comment) = &location.leading_comments {
                    comments.insert((file.name().to_owned(), location.path.clone()), comment.clone());
                }
            }
        }
        Self(comments)
    }

    pub(super) fn of_service(&self, service: &ServiceDescriptor) -> Comment {
        self.find(&service.parent_file(), service.path())
    }

    pub(super) fn of_method(&self, method: &MethodDescriptor) -> Comment {
        self.find(&method.parent_service().parent_file(), method.path())
    }

    pub(super) fn of_message(&self, message: &MessageDescriptor) -> Comment {
        self.find(&message.parent_file(), message.path())
    }

    pub(super) fn of_field(&self, field: &FieldDescriptor) -> Comment {
        self.find(&field.parent_file(), field.path())
    }

    pub(super) fn of_enum(&self, enumeration: &EnumDescriptor) -> Comment {
        self.find(&enumeration.parent_file(), enumeration.path())
    }

    pub(super) fn of_value(&self, value: &EnumValueDescriptor) -> Comment {
        self.find(&value.parent_file(), value.path())
    }

    fn find(&self, file: &FileDescriptor, path: &[i32]) -> Comment {
        self.0
            .get(&(file.name().to_owned(), path.to_vec()))
            .map(|raw| Comment::of(raw))
            .unwrap_or_default()
    }
}

impl Comment {
    /// Joins the lines of a raw comment and parts its first sentence.
    fn of(raw: &str) -> Self {
        let text = raw.split_whitespace().collect::<Vec<_>>().join(" ");
        let (summary, rest) = text.split_once(". ").unwrap_or((&text, ""));
        let summary = summary.trim_end_matches('.').to_owned();
        Self {
            summary,
            rest: rest.to_owned(),
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sentence_is_the_summary() {
        let comment = Comment::of(" Creates a client. The answer\n alone shows its secret.\n");
        assert_eq!(comment.summary, "Creates a client");
        assert_eq!(comment.rest, "The answer alone shows its secret.");
        assert_eq!(Comment::of(" Shows a channel.\n").summary, "Shows a channel");
    }
}
