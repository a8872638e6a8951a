#!/usr/bin/env bash
# csv 1.4.0: quotes out of balance are no error. Something behind a closing quote becomes part of the cell ("a"b is read as ab), and
# from a quote that never closes to the end of the file all is one cell, with the lines in it: the last record then has the right number
# of cells, and the records that were swallowed are missing without a word. It is meant so (csv-core: any sequence of bytes is read); a
# file of a shop's records needs its own look at the quotes, and a bound on a record (cli/src/exchange/quotes.rs).
#
# Seen: two records where four lines stand, the second of them with the lines below it. Fails if that changes.
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
csv = "=1.4.0"
TOML
mkdir src
cat > src/main.rs <<'RUST'
fn main() {
    let text = "ana,\"An\"a\nbia,\"Bia\ncaio,Caio\ndora,Dora\n";
    let mut reader = csv::ReaderBuilder::new();
    for record in reader.has_headers(false).from_reader(text.as_bytes()).records() {
        println!("{:?}", record.unwrap().iter().collect::<Vec<_>>());
    }
}
RUST
said=$(cargo run --quiet)
echo "$said"
[ "$said" = '["ana", "Ana"]
["bia", "Bia\ncaio,Caio\ndora,Dora\n"]' ]
