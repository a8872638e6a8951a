#!/usr/bin/env bash
# rumqttc 0.25.1, MQTT 5: an encoded DISCONNECT with a reason and without properties says remaining length 1 and is followed by
# two bytes, the reason and an empty property list. MQTT 5 (OASIS, 3.14.2.2.1) allows the list to be left out only if its length
# byte is, too. Whoever writes several packets into one buffer, or reads by the length, finds a byte too many: 0x00, which no
# packet begins with. (Seen while writing a broker over the codec; as the last packet of a connection it does no harm.)
#
# Seen: e0 01 8b 00, where e0 01 8b or e0 02 8b 00 would be right. Fails if that changes.
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
bytes = "1"
TOML
mkdir src
cat > src/main.rs <<'RUST'
use rumqttc::v5::mqttbytes::v5::{Disconnect, DisconnectReasonCode};

fn main() {
    let mut bytes = bytes::BytesMut::new();
    Disconnect::new(DisconnectReasonCode::ServerShuttingDown).write(&mut bytes).unwrap();
    println!("{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
}
RUST
said=$(cargo run --quiet)
echo "rumqttc 0.25.1 writes: $said"
[ "$said" = "e0 01 8b 00" ]
