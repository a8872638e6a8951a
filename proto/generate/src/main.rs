//! Writes `proto/generated`: the schemas of `proto/feira` as Rust, and as one `FileDescriptorSet` for gRPC reflection.
//!
//! What is written is committed, so that nobody who builds feira builds a compiler of schemas first (21 crates, a tenth of a
//! release build). After a change of a `.proto` file: `cargo xtask protos`, before anything else; this crate imports none of
//! ours, so it runs while the rest does not compile. Its test fails while the two differ.
//!
//! protox reads the schemas, without a system protoc; tonic-prost-build writes the code. The portals' messages are serde types
//! too: their JSON is what HTTP and MQTT carry and what `--json` prints (`proto/src/json.rs`).
#![allow(clippy::print_stdout)] // It talks to people.

// This crate imports none of ours.
#[allow(unreachable_pub)]
#[path = "../../src/json_fields.rs"]
mod json_fields;

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Label;
use tonic_prost_build::Builder;

const SCHEMAS: [&str; 9] = [
    "feira/store/v1/cross.proto",
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
    as_json(tonic_prost_build::configure(), &descriptors)
        .bytes(".")
        .out_dir(folder)
        .compile_fds(descriptors)
        .with_context(|| format!("cannot write into {}", folder.display()))
}

/// The package whose messages have a JSON form.
const OF_JSON: &str = "feira.portal.v1";
/// Messages that are parts of requests.
const PARTS_ASKED: [&str; 4] = ["ImportedLine", "ImportedNote", "LineChange", "StockRules"];
/// Gives the portals' messages their JSON form. What requests are made of takes no member that is not known; a request's id is not
/// in it, since each transport has a place of its own for that.
fn as_json(mut builder: Builder, descriptors: &FileDescriptorSet) -> Builder {
    let of_portals = descriptors.file.iter().filter(|file| file.package() == OF_JSON);
    for message in of_portals.flat_map(|file| &file.message_type) {
        let path = format!("{OF_JSON}.{}", message.name());
        let is_asked = message.name().ends_with("Request") || PARTS_ASKED.contains(&message.name());
        builder = builder
            .message_attribute(&path, "#[derive(serde::Serialize, serde::Deserialize)]")
            .message_attribute(&path, "#[serde(default)]");
        if is_asked {
            builder = builder.message_attribute(&path, "#[serde(deny_unknown_fields)]");
        }
        let parts = message.field.iter().filter(|field| is_asked && field.label() == Label::Repeated);
        for part in parts {
            let only_objects = "#[serde(deserialize_with = \"crate::json::objects\")]";
            builder = builder.field_attribute(format!("{path}.{}", part.name()), only_objects);
        }
        if message.field.iter().any(|field| field.name() == "request") {
            builder = builder.field_attribute(format!("{path}.request"), "#[serde(skip)]");
        }
    }
    let with = |module: &str| format!("#[serde(with = \"crate::json::{module}\")]");
    for field in json_fields::DOCUMENTS {
        builder = builder.field_attribute(format!("{OF_JSON}.{field}"), with("text"));
    }
    for field in json_fields::STATES {
        builder = builder.field_attribute(format!("{OF_JSON}.{field}"), with("state"));
    }
    for field in json_fields::WANTED_STATES {
        builder = builder.field_attribute(format!("{OF_JSON}.{field}"), with("wanted_state"));
    }
    for field in json_fields::SORTS {
        builder = builder.field_attribute(format!("{OF_JSON}.{field}"), with("sort"));
    }
    for field in json_fields::RECORD_STATES {
        builder = builder.field_attribute(format!("{OF_JSON}.{field}"), with("record_state"));
    }
    builder
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
    fn the_rust_code_is_that_of_the_schemas() {
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
