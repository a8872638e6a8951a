//! The invalidation bus: MQTT 5 in, steps of [`crate::coherence`] out.
//!
//! ```text
//!   poll task ──► Cache::step ──► commands (bounded) ──► control task: subscribes, reads barriers
//!      ▲ MQTT                                            nonce task: every 300 ms
//! ```
//!
//! The task that polls never publishes, never waits for the store and never blocks: the library queues requests for
//! the very task that polls, so waiting there would wait for ever. Sessions are clean and never resumed; a broker
//! that resumes one all the same changes nothing, since every connection begins with a flush.
//!
//! Anybody on the broker can publish to our topics. The broker is told not to send packets larger than a message of
//! ours can be (MQTT 5, 3.1.2.11.4: it discards them, and the connection goes on). A message that is malformed, of another
//! cluster of our name, or not proven by the cluster's bus key is counted, told of now and then, and ignored.
//!
//! A broker can stop sending on a connection that stands: of each message that it holds back as too large mosquitto 2.0.11 goes on counting
//! one of those that may be under way, until none may. So a connection is made anew when leaders are asked on it and nothing that the
//! cluster wrote has come for [`SILENCE_MS_MAX`].
//!
//! Promises: none that correctness rests on. A fault here costs hits, never truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message;
use proto::store::{BusMessage, Change, Freshness, Nonce, Position, changes_response};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use store_client::Store;
use store_client::backoff::Backoff;
use store_client::bus::{Direction, Foreign, Seals, Topic};
use store_keys::KeyFile;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::broker_socket::prompt;
use crate::coherence::{Input, Output};
use crate::config::{Bus, Login};
use crate::handle::Portal;
use crate::lost_connection::forget;

/// How often a nonce is sent.
const NONCE_PERIOD_MS: u64 = 300;
/// The broker is asked whether it lives after so long a silence.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A connection that takes longer is given up.
const CONNECT_SECONDS_MAX: u64 = 2;
/// Pauses between attempts to connect.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 1_000;
/// Pause after a barrier read failed.
const BARRIER_PAUSE_MS: u64 = 100;
/// What was missed is given up after so long, and the cache begins anew.
const REPAIR_MS_MAX: u64 = 1_000;
/// Of more keys than this a cache that begins anew forgets little else.
const REPAIR_KEYS_MAX: usize = 16_384;
/// A connection on which nothing of the cluster's comes for so long, though leaders are asked every 300 ms, is made anew.
const SILENCE_MS_MAX: u64 = 5_000;
/// Largest packet taken from the bus, bytes: what `mosquitto.conf` and the embedded broker take from a publisher, and
/// thus the largest transaction's keys.
const PACKET_BYTES_MAX: u32 = 1 << 20;
/// Requests that wait for the polling task.
const REQUESTS_MAX: u16 = 64;
/// Commands that wait for the control task.
const COMMANDS_MAX: usize = 256;
/// Keys tried to find one of each group, to read a barrier by.
const BARRIER_KEYS_MAX: usize = 65_536;

/// What the polling task wants done.
enum Command {
    Subscribe,
    ReadBarrier { group: u64, number: u64 },
    Repair { group: u64, number: u64, after: u64, up_to: u64 },
}

/// A replica group, as seen from here.
struct GroupLink {
    group: u64,
    /// A key that it keeps: a linearizable read of it is a barrier of the group.
    key: Bytes,
    /// Where its leader publishes.
    changes: Topic,
    /// Where its leader hears nonces.
    nonces: Topic,
}

/// What the three tasks share.
struct Link {
    portal: Arc<Portal>,
    groups: Vec<GroupLink>,
    client: AsyncClient,
    /// What proves that the cluster wrote a message.
    seals: Seals<KeyFile>,
    connected: AtomicBool,
    /// When something that the cluster wrote came last, or the subscription was granted.
    heard_ms: AtomicU64,
    /// Nothing has come for too long.
    silent: Notify,
    commands: mpsc::Sender<Command>,
}

/// Keeps the portal's cache coherent until dropped.
pub async fn run(portal: Arc<Portal>, bus: Bus) {
    let mut options =
        MqttOptions::new(format!("feira-{}", uuid::Uuid::new_v4().simple()), bus.host, bus.port);
    options
        .set_network_options(prompt())
        .set_clean_start(true)
        .set_session_expiry_interval(Some(0))
        .set_keep_alive(KEEP_ALIVE)
        .set_connection_timeout(CONNECT_SECONDS_MAX)
        .set_max_packet_size(Some(PACKET_BYTES_MAX))
        .set_outgoing_inflight_upper_limit(REQUESTS_MAX);
    if let Some(Login { user, password }) = bus.login {
        options.set_credentials(user, password);
    }
    let (client, events) = AsyncClient::new(options, REQUESTS_MAX.into());
    let (commands, to_do) = mpsc::channel(COMMANDS_MAX);
    let groups = groups(&portal, &bus.cluster);
    let connected = AtomicBool::new(false);
    let link = Arc::new(Link {
        portal,
        groups,
        client,
        seals: Seals::new(bus.keys),
        connected,
        heard_ms: AtomicU64::new(0),
        silent: Notify::new(),
        commands,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(control(link.clone(), to_do));
    tasks.spawn(send_nonces(link.clone()));
    // Dropping this future drops the set, which aborts the other two.
    poll(&link, events).await;
}

/// Each group with a key of it.
fn groups(portal: &Portal, cluster: &str) -> Vec<GroupLink> {
    let key_of = |group: u64| {
        let mut keys = (0..BARRIER_KEYS_MAX).map(|i| Bytes::from(format!("barrier/{{{i}}}")));
        keys.find(|key| portal.store().group_of(key) == group)
    };
    let linked = |group: u64| match key_of(group) {
        Some(key) => {
            let topic = |direction| Topic::new(direction, cluster, group);
            let (changes, nonces) = (topic(Direction::Changes), topic(Direction::Nonces));
            Some(GroupLink { group, key, changes, nonces })
        }
        None => {
            tracing::warn!(group, "no key of this group was found; it is served without a cache");
            None
        }
    };
    portal.store().groups().into_iter().filter_map(linked).collect()
}

/// Takes what the broker sends, for ever. Whatever ends a connection, the next one waits a little, and longer each time
/// until one lasts.
async fn poll(link: &Link, mut events: EventLoop) {
    let mut backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
    let mut granted: Option<Instant> = None;
    let mut failures = 0u32;
    loop {
        // Silence is told of a connection that is given up then: nothing of it is lost with the poll.
        let event = tokio::select! {
            event = events.poll() => Some(event),
            () = link.silent.notified() => None,
        };
        match event {
            None => {
                failures = failures.saturating_add(1);
                tracing::warn!("the broker brings nothing of this cluster any more; connecting anew");
            }
            Some(Ok(Event::Outgoing(_))) => continue,
            Some(Ok(Event::Incoming(packet))) => {
                let is_granted = matches!(packet, Packet::SubAck(_));
                let left = matches!(packet, Packet::Disconnect(_));
                if link.take(packet) {
                    if is_granted {
                        granted = Some(Instant::now());
                        failures = 0;
                        link.portal.tell_bus("");
                    }
                    continue;
                }
                failures = failures.saturating_add(1);
                let why = if left { "it ended the connection" } else { "it refused what was asked of it" };
                unusable(link, why, failures);
            }
            Some(Err(error)) if link.connected.load(Ordering::Relaxed) => {
                tracing::warn!(%error, "connection to the broker lost; reading the store");
                failures = failures.saturating_add(1);
            }
            Some(Err(error)) => {
                failures = failures.saturating_add(1);
                let why = match error {
                    ConnectionError::Timeout(_) => format!("no answer within {CONNECT_SECONDS_MAX} s"),
                    other => other.to_string(),
                };
                unusable(link, &why, failures);
            }
        }
        forget(&mut events);
        link.lost();
        let lasted = granted.take().map_or(Duration::ZERO, |granted| granted.elapsed());
        tokio::time::sleep(backoff.after(lasted)).await;
    }
}

/// No subscription came about. Told from the second time on: at a start of everything the broker may come up last.
fn unusable(link: &Link, why: &str, failures: u32) {
    if failures > 1 && link.portal.tell_bus(why) {
        tracing::warn!(why, "the broker cannot be used; reading the store, and trying again and again");
    }
}

impl Link {
    /// Takes one packet; false: the connection is of no use and must be made anew.
    fn take(&self, packet: Packet) -> bool {
        match packet {
            Packet::ConnAck(_) => {
                self.connected.store(true, Ordering::Relaxed);
                self.step_all(|| Input::Connected)
            }
            Packet::SubAck(ack) => {
                let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                if !ack.return_codes.iter().all(granted) {
                    tracing::warn!(codes = ?ack.return_codes, "the broker refused the subscription");
                    return false;
                }
                tracing::info!("subscribed to changes");
                self.hear();
                self.step_all(|| Input::Subscribed)
            }
            Packet::Publish(publish) => {
                let Some(of) = self.groups.iter().find(|one| publish.topic == one.changes.name()) else {
                    return true;
                };
                let input =
                    self.open(&of.changes, publish.payload).map_or_else(Input::Foreign, Input::Message);
                self.step(of.group, input)
            }
            Packet::Disconnect(_) => false,
            _ => true,
        }
    }

    /// The message of a delivery, if the cluster wrote it for this topic.
    fn open(&self, topic: &Topic, payload: Bytes) -> Result<BusMessage, Foreign> {
        let content = self.seals.open(topic, payload)?;
        self.hear();
        BusMessage::decode(content).map_err(|_| Foreign::Malformed)
    }

    fn hear(&self) {
        self.heard_ms.store(self.portal.now_ms(), Ordering::Relaxed);
    }

    fn lost(&self) {
        self.connected.store(false, Ordering::Relaxed);
        self.step_all(|| Input::Lost);
    }

    fn step_all(&self, input: impl Fn() -> Input) -> bool {
        let mut alive = true;
        for of in &self.groups {
            alive &= self.step(of.group, input());
        }
        alive
    }

    /// Steps a group; false: what it wants done cannot be queued.
    fn step(&self, group: u64, input: Input) -> bool {
        let outputs = self.portal.cache().step(group, self.portal.now_ms(), input);
        outputs.into_iter().all(|output| match output {
            // One subscription is for all groups: the first asks for it.
            Output::Subscribe if self.groups.first().is_none_or(|first| first.group != group) => true,
            Output::Subscribe => self.commands.try_send(Command::Subscribe).is_ok(),
            Output::ReadBarrier { number } => {
                self.commands.try_send(Command::ReadBarrier { group, number }).is_ok()
            }
            Output::Ignored { why, count } => {
                tracing::warn!(
                    group,
                    %why,
                    count,
                    "ignored on the topic of changes: another cluster of this name may use the broker, or somebody forges"
                );
                true
            }
            Output::Repair { number, after, up_to } => {
                self.commands.try_send(Command::Repair { group, number, after, up_to }).is_ok()
            }
            Output::Drop { .. } | Output::Flush => true,
        })
    }
}

/// Does what the polling task must not.
async fn control(link: Arc<Link>, mut to_do: mpsc::Receiver<Command>) {
    let mut barriers = JoinSet::new();
    while let Some(command) = to_do.recv().await {
        while barriers.try_join_next().is_some() {}
        match command {
            Command::Subscribe => {
                let filter = |of: &GroupLink| Filter::new(of.changes.name().to_owned(), QoS::AtLeastOnce);
                let filters = link.groups.iter().map(filter);
                if let Err(error) = link.client.subscribe_many(filters.collect::<Vec<_>>()).await {
                    tracing::warn!(%error, "cannot subscribe to changes");
                }
            }
            Command::ReadBarrier { group, number } => {
                barriers.spawn(read_barrier(link.clone(), group, number));
            }
            Command::Repair { group, number, after, up_to } => {
                barriers.spawn(repair(link.clone(), group, number, after, up_to));
            }
        }
    }
}

async fn read_barrier(link: Arc<Link>, group: u64, number: u64) {
    let Some(of) = link.groups.iter().find(|one| one.group == group) else { return };
    let started_ms = link.portal.now_ms();
    match link.portal.store().get(of.key.clone(), Freshness::linearizable()).await {
        Ok(got) => {
            let (Position { epoch, offset }, log_id) = (got.applied, got.log_id);
            link.step(group, Input::Barrier { number, started_ms, offset, epoch, log_id });
            tracing::debug!(group, offset, "the cache begins anew");
        }
        Err(error) => {
            tracing::debug!(group, %error, "barrier read failed; it is repeated");
            tokio::time::sleep(Duration::from_millis(BARRIER_PAUSE_MS)).await;
            link.step(group, Input::BarrierFailed { number });
        }
    }
}

/// Fetches the changes that were missed.
async fn repair(link: Arc<Link>, group: u64, number: u64, after: u64, wanted: u64) {
    let missed = missed(&**link.portal.store(), group, after, wanted);
    let missed = tokio::time::timeout(Duration::from_millis(REPAIR_MS_MAX), missed).await;
    match missed.ok().flatten() {
        Some((changes, up_to)) => {
            tracing::debug!(group, after, up_to = up_to.offset, "changes that were missed");
            link.step(group, Input::Repaired { number, changes, up_to });
        }
        None => {
            tracing::debug!(group, after, wanted, "what was missed cannot be fetched; the cache begins anew");
            link.step(group, Input::RepairFailed { number });
        }
    }
}

/// The changes after one offset up to another at least; `None`: they are trimmed, too many, or nobody says.
async fn missed(store: &dyn Store, group: u64, after: u64, wanted: u64) -> Option<(Vec<Change>, Position)> {
    let mut stream = store.changes(group, after).await.ok()?;
    let (mut changes, mut keys) = (Vec::new(), 0);
    while let Some(Ok(answer)) = stream.next().await {
        let Some(changes_response::Kind::Changes(batch)) = answer.kind else { return None };
        keys += batch.changes.iter().map(|change| change.keys.len()).sum::<usize>();
        if keys > REPAIR_KEYS_MAX {
            return None;
        }
        changes.extend(batch.changes);
        if let Some(up_to) = batch.up_to.filter(|up_to| up_to.offset >= wanted) {
            return Some((changes, up_to));
        }
    }
    None
}

/// Asks the leaders to prove themselves, again and again.
async fn send_nonces(link: Arc<Link>) {
    let mut period = tokio::time::interval(Duration::from_millis(NONCE_PERIOD_MS));
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        link.step_all(|| Input::Tick);
        if !link.connected.load(Ordering::Relaxed) {
            continue;
        }
        let mut has_asked = false;
        for of in &link.groups {
            let log_id = link.portal.cache().log_id(of.group);
            if log_id == 0 {
                continue; // No barrier read has said yet whose leader to ask.
            }
            has_asked = true;
            let nonce = *uuid::Uuid::new_v4().as_bytes();
            link.step(of.group, Input::NonceSent { nonce, at_ms: link.portal.now_ms() });
            let message = Nonce { nonce: Bytes::copy_from_slice(&nonce), log_id }.encode_to_vec();
            let sealed = link.seals.seal(&of.nonces, message);
            // A full queue loses it: the next one will do.
            let _ = link.client.try_publish(of.nonces.name(), QoS::AtMostOnce, false, sealed);
        }
        let silence_ms = link.portal.now_ms().saturating_sub(link.heard_ms.load(Ordering::Relaxed));
        if has_asked && silence_ms > SILENCE_MS_MAX {
            link.hear();
            link.silent.notify_one();
        }
    }
}
