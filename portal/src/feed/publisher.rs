//! The feed on the broker: each event as JSON, at `feira/<cluster>/events`, and where it ends, retained, at `feira/<cluster>/events/last/<group>`.
//!
//! ```text
//!   PUBLISH feira/market/events          PUBLISH feira/market/events/last/1   (retained)
//!     {"cursor":"1:17.5","did":…}           1:17.5
//!     user property previous: 1:16.4
//! ```
//!
//! Promises: a keeper publishes the events of a group in their order, each at least once, and each names the one before it: who hears one whose `previous` he
//! has not heard has missed some, and reads them from a portal (ListEvents). Only what the broker has taken counts as published; an event over which it ends one
//! connection after the other, since it is too large for it, is passed over, and the next one names it. A keeper that was stopped, and is none
//! any more, may repeat a few older ones.
//!
//! Source: MQTT 5.0, 4.3.2 (QoS 1), 3.3.1.3 (retain).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proto::portal::Event;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, PublishProperties};
use rumqttc::v5::{AsyncClient, ClientError, Event as Polled, EventLoop, MqttOptions};
use store_client::Group;
use store_client::backoff::Backoff;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::broker_socket::prompt;
use crate::config::{Bus, Login};
use crate::event_place::{Cursor, Place};

/// The user property with the cursor of the event before; an event that is the first of its group has none.
const PREVIOUS: &str = "previous";
/// Messages that the broker has not acknowledged yet, at most.
const WINDOW: u16 = 64;
/// An event over which the broker ended so many connections, one after the other, is passed over.
const LIVES_MAX: u32 = 5;
/// An acknowledgement is waited for so long.
const ACK_MAX: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const CONNECT_SECONDS_MAX: u64 = 2;
/// A connection that the broker has not taken within this is given up.
const CONNECT_MAX: Duration = Duration::from_secs(4);
const PAUSE_MS: (u64, u64) = (50, 1_000);

/// The topic of events.
fn topic(cluster: &str) -> String {
    format!("feira/{cluster}/events")
}

/// The broker, for events.
pub(super) struct Publisher {
    bus: Bus,
    topic: String,
    connection: Option<Connection>,
    backoff: Backoff,
    /// No connection is made before.
    not_before: Instant,
    /// The group's last place that was told, retained.
    told: Vec<(Group, Place)>,
    /// The event over which the broker ended connections, one after the other, and how many.
    stuck: (Group, Place, u32),
    /// What it said last when it took nothing.
    refused: Option<PubAckReason>,
}

/// One connection, which is given up when a message was not acknowledged in time: an acknowledgement is of a message of this one.
struct Connection {
    client: AsyncClient,
    seen: watch::Receiver<Seen>,
    /// How many messages must be acknowledged before whoever waits has to know.
    awaited: Arc<AtomicUsize>,
    began: Instant,
    _polling: JoinSet<()>,
}

/// What has come of a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The broker has taken it.
    is_up: bool,
    /// Messages that the broker has acknowledged, which it does in their order (MQTT 5.0, 4.6).
    acknowledged: usize,
    /// It said why it did not take the next one.
    refused: Option<PubAckReason>,
}

impl Publisher {
    /// Not connected yet.
    pub(super) fn new(bus: &Bus) -> Publisher {
        Publisher {
            bus: bus.clone(),
            topic: topic(&bus.cluster),
            connection: None,
            backoff: Backoff::new(PAUSE_MS.0, PAUSE_MS.1),
            not_before: Instant::now(),
            told: Vec::new(),
            stuck: (0, Place::default(), 0),
            refused: None,
        }
    }

    /// Itself, if the broker can be used; else it connects meanwhile.
    pub(super) fn ready(&mut self) -> Option<&mut Publisher> {
        let is_over = |connection: &Connection| {
            let is_late = !connection.seen.borrow().is_up && connection.began.elapsed() > CONNECT_MAX;
            connection.seen.has_changed().is_err() || is_late
        };
        if self.connection.as_ref().is_some_and(is_over) {
            self.give_up();
        }
        if self.connection.is_none() && Instant::now() >= self.not_before {
            self.connection = Some(Connection::begin(&self.bus));
        }
        let is_up = self.connection.as_ref().is_some_and(|connection| connection.seen.borrow().is_up);
        is_up.then_some(self)
    }

    fn give_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.not_before = Instant::now() + self.backoff.after(connection.began.elapsed());
            // The broker may have forgotten what was retained.
            self.told.clear();
        }
    }

    /// Publishes a group's events in order, the first of which follows on `before`; how many of them the broker has acknowledged: all,
    /// unless the connection was lost, or `until` has come.
    pub(super) async fn publish(
        &mut self,
        group: Group,
        before: Place,
        events: &[(Place, Event, u64)],
        until: Instant,
    ) -> usize {
        let (mut previous, mut done) = (before, 0);
        for window in events.chunks(WINDOW.into()) {
            if Instant::now() >= until {
                return done;
            }
            let messages = window.iter().map(|(place, event, _)| {
                let follows = (previous != Place::default()).then(|| cursor(group, previous));
                previous = *place;
                Message::of(&self.topic, event, follows)
            });
            let messages: Vec<Message> = messages.collect();
            let (acknowledged, lost_over_it) = self.send(messages).await;
            done += acknowledged;
            if let Some((lost, ..)) = window.get(acknowledged) {
                return done + usize::from(lost_over_it && self.is_stuck(group, *lost));
            }
        }
        if previous != Place::default() && !self.told.contains(&(group, previous)) {
            let message = Message::last(&self.topic, group, cursor(group, previous));
            if self.send(vec![message]).await.0 == 1 {
                self.told.retain(|(told, _)| *told != group);
                self.told.push((group, previous));
            }
        }
        done
    }

    /// Whether so many connections were lost over this event that it is passed over: the broker does not take it. The next one names it, so that the gap shows.
    fn is_stuck(&mut self, group: Group, place: Place) -> bool {
        let (of, at, lives) = self.stuck;
        let lives = if (of, at) == (group, place) { lives + 1 } else { 1 };
        self.stuck = (group, place, lives);
        if lives >= LIVES_MAX {
            tracing::warn!(
                cursor = cursor(group, place),
                "the broker does not take this event; it is passed over there"
            );
        }
        lives >= LIVES_MAX
    }

    /// Publishes messages, and waits for the broker; how many it has acknowledged, and whether it ended the connection over the next one. If
    /// not all, the connection is given up: a broker that is slow, or lets this portal publish nothing, is tried again and again.
    async fn send(&mut self, messages: Vec<Message>) -> (usize, bool) {
        let Some(connection) = &mut self.connection else { return (0, false) };
        let count = messages.len();
        let acknowledged = connection.send(messages).await;
        let refused = connection.seen.borrow().refused;
        let was_ended = connection.seen.has_changed().is_err() && refused.is_none();
        if acknowledged < count {
            if let Some(reason) = refused.filter(|_| self.refused != refused) {
                tracing::warn!(
                    ?reason,
                    "the broker does not let this portal publish events; it is tried again and again"
                );
            }
            self.refused = refused;
            self.give_up();
        } else {
            self.refused = None;
        }
        (acknowledged, was_ended)
    }
}

/// What is published.
struct Message {
    topic: String,
    retain: bool,
    text: Vec<u8>,
    properties: PublishProperties,
}

impl Message {
    fn of(topic: &str, event: &Event, follows: Option<String>) -> Message {
        let properties = PublishProperties {
            content_type: Some("application/json".to_owned()),
            user_properties: follows.map(|cursor| (PREVIOUS.to_owned(), cursor)).into_iter().collect(),
            ..PublishProperties::default()
        };
        let text = serde_json::to_vec(event).expect("our answers are JSON");
        Message { topic: topic.to_owned(), retain: false, text, properties }
    }

    fn last(topic: &str, group: Group, cursor: String) -> Message {
        let topic = format!("{topic}/last/{group}");
        Message { topic, retain: true, text: cursor.into_bytes(), properties: PublishProperties::default() }
    }
}

impl Connection {
    fn begin(bus: &Bus) -> Connection {
        let id = format!("feira-events-{}", uuid::Uuid::new_v4().simple());
        let mut options = MqttOptions::new(id, bus.host.clone(), bus.port);
        options
            .set_clean_start(true)
            .set_session_expiry_interval(Some(0))
            .set_keep_alive(KEEP_ALIVE)
            .set_connection_timeout(CONNECT_SECONDS_MAX)
            .set_network_options(prompt())
            .set_outgoing_inflight_upper_limit(WINDOW + 1);
        if let Some(Login { user, password }) = &bus.login {
            options.set_credentials(user.clone(), password.clone());
        }
        let (client, events) = AsyncClient::new(options, usize::from(WINDOW) + 1);
        let (tell, seen) = watch::channel(Seen::default());
        let awaited = Arc::new(AtomicUsize::new(0));
        let mut polling = JoinSet::new();
        polling.spawn(poll(events, tell, Arc::clone(&awaited)));
        Connection { client, seen, awaited, began: Instant::now(), _polling: polling }
    }

    async fn send(&mut self, messages: Vec<Message>) -> usize {
        let (before, count) = (self.seen.borrow().acknowledged, messages.len());
        self.awaited.store(before + count, Ordering::Release);
        let sending = async {
            for Message { topic, retain, text, properties } in messages {
                let client = &self.client;
                client.publish_with_properties(topic, QoS::AtLeastOnce, retain, text, properties).await?;
            }
            Ok::<_, ClientError>(())
        };
        if !matches!(timeout(ACK_MAX, sending).await, Ok(Ok(()))) {
            return self.seen.borrow().acknowledged - before;
        }
        // If it ends otherwise, the connection was lost, or the broker does not answer.
        drop(timeout(ACK_MAX, self.seen.wait_for(|seen| seen.acknowledged - before >= count)).await);
        (self.seen.borrow().acknowledged - before).min(count)
    }
}

fn cursor(group: Group, place: Place) -> String {
    let mut cursor = Cursor::default();
    cursor.saw(group, place);
    cursor.to_string()
}

/// Keeps the connection until it is lost.
async fn poll(mut events: EventLoop, tell: watch::Sender<Seen>, awaited: Arc<AtomicUsize>) {
    loop {
        match events.poll().await {
            Ok(Polled::Incoming(Packet::ConnAck(_))) => tell.send_modify(|seen| seen.is_up = true),
            Ok(Polled::Incoming(Packet::PubAck(ack))) => {
                if !matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
                    tell.send_modify(|seen| seen.refused = Some(ack.reason));
                    return;
                }
                tell.send_if_modified(|seen| {
                    seen.acknowledged += 1;
                    seen.acknowledged >= awaited.load(Ordering::Acquire)
                });
            }
            Ok(Polled::Incoming(Packet::Disconnect(_))) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "no broker for events");
                return;
            }
        }
    }
}
