//! The bus over a real mosquitto: LIVE, events, a broker that is killed, stopped and comes back. The leader's part
//! (events in a chain, freshness heartbeats after a read that follows the gathering of nonces) is played here over the change feed of
//! the real state machine; the real leader is tested with the portals from end to end.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portal::cache::Capacity;
use portal::config::Bus;
use portal::{Portal, bus};
use prost::Message;
use proto::store::{
    BusMessage, Events, Freshness, FreshnessHeartbeat, Nonce, Txn, bus_message, changes_response,
};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use store_client::Store;
use store_client::bus::{Direction, Seal, Topic};
use store_engine::memory::MemoryStore;
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(1);
const CLUSTER: &str = "bus-test";

/// The key of the cluster of these tests, or another one with the same id.
fn key(secret: u8) -> store_keys::KeyFile {
    let id = store_keys::ClusterId::new(7).unwrap();
    let secret = store_keys::Secret::new([secret; store_keys::KEY_BYTES]);
    store_keys::KeyFile::Cluster(store_keys::ClusterKey::new(id, secret))
}

/// As a portal follows it; nobody changes it here.
fn keys() -> tokio::sync::watch::Receiver<store_keys::KeyFile> {
    tokio::sync::watch::channel(key(1)).1
}

fn changes() -> Topic {
    Topic::new(Direction::Changes, CLUSTER, 1)
}

fn nonces() -> Topic {
    Topic::new(Direction::Nonces, CLUSTER, 1)
}

/// What a holder of the cluster's key publishes.
fn sealed(topic: &Topic, message: &impl Message) -> Vec<u8> {
    Seal::from(&key(1)).seal(topic, message.encode_to_vec()).to_vec()
}

struct Broker {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Broker {
    fn start() -> Broker {
        Broker::start_with("max_queued_messages 0\n")
    }

    fn start_with(more: &str) -> Broker {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = TempDir::new().unwrap();
        let config = format!("listener {port} 127.0.0.1\nallow_anonymous true\n{more}");
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        let child = Broker::spawn(&folder);
        Broker { child, port, folder }
    }

    fn spawn(folder: &TempDir) -> Child {
        // Debian keeps it where services are, which is not on every PATH.
        let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("mosquitto");
        command.env("PATH", path).arg("-c").arg(folder.path().join("mosquitto.conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mosquitto is installed")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Broker::spawn(&self.folder);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn log_of(store: &MemoryStore) -> u64 {
    store.get(Bytes::from("x"), Freshness::linearizable()).await.unwrap().log_id
}

/// Gathers the nonces for one log's leader, for ever.
async fn gather(
    client: AsyncClient,
    mut events: rumqttc::v5::EventLoop,
    log_id: u64,
    heard: Arc<Mutex<Vec<Bytes>>>,
) {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.try_subscribe(nonces().name(), QoS::AtLeastOnce).unwrap();
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let content = Seal::from(&key(1)).open(&nonces(), publish.payload);
                if let Ok(nonce) = content.map(|content| Nonce::decode(content).unwrap())
                    && nonce.log_id == log_id
                {
                    heard.lock().unwrap().push(nonce.nonce);
                }
            }
            Ok(_) => {}
            Err(_) => {
                pace.tick().await;
            }
        }
    }
}

/// Publishes as the leader does.
async fn lead(store: MemoryStore, port: u16) {
    lead_as("leader", store, port).await;
}

async fn lead_as(name: &str, store: MemoryStore, port: u16) {
    let mut options = MqttOptions::new(name, "127.0.0.1", port);
    options.set_clean_start(true).set_connection_timeout(1).set_keep_alive(Duration::from_secs(5));
    let (client, events) = AsyncClient::new(options, 256);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log_id = log_of(&store).await;
    let _gathering = tokio::task::JoinSet::from_iter([gather(client.clone(), events, log_id, heard.clone())]);
    let mut feed = store.changes(1, 0).await.unwrap();
    let (mut published, mut previous) = (0, 0);
    let send = |kind| {
        let message = BusMessage { group: 1, ring_version: 1, epoch: 1, kind: Some(kind), log_id };
        // A full queue loses it: the portal sees a gap.
        let _ = client.try_publish(changes().name(), QoS::AtLeastOnce, false, sealed(&changes(), &message));
    };
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    loop {
        pace.tick().await;
        let gathered: Vec<Bytes> = heard.lock().unwrap().drain(..).collect();
        // A store that refuses has nothing to be told of meanwhile.
        let read = store.get(Bytes::from("x"), Freshness::linearizable()).await;
        let Ok(applied) = read.map(|read| read.applied.offset) else { continue };
        while published < applied {
            let Some(Ok(answer)) = feed.next().await else { panic!("the feed goes on") };
            let Some(changes_response::Kind::Changes(batch)) = answer.kind else {
                panic!("nothing is trimmed")
            };
            published = batch.up_to.unwrap().offset;
            previous = batch.changes.last().map_or(previous, |change| change.offset);
            if !batch.changes.is_empty() {
                send(bus_message::Kind::Events(Events { changes: batch.changes }));
            }
        }
        send(bus_message::Kind::FreshnessHeartbeat(FreshnessHeartbeat {
            offset: published,
            previous,
            nonces: gathered,
        }));
    }
}

/// How often a condition is looked at.
fn pace() -> tokio::time::Interval {
    tokio::time::interval(Duration::from_millis(5))
}

struct Scene {
    store: MemoryStore,
    portal: Arc<Portal>,
    broker: Broker,
    _tasks: tokio::task::JoinSet<()>,
}

impl Scene {
    async fn begin() -> Scene {
        Scene::begin_at(Broker::start()).await
    }

    async fn begin_at(broker: Broker) -> Scene {
        let store = MemoryStore::new();
        let capacity = Capacity { entries: NonZeroUsize::new(100).unwrap(), bytes: 1 << 20 };
        let portal = Portal::new("test", Arc::new(store.clone()), capacity, 1_000);
        let bus = Bus {
            host: "127.0.0.1".to_owned(),
            port: broker.port,
            login: None,
            cluster: CLUSTER.to_owned(),
            keys: keys(),
        };
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(bus::run(portal.clone(), bus));
        tasks.spawn(lead(store.clone(), broker.port));
        let scene = Scene { store, portal, broker, _tasks: tasks };
        scene.wait_for_heartbeats().await;
        scene
    }

    /// LIVE for longer than one lease: not by a barrier read alone, but by freshness heartbeats.
    async fn wait_for_heartbeats(&self) {
        let (deadline, mut pace) = (Instant::now() + Duration::from_secs(30), pace());
        let mut live_since = Instant::now();
        while live_since.elapsed() < LEASE * 3 / 2 {
            assert!(Instant::now() < deadline, "no freshness heartbeats: {:?}", self.portal.status());
            if self.state() != "LIVE" {
                live_since = Instant::now();
            }
            pace.tick().await;
        }
    }

    fn state(&self) -> String {
        self.portal.status().groups[0].state.clone()
    }

    async fn wait_for_another_state(&self) {
        let (deadline, mut pace) = (Instant::now() + Duration::from_secs(20), pace());
        while self.state() == "LIVE" {
            assert!(Instant::now() < deadline, "still LIVE");
            pace.tick().await;
        }
    }

    /// Another portal writes; what is read here is at most a lease old, all the time until then.
    async fn write_and_watch(&self, value: &str) {
        let key = Bytes::from("k");
        self.portal.read(&key).await.unwrap();
        let txn = Txn::new().put(key.clone(), 1, value.to_owned());
        assert!(self.store.txn(txn, None).await.unwrap().success);
        let (written, mut pace) = (Instant::now(), pace());
        loop {
            let asked = Instant::now();
            let seen = self.portal.read(&key).await.unwrap();
            if seen.record.is_some_and(|record| record.data == value) {
                return;
            }
            assert!(asked.duration_since(written) < LEASE, "a hit that is older than the lease");
            pace.tick().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_of_others_are_seen_and_the_cache_serves_hits_between() {
    let scene = Scene::begin().await;
    for round in 0..10 {
        scene.write_and_watch(&format!("value {round}")).await;
    }
    scene.wait_for_heartbeats().await;
    let key = Bytes::from("k");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !scene.portal.read(&key).await.unwrap().hit {
        assert!(Instant::now() < deadline, "never a hit: {:?}", scene.portal.status());
    }
    assert_eq!(scene.portal.status().gaps, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_costs_hits_and_no_truth_and_the_cache_comes_back() {
    let mut scene = Scene::begin().await;
    scene.write_and_watch("before").await;
    scene.broker.kill();
    scene.wait_for_another_state().await;
    for round in 0..20 {
        scene.write_and_watch(&format!("without {round}")).await;
    }
    assert!(!scene.portal.read(&Bytes::from("k")).await.unwrap().hit, "bypassed");
    scene.broker.restart();
    scene.wait_for_heartbeats().await;
    scene.write_and_watch("after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_stopped_ends_the_lease_and_what_it_held_back_harms_nobody() {
    let scene = Scene::begin().await;
    scene.write_and_watch("before").await;
    scene.broker.signal(Signal::SIGSTOP);
    scene.write_and_watch("just stopped").await;
    scene.wait_for_another_state().await;
    for round in 0..20 {
        scene.write_and_watch(&format!("stopped {round}")).await;
    }
    scene.broker.signal(Signal::SIGCONT);
    scene.wait_for_heartbeats().await;
    scene.write_and_watch("after").await;
}

/// mosquitto 2.0.11 counts what it holds back as too large as under way for ever, and sends nothing more when as many are as may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_sends_nothing_more_is_connected_to_anew_and_the_cache_comes_back() {
    let scene = Scene::begin_at(Broker::start_with("max_queued_messages 1\nmax_inflight_messages 4\n")).await;
    let stranger = Stranger::connect(scene.broker.port);
    for _ in 0..4 {
        // More than a portal takes.
        stranger.publish(changes().name(), vec![0xff; 3 << 19]).await;
    }
    scene.wait_for_another_state().await;
    scene.write_and_watch("meanwhile").await;
    scene.wait_for_heartbeats().await;
    scene.write_and_watch("after").await;
    assert_eq!(scene.portal.status().ignored, 0, "none of it came to the portal");
}

/// Somebody else on the broker: publishes what it likes.
struct Stranger {
    client: AsyncClient,
    _polling: tokio::task::JoinSet<()>,
}

impl Stranger {
    fn connect(port: u16) -> Stranger {
        let mut options = MqttOptions::new("stranger", "127.0.0.1", port);
        options.set_clean_start(true);
        let (client, mut events) = AsyncClient::new(options, 64);
        let poll = async move { while events.poll().await.is_ok() {} };
        Stranger { client, _polling: tokio::task::JoinSet::from_iter([poll]) }
    }

    async fn publish(&self, topic: &str, payload: Vec<u8>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }

    /// As a portal that was taken over can: it holds the bus key.
    async fn change(&self, log_id: u64, previous: u64, offset: u64) {
        let change = proto::store::Change { offset, previous, keys: vec![Bytes::from("k")], epoch: 1 };
        let kind = Some(bus_message::Kind::Events(Events { changes: vec![change] }));
        let message = BusMessage { group: 1, ring_version: 1, epoch: 1, kind, log_id };
        self.publish(changes().name(), sealed(&changes(), &message)).await;
    }
}

impl Scene {
    async fn wait_until(&self, what: &str, holds: impl Fn(&proto::portal::PortalStatusResponse) -> bool) {
        let (deadline, mut pace) = (Instant::now() + Duration::from_secs(20), pace());
        while !holds(&self.portal.status()) {
            assert!(Instant::now() < deadline, "never {what}: {:?}", self.portal.status());
            pace.tick().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_of_one_name_on_one_broker_do_not_mislead_each_others_caches() {
    let scene = Scene::begin().await;
    let other = MemoryStore::new();
    for round in 0..50 {
        other.txn(Txn::new().put("k", 1, format!("{round}")), None).await.unwrap();
    }
    let leading = tokio::task::JoinSet::from_iter([lead_as("leader-of-another", other, scene.broker.port)]);
    scene.wait_until("ignored", |status| status.ignored >= 5).await;
    let before = scene.portal.status();
    for round in 0..10 {
        scene.write_and_watch(&format!("value {round}")).await;
    }
    scene.wait_for_heartbeats().await;
    let after = scene.portal.status();
    assert_eq!((after.gaps, after.flushes), (before.gaps, 1), "the other's messages move nothing");
    drop(leading);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_or_no_message_is_ignored_and_the_connection_lives_on() {
    let scene = Scene::begin().await;
    let stranger = Stranger::connect(scene.broker.port);
    for topic in [changes(), nonces()] {
        stranger.publish(topic.name(), vec![0xff; 2 << 20]).await;
        stranger.publish(topic.name(), vec![0xff; 9]).await;
    }
    scene.wait_until("ignored", |status| status.ignored == 1).await;
    scene.wait_for_heartbeats().await;
    assert_eq!(scene.portal.status().flushes, 1, "one connection, one beginning");
    scene.write_and_watch("after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_that_is_not_in_the_log_is_no_error_for_shoppers_and_is_outlived() {
    let scene = Scene::begin().await;
    let stranger = Stranger::connect(scene.broker.port);
    stranger.change(log_of(&scene.store).await, 0, 1 << 40).await;
    scene.wait_until("misled", |status| status.groups[0].applied_offset >= 1 << 40).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    for key in 0.. {
        // Each a miss, which asks the store for at least A.
        scene.portal.read(&Bytes::from(format!("never read {key}"))).await.unwrap();
        let status = scene.portal.status();
        if status.flushes > 1 && status.groups[0].applied_offset < 1 << 40 {
            break;
        }
        assert!(Instant::now() < deadline, "never well again: {status:?}");
    }
    scene.write_and_watch("after").await;
    scene.wait_for_heartbeats().await;
}

/// Every delivery on our topics, as anybody on the broker can record it.
type Recorded = Arc<Mutex<Vec<(String, Bytes)>>>;

impl Stranger {
    /// Records everything from now on.
    async fn recording(port: u16) -> (Stranger, Recorded) {
        let mut options = MqttOptions::new("recorder", "127.0.0.1", port);
        options.set_clean_start(true);
        let (client, mut events) = AsyncClient::new(options, 64);
        client.subscribe("feira/#", QoS::AtLeastOnce).await.unwrap();
        let recorded = Recorded::default();
        let into = recorded.clone();
        let poll = async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::Publish(publish)) = event {
                    let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                    into.lock().unwrap().push((topic, publish.payload));
                }
            }
        };
        (Stranger { client, _polling: tokio::task::JoinSet::from_iter([poll]) }, recorded)
    }
}

/// What a stranger says without the key, in the cluster's own words: events at the next offset that hide the true one, far
/// ahead, or long ago; freshness heartbeats with the nonces of others; nonces. Each bare, without a MAC, and under another key.
fn forged(log_id: u64, next: u64, heard: &[Bytes]) -> Vec<(Topic, Vec<u8>)> {
    let events = |previous, offset, keys: &[&'static str]| {
        let keys = keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect();
        bus_message::Kind::Events(Events {
            changes: vec![proto::store::Change { offset, previous, keys, epoch: 1 }],
        })
    };
    let heartbeat = |offset| {
        bus_message::Kind::FreshnessHeartbeat(FreshnessHeartbeat {
            offset,
            previous: 0,
            nonces: heard.to_vec(),
        })
    };
    let kinds = [
        events(next - 1, next, &[]),
        events(next - 1, next + 1_000, &["k"]),
        events(next + 50, next + 51, &[]),
        events(0, 1, &["k"]),
        heartbeat(next + 1_000),
        heartbeat(next - 1),
    ];
    let message = |kind| BusMessage { group: 1, ring_version: 1, epoch: 9, kind: Some(kind), log_id };
    let on_changes = kinds.into_iter().map(|kind| (changes(), message(kind).encode_to_vec()));
    let nonce = Nonce { nonce: vec![9; 16].into(), log_id }.encode_to_vec();
    let all = on_changes.chain([(nonces(), nonce)]);
    all.flat_map(|(topic, content)| {
        let bare =
            proto::store::Sealed { content: content.clone().into(), cluster_id: 7, ..Default::default() };
        let other = Seal::from(&key(2)).seal(&topic, content.clone()).to_vec();
        [(topic.clone(), content), (topic.clone(), bare.encode_to_vec()), (topic, other)]
    })
    .collect()
}

/// A recorded message with each of its fields changed, one at a time; its MAC stays as it was, or is itself changed.
fn mutated(topic: &str, payload: &Bytes) -> Vec<Vec<u8>> {
    let sealed = proto::store::Sealed::decode(payload.clone()).unwrap();
    let with = |content: Vec<u8>| proto::store::Sealed { content: content.into(), ..sealed.clone() };
    let mut all = Vec::new();
    if topic == nonces().name() {
        let nonce = Nonce::decode(sealed.content.clone()).unwrap();
        all.push(with(Nonce { log_id: nonce.log_id + 1, ..nonce.clone() }.encode_to_vec()));
        all.push(with(Nonce { nonce: vec![1; 16].into(), ..nonce }.encode_to_vec()));
    } else {
        let message = BusMessage::decode(sealed.content.clone()).unwrap();
        let mut change = |change: &dyn Fn(&mut BusMessage)| {
            let mut changed = message.clone();
            change(&mut changed);
            all.push(with(changed.encode_to_vec()));
        };
        change(&|m| m.group += 1);
        change(&|m| m.ring_version += 1);
        change(&|m| m.epoch += 1);
        change(&|m| m.log_id += 1);
        change(&|m| m.kind = None);
        change(&|m| match m.kind.as_mut().unwrap() {
            bus_message::Kind::Events(events) => events.changes[0].keys.clear(),
            bus_message::Kind::FreshnessHeartbeat(heartbeat) => heartbeat.nonces.clear(),
        });
        change(&|m| match m.kind.as_mut().unwrap() {
            bus_message::Kind::Events(events) => events.changes[0].offset += 100,
            bus_message::Kind::FreshnessHeartbeat(heartbeat) => heartbeat.offset += 100,
        });
        change(&|m| match m.kind.as_mut().unwrap() {
            bus_message::Kind::Events(events) => events.changes[0].previous = 0,
            bus_message::Kind::FreshnessHeartbeat(heartbeat) => heartbeat.previous = 0,
        });
    }
    all.push(proto::store::Sealed { cluster_id: 8, ..sealed.clone() });
    all.push(proto::store::Sealed { mac: Bytes::new(), ..sealed.clone() });
    all.push(proto::store::Sealed { mac: sealed.mac.iter().map(|byte| byte ^ 1).collect(), ..sealed });
    all.iter().map(Message::encode_to_vec).collect()
}

/// Everything that a stranger can say, once: forged, mutated field by field, repeated under its own topic, the other one
/// (so in the other direction too), and another group's. How many of it came to the portals' topic.
async fn attack(stranger: &Stranger, recorded: &Recorded, log_id: u64, next: u64) -> usize {
    let last = recorded.lock().unwrap().clone();
    let of = |topic: &Topic| -> Vec<(String, Bytes)> {
        last.iter().rev().filter(|(on, _)| on == topic.name()).take(12).cloned().collect()
    };
    let heard = of(&nonces()).into_iter().filter_map(|(_, payload)| {
        let content = Seal::from(&key(1)).open(&nonces(), payload).ok()?;
        Some(Nonce::decode(content).unwrap().nonce)
    });
    let mut said: Vec<(String, Vec<u8>)> = forged(log_id, next, &heard.collect::<Vec<_>>())
        .into_iter()
        .map(|(topic, payload)| (topic.name().to_owned(), payload))
        .collect();
    let ours = |payload: &Bytes, topic: &Topic| Seal::from(&key(1)).open(topic, payload.clone()).is_ok();
    for topic in [changes(), nonces()] {
        let other = if topic == changes() { nonces() } else { changes() };
        for (_, payload) in of(&topic).into_iter().filter(|(_, payload)| ours(payload, &topic)) {
            said.extend(
                mutated(topic.name(), &payload).into_iter().map(|one| (topic.name().to_owned(), one)),
            );
            let elsewhere = Topic::new(Direction::Changes, CLUSTER, 2);
            for to in [&topic, &other, &elsewhere] {
                said.push((to.name().to_owned(), payload.to_vec()));
            }
        }
    }
    let to_portals = said.iter().filter(|(topic, _)| topic == changes().name()).count();
    for (topic, payload) in said {
        stranger.publish(&topic, payload).await;
    }
    to_portals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_stranger_says_no_cache_is_older_than_its_lease_and_events_still_reach_it() {
    let scene = Scene::begin().await;
    let log_id = log_of(&scene.store).await;
    let (stranger, recorded) = Stranger::recording(scene.broker.port).await;
    scene.write_and_watch("recorded").await;
    scene.wait_for_heartbeats().await;
    // LIVE: nothing moves it.
    let before = scene.portal.status();
    let mut attacks = 0;
    for round in 0..10 {
        attacks += attack(&stranger, &recorded, log_id, scene.store.applied() + 1).await;
        scene.write_and_watch(&format!("live {round}")).await;
    }
    scene.wait_until("all of it counted", |now| now.ignored > before.ignored + 200).await;
    let after = scene.portal.status();
    assert_eq!((after.gaps, after.flushes), (before.gaps, before.flushes), "of {attacks}: {after:?}");
    assert!(after.unproven > before.unproven, "{after:?}");
    assert!(after.groups[0].applied_offset <= scene.store.applied(), "{after:?}");
    // Catching up: the barrier read does not come through while all of it is said again.
    scene.store.set_down(true);
    stranger.change(log_id, scene.store.applied() + 70, scene.store.applied() + 71).await;
    scene.wait_for_another_state().await;
    for _ in 0..3 {
        attack(&stranger, &recorded, log_id, scene.store.applied() + 1).await;
    }
    scene.store.set_down(false);
    attack(&stranger, &recorded, log_id, scene.store.applied() + 1).await;
    for round in 0..10 {
        attack(&stranger, &recorded, log_id, scene.store.applied() + 1).await;
        scene.write_and_watch(&format!("caught up {round}")).await;
    }
    scene.wait_for_heartbeats().await;
}
