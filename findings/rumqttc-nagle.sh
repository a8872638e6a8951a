#!/usr/bin/env bash
# rumqttc 0.25.1 leaves Nagle's algorithm on (NetworkOptions::set_tcp_nodelay, false unless it is called), and MQTT's QoS 1 makes every
# caller pay for it who asks one request after another: the PUBACK of an answer is a small packet that nothing answers, so the next
# request waits in the socket until the broker's TCP acknowledges that PUBACK, which Linux delays by 40 ms. Other libraries of request
# and response (tonic, tokio-postgres) set TCP_NODELAY by themselves; mosquitto's option of that name is for the broker's side and does
# not help here. paho-mqtt 2.2.0 (Python) is the same, and has no option for it but the callback on_socket_open.
#
# Seen: over one broker on the loopback a round trip takes 35 ms or more as the library comes (44 ms when this was written), and with
# the one option less (0.13 ms).
# Needs mosquitto. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker"; rm -rf "$folder"' EXIT
cd "$folder"
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
rumqttc = { version = "=0.25.1", default-features = false }
tokio = { version = "1", features = ["full"] }
TOML
mkdir src
cat > src/main.rs <<'RUST'
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::NetworkOptions;

const ROUNDS: usize = 60;

/// A client that hears this topic.
async fn hearing(name: &str, topic: &str, nodelay: bool) -> (AsyncClient, EventLoop) {
    let port = std::env::args().nth(1).unwrap().parse().unwrap();
    let mut options = MqttOptions::new(name, "127.0.0.1", port);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(nodelay);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::new(options, 16);
    client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    (client, events)
}

/// The median time of a request and its answer, one after another.
async fn round_trip(nodelay: bool) -> Duration {
    let (answering, mut asked) = hearing("answers", "question", true).await;
    let answers = tokio::spawn(async move {
        while let Ok(event) = asked.poll().await {
            if let Event::Incoming(Packet::Publish(_)) = event {
                answering.publish("answer", QoS::AtLeastOnce, false, "yes").await.unwrap();
            }
        }
    });
    let (asking, mut answered) = hearing("asks", "answer", nodelay).await;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        asking.publish("question", QoS::AtLeastOnce, false, "well?").await.unwrap();
        while !matches!(answered.poll().await.unwrap(), Event::Incoming(Packet::Publish(_))) {}
        times.push(begun.elapsed());
    }
    answers.abort();
    times.sort();
    times[ROUNDS / 2]
}

#[tokio::main]
async fn main() {
    let [slow, fast] = [round_trip(false).await, round_trip(true).await];
    eprintln!("measured: {slow:?} and {fast:?}");
    let is_delayed = |time: Duration| if time >= Duration::from_millis(35) { "delayed" } else { "prompt" };
    println!("as it comes: {}, with set_tcp_nodelay(true): {}", is_delayed(slow), is_delayed(fast));
}
RUST
cargo build --quiet
port=$((20000 + RANDOM % 10000))
printf 'listener %s 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n' "$port" > mosquitto.conf
PATH=$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin mosquitto -c mosquitto.conf 2> mosquitto.log & broker=$!
until (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do kill -0 "$broker"; sleep 0.05; done
said=$(target/debug/finding "$port")
echo "$said"
[ "$said" = 'as it comes: delayed, with set_tcp_nodelay(true): prompt' ]
