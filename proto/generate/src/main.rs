//! Writes `proto/generated`: the schemas of `proto/feira` as Rust, and as one `FileDescriptorSet` for gRPC reflection.
//!
//! What is written is committed, so that nobody who builds feira builds a compiler of schemas first (21 crates, a tenth of a
//! release build). After a change of a `.proto` file: `cargo xtask protos`, before anything else; this crate imports none of
//! ours, so it runs while the rest does not compile. Its test fails while the two differ.
//!
//! protox reads the schemas, without a system protoc; tonic-prost-build writes the code.
#![allow(clippy::print_stdout)] // It talks to people.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use prost::Message as _;

const SCHEMAS: [&str; 8] = [
    "feira/store/v1/kv.proto",
    "feira/store/v1/log.proto",
    "feira/store/v1/replication.proto",
    "feira/store/v1/cluster.proto",
    "feira/store/v1/changes.proto",
    "feira/portal/v1/types.proto",
    "feira/portal/v1/admin.proto",
    "feira/portal/v1/client.proto",
];

/// Where the schemas are, and the folder that is written.
const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn main() -> anyhow::Result<()> {
    let folder = Path::new(PROTO).join("generated");
    write(&folder)?;
    println!("written: {}", folder.display());
    Ok(())
}

/// Writes all of it into a folder that exists.
fn write(folder: &Path) -> anyhow::Result<()> {
    let descriptors = protox::compile(SCHEMAS, [PROTO]).context("cannot read the schemas")?;
    fs::write(folder.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .out_dir(folder)
        .compile_fds(descriptors)
        .with_context(|| format!("cannot write into {}", folder.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        paths.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
    }

    #[test]
    fn the_generated_code_is_that_of_the_schemas() {
        let anew = tempfile::tempdir().unwrap();
        write(anew.path()).unwrap();
        let (anew, committed) = (files(anew.path()), files(&Path::new(PROTO).join("generated")));
        assert!(anew.keys().eq(committed.keys()), "{:?} and {:?}", anew.keys(), committed.keys());
        for (name, content) in anew {
            assert!(
                committed[&name] == content,
                "proto/generated/{name} is of other schemas: cargo xtask protos"
            );
        }
    }
}
