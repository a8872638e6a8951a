#!/usr/bin/env bash
# rumqttc 0.25.1 (MQTT 5) makes, for every client, a place for each publish that could be on its way unacknowledged, at once and filled in:
# 65,536 of them unless MqttOptions::set_outgoing_inflight_upper_limit says fewer. A client that only subscribes, or publishes at QoS 0, has them too;
# the capacity that AsyncClient::new takes is of another queue, and what the broker allows (Receive Maximum, 20 for mosquitto)
# only bounds how many are used.
#
# Seen: a client that was made, and has not connected yet, takes more than 8 MB of memory as it comes (13.8 MB when this was written), and less than
# 1 MB with a limit of 64.
# Fails if that changes.
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
rumqttc = { version = "=0.25.1", default-features = false }
TOML
mkdir src
cat > src/main.rs <<'RUST'
use rumqttc::v5::{AsyncClient, MqttOptions};

/// Memory of this process that is its own, kB.
fn own_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a client takes that does nothing.
fn taken_kb(limit: Option<u16>) -> u64 {
    let mut options = MqttOptions::new("idle", "127.0.0.1", 1883);
    if let Some(limit) = limit {
        options.set_outgoing_inflight_upper_limit(limit);
    }
    let before = own_kb();
    let _client = AsyncClient::new(options, 16);
    own_kb() - before
}

fn main() {
    let [limited, free] = [taken_kb(Some(64)), taken_kb(None)];
    eprintln!("measured: {free} kB as it comes, {limited} kB with a limit of 64");
    let size = |kb: u64| if kb > 8_000 { "more than 8 MB" } else if kb < 1_000 { "less than 1 MB" } else { "between" };
    println!("as it comes: {}, with a limit of 64: {}", size(free), size(limited));
}
RUST
cargo build --quiet --release
seen=$(target/release/finding)
echo "$seen"
[ "$seen" = "as it comes: more than 8 MB, with a limit of 64: less than 1 MB" ]
