//! Compiles the schemas without a system protoc: protox reads them, tonic-prost-build writes the code.

use std::io::Error;
use std::path::PathBuf;

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

fn main() -> Result<(), Error> {
    println!("cargo:rerun-if-changed=feira");
    let descriptors = protox::compile(SCHEMAS, ["."]).map_err(Error::other)?;
    let out = PathBuf::from(std::env::var("OUT_DIR").map_err(Error::other)?);
    std::fs::write(out.join("descriptors.bin"), prost_encode(&descriptors))?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)
}

fn prost_encode(descriptors: &impl prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
