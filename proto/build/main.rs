//! Builds the contracts: messages, clients and servers by prost and tonic, guards by [`guards`].
//!
//! protox compiles the protos, so no protoc is needed. Everything that reads options works on protox's encoded bytes, because
//! the prost types drop them.

mod guards;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use prost::Message as _;
use prost_reflect::DescriptorPool;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = Vec::new();
    protos_below(&root.join("trunkline"), &mut files)?;
    files.sort();
    println!("cargo:rerun-if-changed={}", root.join("trunkline").display());
    println!("cargo:rerun-if-changed={}", root.join("google").display());
    println!("cargo:rerun-if-changed={}", root.join("build").display());

    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), &encoded)?;

    let descriptors = prost_types_of(&encoded)?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .compile_fds(descriptors)?;

    let pool = DescriptorPool::decode(encoded.as_slice())?;
    fs::write(out.join("guards.rs"), guards::generate(&pool)?)?;
    Ok(())
}

/// The descriptors in the form that code generation takes.
fn prost_types_of(encoded: &[u8]) -> Result<tonic_prost_build::FileDescriptorSet, prost::DecodeError> {
    tonic_prost_build::FileDescriptorSet::decode(encoded)
}

/// Collects every `.proto` below `folder`.
fn protos_below(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            protos_below(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
