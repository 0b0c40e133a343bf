//! Contracts that tests make up, compiled beside the real ones.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use prost_reflect::DescriptorPool;
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

const NAME: &str = "trunkline/fixture/v1/fixture.proto";
const HEAD: &str = r#"
    syntax = "proto3";
    package trunkline.fixture.v1;
    import "google/api/http.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/field_mask.proto";
    import "google/protobuf/timestamp.proto";
    import "trunkline/authz/v1/rule.proto";
    import "trunkline/http/v1/options.proto";
"#;

struct Source(String);

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == NAME {
            File::from_source(name, &self.0)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

/// The pool of the contract whose declarations are `body`.
pub(crate) fn pool(body: &str) -> DescriptorPool {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Source(format!("{HEAD}{body}")));
    resolver.add(IncludeFileResolver::new(PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../proto"
    ))));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_file(NAME)
        .unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}
