//! The promises of the embedded broker alone: its start and stop, and its bounds.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use broker::{Config, Error, limits, serve};
use fixture::{DEADLINE, Peer, on_port, options, start};
use proptest::prelude::*;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::sync::{oneshot, watch};

mod fixture;

#[tokio::test]
async fn a_broker_restarted_on_the_same_port_serves_again() {
    let broker = start(on_port(0)).await;
    let port = broker.at.port();
    let mut before = Peer::connect(options("portal", broker.at)).await;
    before.subscribe("feira/#").await;
    let stopping = tokio::spawn(broker.stop());
    before.failure().await;
    drop(before);
    stopping.await.unwrap();
    let broker = start(on_port(port)).await;
    assert_eq!(broker.at.port(), port);
    let mut after = Peer::connect(options("portal", broker.at)).await;
    after.subscribe("feira/#").await;
    after.publish("feira/c/changes/0", false, "again").await;
    assert_eq!(after.payloads(1).await, ["again"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_says_what_to_do() {
    let broker = start(on_port(0)).await;
    let (_stop, stopped) = watch::channel(false);
    let (ready, bound) = oneshot::channel();
    let error = serve(on_port(broker.at.port()), stopped, ready).await.unwrap_err();
    assert!(matches!(error, Error::Bind { at, .. } if at == broker.at), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("choose another port") && text.contains("Address already in use"), "{text}");
    assert_eq!(text.matches("port").count(), 1, "one hint: {text}");
    assert!(std::error::Error::source(&error).is_none(), "nothing is told a second time by its causes");
    assert!(bound.await.is_err(), "nothing was reported as bound");
    broker.stop().await;
}

#[tokio::test]
async fn a_packet_over_the_limit_ends_that_connection_and_no_other() {
    let broker = start(on_port(0)).await;
    let mut watcher = Peer::connect(options("watcher", broker.at)).await;
    watcher.subscribe("feira/#").await;
    let mut greedy = Peer::connect(options("greedy", broker.at)).await;
    let large = "x".repeat(limits::PACKET_BYTES_MAX + 1);
    greedy.client.publish("feira/large", QoS::AtLeastOnce, false, large).await.unwrap();
    greedy.failure().await;
    watcher.publish("feira/small", false, "fits").await;
    assert_eq!(watcher.payloads(1).await, ["fits"]);
    broker.stop().await;
}

#[tokio::test]
async fn one_client_more_than_allowed_is_turned_away() {
    let broker = start(Config { clients_max: 1, ..on_port(0) }).await;
    let mut allowed = Peer::connect(options("allowed", broker.at)).await;
    allowed.subscribe("feira/#").await;
    let (client, events) = AsyncClient::new(options("too-many", broker.at), 8);
    let mut refused = Peer { client, events };
    refused.failure().await;
    allowed.publish("feira/c", false, "still here").await;
    assert_eq!(allowed.payloads(1).await, ["still here"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_stop_before_the_first_client_ends_at_once() {
    let (stop, stopped) = watch::channel(true);
    let (ready, _bound) = oneshot::channel();
    let ended = tokio::time::timeout(DEADLINE, serve(on_port(0), stopped, ready)).await.unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    drop(stop);
}

/// CONNECT, version 5, clean start, no keepalive.
fn connect(id: &str) -> Vec<u8> {
    let length = u8::try_from(id.len()).unwrap();
    let head = [0x10, 13 + length, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, length];
    [&head[..], id.as_bytes()].concat()
}

/// SUBSCRIBE to everything at QoS 1.
const SUBSCRIBE_ALL: [u8; 9] = [0x82, 7, 0, 1, 0, 0, 1, b'#', 1];

/// Sends bytes, and reads until the other side closes.
fn heard_by(at: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // It may hang up in the middle: that is its right.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    heard
}

#[tokio::test]
async fn a_packet_over_the_limit_is_refused_by_its_header() {
    let broker = start(on_port(0)).await;
    let at = broker.at;
    let heard = tokio::task::spawn_blocking(move || {
        // PUBLISH of 2 MiB, of which nothing follows.
        heard_by(at, &[connect("greedy"), vec![0x30, 0x80, 0x80, 0x80, 0x01]].concat())
    });
    let heard = heard.await.unwrap();
    assert!(heard.ends_with(&[0xe0, 1, 0x95]), "{heard:x?}");
    broker.stop().await;
}

#[tokio::test]
async fn other_versions_and_what_is_no_mqtt_are_told_or_cut() {
    let broker = start(on_port(0)).await;
    let at = broker.at;
    let heard = tokio::task::spawn_blocking(move || {
        let old = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x";
        [heard_by(at, old), heard_by(at, b"GET / HTTP/1.1\r\n\r\n"), heard_by(at, b"")]
    });
    assert_eq!(heard.await.unwrap(), [vec![0x20, 2, 0, 1], vec![], vec![]]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_do_not_read_keep_nobody_from_reading() {
    let bytes = 4 << 20;
    let config = Config { queue_bytes_max: bytes, held_bytes_max: 2 * bytes, ..on_port(0) };
    let broker = start(config).await;
    let mut deaf = Vec::new();
    for id in ["deaf-1", "deaf-2", "deaf-3"] {
        let mut stream = TcpStream::connect(broker.at).unwrap();
        stream.write_all(&[connect(id), SUBSCRIBE_ALL.to_vec()].concat()).unwrap();
        let mut heard = [0; 1];
        stream.read_exact(&mut heard).unwrap();
        deaf.push(stream);
    }
    let mut reading = Peer::connect(options("reading", broker.at)).await;
    reading.subscribe("feira/#").await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    // Ten times what may be held.
    let large = "x".repeat(512 << 10);
    for n in 0..160 {
        publisher.publish("feira/c", false, &format!("{n} {large}")).await;
        let received = reading.received().await;
        assert!(received.payload.starts_with(format!("{n} ").as_bytes()), "nothing is lost to who reads");
    }
    drop(deaf);
    broker.stop().await;
}

#[tokio::test]
async fn properties_are_bounded_beside_the_packet() {
    let broker = start(on_port(0)).await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    let long = PublishProperties {
        user_properties: vec![("k".to_owned(), "v".repeat(60_000))],
        ..PublishProperties::default()
    };
    publisher.client.publish_with_properties("feira/c", QoS::AtLeastOnce, false, "", long).await.unwrap();
    let reason = publisher
        .until("puback", |packet| match packet {
            rumqttc::v5::mqttbytes::v5::Packet::PubAck(acknowledged) => Some(acknowledged.reason),
            _ => None,
        })
        .await;
    assert_eq!(reason, rumqttc::v5::mqttbytes::v5::PubAckReason::QuotaExceeded);
    broker.stop().await;
}

/// Packets that are nearly right, and noise.
fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let packet = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..120)).prop_map(|(first, body)| {
        let length = u8::try_from(body.len()).expect("short");
        [vec![first, length], body].concat()
    });
    let noise = prop::collection::vec(any::<u8>(), 0..64);
    prop::collection::vec(prop_oneof![3 => packet, 1 => noise], 0..8).prop_map(|all| all.concat())
}

/// Some hundred, in one process with one broker; the longer run is over the real process (tests/tests/inputs.rs).
#[test]
fn whatever_is_sent_the_broker_serves_the_next() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let broker = runtime.block_on(start(on_port(0)));
    let at = broker.at;
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(bytes in nearly_right(), introduced in any::<bool>())| {
        let first = if introduced { connect("odd") } else { Vec::new() };
        heard_by(at, &[first, bytes].concat());
    });
    runtime.block_on(async {
        let mut peer = Peer::connect(options("after", at)).await;
        peer.subscribe("feira/#").await;
        peer.publish("feira/c", false, "still here").await;
        assert_eq!(peer.payloads(1).await, ["still here"]);
        tokio::time::timeout(Duration::from_secs(60), broker.stop()).await.unwrap();
    });
}
