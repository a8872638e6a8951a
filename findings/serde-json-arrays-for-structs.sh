#!/usr/bin/env bash
# serde 1.0.229 with serde_json 1.0.154: a struct with the derived Deserialize is read from a JSON array too, its members by their
# order, also where `deny_unknown_fields` stands, and with `default` from an array that is too short. Who publishes a schema that
# says "object" (OpenAPI) takes more than it says, and members that are moved in the source change their meaning there.
# serde documents that a struct may come as a sequence (Visitor::visit_seq is derived); that self-describing formats with objects
# take one is what surprises. A Visitor with visit_map alone, or deserialize_map in between, takes objects only.
#
# Seen: ["fig",2] and [] are both read, {"pid":"fig","colour":1} is refused. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
serde = { version = "=1.0.229", features = ["derive"] }
serde_json = "=1.0.154"
TOML
mkdir src
cat > src/main.rs <<'RUST'
#[derive(serde::Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
struct Line {
    pid: String,
    quantity: i64,
}

fn main() {
    for text in [r#"["fig",2]"#, "[]", r#"{"pid":"fig","colour":1}"#] {
        match serde_json::from_str::<Line>(text) {
            Ok(line) => println!("{text}: {:?} {}", line.pid, line.quantity),
            Err(_) => println!("{text}: refused"),
        }
    }
}
RUST
said=$(cargo run --quiet)
echo "$said"
[ "$said" = '["fig",2]: "fig" 2
[]: "" 0
{"pid":"fig","colour":1}: refused' ]
