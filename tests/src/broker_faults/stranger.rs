//! Strangers on the broker, who publish to the topics of the cluster what is too large, malformed, retained, or repeated from what they
//! have heard there.
//!
//! Leaves out: whoever answers instead of a portal, having heard a request: only the broker's rules on topics keep that off
//! (docs/OPERATIONS.md).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use portal::transport::mqtt::topic;
use portal::transport::mqtt_calling::ANSWERS;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use super::shared::Shared;
use crate::wait;

/// What the broker takes, and no portal and no caller does.
const OVERSIZED_BYTES: usize = 1_500 << 10;
/// What they do take.
const LARGE_BYTES: usize = 300 << 10;
/// The broker's own limit, below which a stranger hears everything.
const PACKET_BYTES_MAX: u32 = 4 << 20;
/// Messages and topics that a stranger remembers.
const HEARD_MAX: usize = 64;
/// A broker that does not take a message within this is tried anew.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// Between two messages, at most.
const PACE: Duration = Duration::from_millis(150);
/// Words that operations have, one of which there is not.
const OPERATIONS: [&str; 5] = ["CreateOrder", "GetProduct", "ModifyOrder", "GetOrder", "NoSuchThing"];

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Where leaders tell of changes.
    Changes,
    /// Where portals ask leaders for proofs.
    Nonces,
    /// Where shoppers ask.
    Requests,
    /// Where portals answer.
    Answers,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// Larger than a portal or caller takes.
    Oversized,
    /// Large, and nonsense.
    Large,
    /// A few bytes of nonsense.
    Malformed,
    /// Nothing.
    Empty,
    /// One that was heard before, where it was or elsewhere.
    Repeated,
}

const PLACES: [Place; 4] = [Place::Changes, Place::Nonces, Place::Requests, Place::Answers];
const SORTS: [Sort; 5] = [Sort::Oversized, Sort::Large, Sort::Malformed, Sort::Empty, Sort::Repeated];

/// What the broker took, by place and sort; the second number counts those that it retained.
#[derive(Clone, Debug, Default)]
pub struct Taken(pub BTreeMap<(Place, Sort), (u64, u64)>);

impl Taken {
    /// How many of this sort.
    #[must_use]
    pub fn of(&self, sort: Sort) -> u64 {
        self.0.iter().filter(|((_, of), _)| *of == sort).map(|(_, (all, _))| all).sum()
    }

    /// How many at this place.
    #[must_use]
    pub fn at(&self, place: Place) -> u64 {
        self.0.iter().filter(|((at, _), _)| *at == place).map(|(_, (all, _))| all).sum()
    }

    /// How many were retained.
    #[must_use]
    pub fn retained(&self) -> u64 {
        self.0.values().map(|(_, retained)| retained).sum()
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u64 = self.0.values().map(|(all, _)| all).sum();
        write!(f, "strangers' messages that the broker took: {all}, {} of them retained;", self.retained())?;
        SORTS.iter().try_for_each(|sort| write!(f, " {sort:?} {}", self.of(*sort)))?;
        write!(f, "; on topics of")?;
        PLACES.iter().try_for_each(|place| write!(f, " {place:?} {}", self.at(*place)))
    }
}

/// One stranger.
struct Stranger {
    rng: fastrand::Rng,
    /// What was heard, and where.
    heard: Vec<(String, Bytes)>,
    /// Where answers go.
    answers: Vec<String>,
    taken: Arc<Mutex<Taken>>,
}

/// Publishes until all is over.
pub async fn disturb(broker: SocketAddr, shared: Arc<Shared>, rng: fastrand::Rng, taken: Arc<Mutex<Taken>>) {
    let mut stranger = Stranger { rng, heard: Vec::new(), answers: Vec::new(), taken };
    while !shared.is_over() {
        let mut options = MqttOptions::new("", broker.ip().to_string(), broker.port());
        options.set_client_id(format!("stranger-{}", stranger.rng.u64(..)));
        options.set_clean_start(true).set_connection_timeout(2).set_max_packet_size(Some(PACKET_BYTES_MAX));
        let (client, mut events) = AsyncClient::new(options, 16);
        let filters = ["feira/test/changes/#", "feira/test/nonce/#", "feira-answers/#"];
        let filters = filters.map(|filter| Filter::new(filter.to_owned(), QoS::AtMostOnce));
        if client.subscribe_many(filters).await.is_err() {
            continue;
        }
        while !shared.is_over() && stranger.publish(&client, &mut events).await.is_some() {
            wait::pass(PACE.mul_f64(stranger.rng.f64())).await;
        }
        wait::pass(PACE).await;
    }
}

impl Stranger {
    /// Publishes one message; `None`: the broker did not take it.
    async fn publish(&mut self, client: &AsyncClient, events: &mut EventLoop) -> Option<()> {
        let sort =
            if self.rng.u8(..8) == 0 { Sort::Oversized } else { self.rng.choice(&SORTS[1..]).copied()? };
        // mosquitto 2.0.11 sends nothing more on a connection for which it has held back a few messages as too large: portals and callers
        // find that out, and connect anew.
        let place = self.rng.choice(&PLACES)?;
        let (topic, payload) = (self.topic(*place), self.payload(sort));
        let is_retained = self.rng.u8(..4) == 0;
        let properties = PublishProperties {
            response_topic: (*place == Place::Requests).then(|| self.response_topic()).flatten(),
            correlation_data: Some(Bytes::from(vec![7; self.rng.usize(..40)])),
            ..PublishProperties::default()
        };
        client
            .publish_with_properties(topic, QoS::AtLeastOnce, is_retained, payload, properties)
            .await
            .ok()?;
        tokio::time::timeout(TAKEN_WITHIN, self.acknowledged(events)).await.ok()??;
        let mut taken = self.taken.lock();
        let (all, retained) = taken.0.entry((*place, sort)).or_default();
        *all += 1;
        *retained += u64::from(is_retained);
        Some(())
    }

    /// Hears what there is until the message is acknowledged.
    async fn acknowledged(&mut self, events: &mut EventLoop) -> Option<()> {
        loop {
            match events.poll().await.ok()? {
                Event::Incoming(Packet::PubAck(_)) => return Some(()),
                Event::Incoming(Packet::Publish(publish)) => {
                    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                    let at = self.rng.usize(..HEARD_MAX);
                    if topic.starts_with(ANSWERS) {
                        put(&mut self.answers, at, topic);
                    } else if publish.payload.len() < LARGE_BYTES {
                        put(&mut self.heard, at, (topic, publish.payload));
                    }
                }
                Event::Incoming(Packet::Disconnect(_)) => return None,
                _ => {}
            }
        }
    }

    fn topic(&mut self, place: Place) -> String {
        match place {
            Place::Changes => "feira/test/changes/1".to_owned(),
            Place::Nonces => "feira/test/nonce/1".to_owned(),
            Place::Requests => {
                let operation = self.rng.choice(OPERATIONS).unwrap_or_default();
                topic("test", client_portal::TOPICS, operation)
            }
            Place::Answers => {
                let heard = self.rng.choice(self.answers.iter()).cloned();
                heard.unwrap_or_else(|| format!("{ANSWERS}/nobody"))
            }
        }
    }

    fn payload(&mut self, sort: Sort) -> Bytes {
        let nonsense = |bytes: usize| Bytes::from(vec![0xff; bytes]);
        match sort {
            Sort::Oversized => nonsense(OVERSIZED_BYTES),
            Sort::Large => nonsense(LARGE_BYTES),
            Sort::Malformed if self.rng.bool() => Bytes::from_static(br#"{"cid":"shopper-1","lines":7}"#),
            Sort::Malformed => nonsense(1 + self.rng.usize(..64)),
            Sort::Empty => Bytes::new(),
            Sort::Repeated => match self.rng.choice(self.heard.iter()) {
                Some((_, payload)) => payload.clone(),
                None => nonsense(7),
            },
        }
    }

    /// Where a portal is told to answer: where it may not, nowhere, or at nobody's.
    fn response_topic(&mut self) -> Option<String> {
        let topics = [Some("feira/test/changes/1"), Some("strangers/answers"), None];
        self.rng.choice(topics).flatten().map(str::to_owned)
    }
}

/// Remembers one in the place of another.
fn put<T>(all: &mut Vec<T>, at: usize, one: T) {
    match all.get_mut(at) {
        Some(there) => *there = one,
        None => all.push(one),
    }
}
