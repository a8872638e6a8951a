#!/usr/bin/env bash
# figment 0.10.19: a quoted value of a variable (Env, or Value::from_str) loses letters if a letter of more than one byte stands
# before its first escape. The place of the escape is counted in characters (value/escape.rs) and the text before it is cut at that
# number of bytes, so the tail is lost; where that cut falls inside a letter, the reading panics instead of failing. The same value
# without an escape, and the same in a TOML file, is read whole.
#
# Seen: the quoted text with a tab written as backslash and t comes back without its second letter; with a space it comes back
# whole. Fails if that changes.
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
figment = { version = "=0.10.19", features = ["env"] }
TOML
mkdir src
cat > src/main.rs <<'RUST'
use figment::providers::Env;
use figment::Figment;

fn main() {
    for written in [r#""éé x""#, r#""éé\tx""#] {
        std::env::set_var("SHOP_NAME", written);
        let name: String = Figment::from(Env::prefixed("SHOP_")).extract_inner("name").unwrap();
        println!("{written} is read as {name:?}");
    }
}
RUST
said=$(cargo run --quiet)
echo "$said"
[ "$said" = '"éé x" is read as "éé x"
"éé\tx" is read as "é\tx"' ]
