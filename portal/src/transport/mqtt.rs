//! MQTT 5 request/response: a topic an operation, under `feira/<cluster>/<service>/`, such as
//! `feira/market/shop/create-order`.
//!
//! ```text
//!   PUBLISH feira/market/shop/create-order          PUBLISH <response topic>
//!     response topic, correlation data       ─►       the same correlation data
//!     user properties: cid, request-id …              user properties: status, etag
//!     content: the request's other members            content: the answer, or problem details
//! ```
//!
//! All portals of a cluster hear the topics by one shared subscription, so that each request goes to one of them.
//!
//! Promises:
//! - *What changes something has the caller's own request id.* QoS 1 delivers twice, and a portal that dies takes with it what it
//!   was given; only a repetition under the same id settles what became of it. Without an id it is refused.
//! - *A request has bounds.* A message of the broker is no larger than [`PACKET_BYTES_MAX`]; [`UNDER_WAY_MAX`] of them run at a
//!   time, and more are refused; each ends within its expiry, or [`TIME_MAX`]. It is acknowledged when it is answered, so that
//!   the broker holds back what would be too many.
//! - *An answer goes where its caller can hear it, and nowhere else.* A response topic has no wildcard and is none of the
//!   cluster's own. What cannot be answered is counted, and not done.
//! - *A stop loses nothing that was taken*: no more is taken, what runs is answered, then the connection ends.
//!
//! The connection is its own, apart from that of the invalidations. One that brings nothing any more is made anew ([`mqtt_probe`](super::mqtt_probe)). A retained request is refused: it would stay at the broker, for
//! whoever subscribes. No order between two requests is promised.
//!
//! Source: MQTT 5.0, 4.10 (request/response), 4.8.2 (shared subscriptions), 3.3.2.3 (properties).
//!
//! Leaves out: who the caller is. Others on the broker can hear requests and answer them: docs/OPERATIONS.md has the rules by which
//! a broker keeps them off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::portal::RequestId;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, Publish, PublishProperties, RetainForwardRule, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::{Map, Value};
use store_client::backoff::Backoff;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::body::{Member, is_json, made_ms, merged, object};
use super::mqtt_probe::Probe;
use super::problem::{MEDIA_TYPE, problem};
use crate::broker_socket::prompt;
use crate::config::{Bus, Login};
use crate::error::Error;
use crate::handle::Portal;
use crate::lost_connection::forget;
use crate::meant::CLUSTER_HEADER;
use crate::operation::{Answered, Asked, Effect, Registered, Told};
use crate::session::SESSION_HEADER;

/// The user property with the id of a request.
pub const REQUEST_ID: &str = "request-id";
/// And with the time when it was made, milliseconds since 1970; an id that is a UUID of version 7 says it itself.
pub const REQUEST_CREATED: &str = "request-created-ms";
/// The user property with the client's id.
pub const CID: &str = "cid";
/// The user property of an answer: the status that HTTP has for it.
pub const STATUS: &str = "status";
/// The user property of an answer: the version of the record.
pub const ETAG: &str = "etag";

/// The level of topics, below the cluster's, on which portals hear themselves.
const ALIVE: &str = "alive";

/// The largest packet that is taken: what `mosquitto.conf` and the embedded broker take from a publisher.
pub const PACKET_BYTES_MAX: u32 = 1 << 20;
/// Requests that run at a time.
pub const UNDER_WAY_MAX: u16 = 128;
/// A request that says nothing of its expiry ends within this.
pub const TIME_MAX: Duration = Duration::from_secs(30);
/// The end of the connection is waited for so long.
const DISCONNECT_MAX: Duration = Duration::from_millis(500);
/// An answer that nobody has taken from the broker within so many seconds is dropped there.
const ANSWER_EXPIRY_S: u32 = 60;
/// Bytes of an answer's packet beside its topic and its content, at most: the correlation is no longer than a request's, and
/// beside it is the token.
const PROPERTIES_BYTES: usize = 70 << 10;
/// The longest response topic.
const RESPONSE_TOPIC_BYTES_MAX: usize = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const CONNECT_SECONDS_MAX: u64 = 2;
const PAUSE_MS: (u64, u64) = (50, 1_000);
/// Packets that wait for the polling task: an answer and an acknowledgement for each request, and some.
const PACKETS_MAX: u16 = 2 * UNDER_WAY_MAX + 16;

/// The topic of an operation.
#[must_use]
pub fn topic(cluster: &str, service: &str, operation: &str) -> String {
    format!("feira/{cluster}/{service}/{}", word(operation))
}

/// An operation's name in topics: `CreateOrder` is `create-order`.
#[must_use]
pub fn word(operation: &str) -> String {
    let mut word = String::new();
    for (at, letter) in operation.chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

/// What the tasks of one portal's requests share.
struct Requests {
    portal: Arc<Portal>,
    operations: &'static [Registered],
    /// What the topics of operations begin with.
    prefix: String,
    /// What the topics of the cluster begin with.
    own: String,
    client: AsyncClient,
    probe: Probe,
    under_way: Arc<Semaphore>,
    /// No more is taken: what still comes is another portal's, once its caller repeats it.
    is_stopping: AtomicBool,
    /// Which connection this is.
    connection: AtomicU64,
    /// The largest packet that the broker takes.
    packet_bytes_max: AtomicU32,
}

/// Serves requests over a broker until `stopped`, then answers what it has for at most `grace`.
pub async fn run(
    portal: Arc<Portal>,
    bus: Bus,
    service: &'static str,
    operations: &'static [Registered],
    mut stopped: watch::Receiver<bool>,
    grace: Duration,
) {
    let id = format!("feira-requests-{}", uuid::Uuid::new_v4().simple());
    let own = format!("feira/{}/", bus.cluster);
    let probe = Probe::new(format!("{own}{ALIVE}/{id}"));
    let (client, events) = AsyncClient::new(options(&bus, id), PACKETS_MAX.into());
    let requests = Arc::new(Requests {
        portal,
        operations,
        prefix: format!("{own}{service}/"),
        own,
        client,
        probe,
        under_way: Arc::new(Semaphore::new(usize::from(UNDER_WAY_MAX))),
        is_stopping: AtomicBool::new(false),
        connection: AtomicU64::new(0),
        packet_bytes_max: AtomicU32::new(u32::MAX),
    });
    let filter = format!("$share/feira/{}+", requests.prefix);
    let serving = serve(&requests, &filter, events);
    let ending = async {
        // A sender that is gone means the end, too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        requests.is_stopping.store(true, Ordering::Relaxed);
        let _ = requests.client.try_unsubscribe(filter.clone());
        if timeout(grace, requests.under_way.acquire_many(UNDER_WAY_MAX.into())).await.is_err() {
            tracing::warn!("requests from the broker were still under way when the grace ended");
        }
        // What polls sees it go out, and ends; where there is no connection nothing goes out.
        let _ = requests.client.try_disconnect();
        tokio::time::sleep(DISCONNECT_MAX).await;
    };
    tokio::select! {
        () = serving => {}
        () = ending => {}
        () = requests.probe.run(&requests.client) => {}
    }
}

fn options(bus: &Bus, id: String) -> MqttOptions {
    let mut options = MqttOptions::new(id, bus.host.clone(), bus.port);
    options
        .set_network_options(prompt())
        .set_clean_start(true)
        .set_session_expiry_interval(Some(0))
        .set_keep_alive(KEEP_ALIVE)
        .set_connection_timeout(CONNECT_SECONDS_MAX)
        .set_max_packet_size(Some(PACKET_BYTES_MAX))
        .set_outgoing_inflight_upper_limit(PACKETS_MAX)
        .set_receive_maximum(Some(UNDER_WAY_MAX))
        .set_manual_acks(true);
    if let Some(Login { user, password }) = &bus.login {
        options.set_credentials(user.clone(), password.clone());
    }
    options
}

/// Polls until the connection was ended from here.
async fn serve(requests: &Arc<Requests>, filter: &str, mut events: EventLoop) {
    let mut backoff = Backoff::new(PAUSE_MS.0, PAUSE_MS.1);
    let mut began = Instant::now();
    loop {
        // Silence is told of a connection that is given up then: nothing of it is lost with the poll.
        let event = tokio::select! {
            event = events.poll() => Some(event),
            () = requests.probe.silent.notified() => None,
        };
        match event {
            None => tracing::warn!("the broker brings no requests any more; connecting anew"),
            Some(Ok(Event::Outgoing(Outgoing::Disconnect))) => return,
            Some(Ok(Event::Outgoing(_))) => continue,
            Some(Ok(Event::Incoming(packet))) => {
                if matches!(packet, Packet::ConnAck(_)) {
                    began = Instant::now();
                }
                if requests.take(packet, filter) {
                    continue;
                }
            }
            Some(Err(error)) => tracing::debug!(%error, "no requests from the broker"),
        }
        requests.probe.hears(false);
        // Answers to requests of a connection that is gone: their callers ask again.
        forget(&mut events);
        tokio::time::sleep(backoff.after(began.elapsed())).await;
        began = Instant::now();
    }
}

impl Requests {
    /// Takes one packet; false: the connection is of no use and must be made anew.
    fn take(self: &Arc<Requests>, packet: Packet, filter: &str) -> bool {
        match packet {
            Packet::ConnAck(ack) => {
                self.connection.fetch_add(1, Ordering::Relaxed);
                let packet_max = ack.properties.and_then(|properties| properties.max_packet_size);
                self.packet_bytes_max.store(packet_max.unwrap_or(u32::MAX), Ordering::Relaxed);
                // A retained request is to be seen as one.
                let filter = Filter {
                    preserve_retain: true,
                    retain_forward_rule: RetainForwardRule::Never,
                    ..Filter::new(filter.to_owned(), QoS::AtLeastOnce)
                };
                let own = Filter::new(self.probe.topic.clone(), QoS::AtLeastOnce);
                self.client.try_subscribe_many([filter, own]).is_ok()
            }
            Packet::SubAck(ack) => {
                let is_granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                let granted: Vec<bool> = ack.return_codes.iter().map(is_granted).collect();
                let [requests, own] = [0, 1].map(|at| granted.get(at).copied().unwrap_or(false));
                if requests {
                    tracing::info!("requests are taken from the broker");
                } else {
                    tracing::warn!(codes = ?ack.return_codes, "the broker refused the subscription to requests");
                }
                self.probe.hears(own);
                requests
            }
            Packet::Publish(publish) => {
                self.probe.heard();
                if publish.topic == self.probe.topic {
                    return self.client.try_ack(&publish).is_ok();
                }
                self.asked(publish)
            }
            Packet::Disconnect(_) => false,
            _ => true,
        }
    }

    /// A request has come; false: it cannot be acknowledged, and the broker would wait for that for ever.
    fn asked(self: &Arc<Requests>, publish: Publish) -> bool {
        if self.is_stopping.load(Ordering::Relaxed) {
            return true;
        }
        let mut properties = publish.properties.clone().unwrap_or_default();
        let to = properties.response_topic.take().filter(|topic| self.may_answer_at(topic));
        let Some(to) = to else {
            let count = self.portal.count_unanswerable();
            if count.is_power_of_two() {
                tracing::warn!(
                    count,
                    "requests from the broker without a topic where their answer can go are not done"
                );
            }
            return self.client.try_ack(&publish).is_ok();
        };
        let correlation = properties.correlation_data.take();
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            // Nothing is kept for what is refused; if not even the refusal finds room, its caller asks again.
            let (text, properties) = answer(Answered::refused(too_many()), correlation);
            let _ = self.client.try_publish_with_properties(to, QoS::AtMostOnce, false, text, properties);
            return self.client.try_ack(&publish).is_ok();
        };
        let (requests, connection) = (Arc::clone(self), self.connection.load(Ordering::Relaxed));
        tokio::spawn(async move {
            let answered = requests.answered(&to, &publish, &properties).await;
            let (text, properties) = answer(answered, correlation);
            // The queue has room for the answers of all that run: it waits for the broker at most.
            let told = requests.client.publish_with_properties(to, QoS::AtLeastOnce, false, text, properties);
            let _ = told.await;
            // On another connection its identifier is another message's.
            if requests.connection.load(Ordering::Relaxed) == connection {
                let _ = requests.client.ack(&publish).await;
            }
            drop(permit);
        });
        true
    }

    /// An answer that the broker takes: a larger packet would end the connection. Of what was changed the lists are left out; of
    /// what was only read nothing is told but that it is too large.
    fn fitting(&self, to: &str, effect: Effect, told: Told) -> Result<Told, Error> {
        let most = PACKET_BYTES_MAX.min(self.packet_bytes_max.load(Ordering::Relaxed)) as usize;
        let most = most.saturating_sub(to.len() + PROPERTIES_BYTES);
        if told.text.len() <= most {
            return Ok(told);
        }
        match effect {
            Effect::Changes => Ok(Told { text: trimmed(&told.text), ..told }),
            Effect::Reads => {
                let bytes = told.text.len();
                let why = format!(
                    "has {bytes} bytes, and a message of the broker at most {most}: ask for less of a list by its limit, \
                     or over HTTP or gRPC"
                );
                Err(Error::invalid("answer", why))
            }
        }
    }

    /// Whether an answer may go to this topic.
    fn may_answer_at(&self, topic: &str) -> bool {
        (1..=RESPONSE_TOPIC_BYTES_MAX).contains(&topic.len())
            && !topic.contains(['+', '#', '\0'])
            && !topic.starts_with('$')
            && !topic.starts_with(&self.own)
    }

    /// What a message asks, and of which operation.
    fn understood(
        &self,
        publish: &Publish,
        properties: &PublishProperties,
    ) -> Result<(&'static Registered, Asked), Error> {
        let operation = self.operation(&publish.topic)?;
        self.portal.check_meant(property(properties, CLUSTER_HEADER)?)?;
        Ok((operation, asked(operation, publish, properties)?))
    }

    async fn answered(&self, to: &str, publish: &Publish, properties: &PublishProperties) -> Answered<Told> {
        let (operation, asked) = match self.understood(publish, properties) {
            Ok(understood) => understood,
            Err(error) => return Answered::refused(error),
        };
        let id = asked.id.clone().unwrap_or_default();
        // Counted in whole seconds from its receipt: 0 is less than one, and not over.
        let time =
            properties.message_expiry_interval.map_or(TIME_MAX, |s| Duration::from_secs(s.max(1).into()));
        let time = time.min(TIME_MAX);
        match timeout(time, operation.run(Arc::clone(&self.portal), asked)).await {
            Ok(Answered { done, token }) => {
                let done = done.and_then(|told| self.fitting(to, operation.effect, told));
                Answered { done, token }
            }
            Err(_) if operation.effect == Effect::Changes => Answered::refused(Error::OutcomeUnknown {
                why: format!("it was not done within {} s", time.as_secs()),
                request: id.id,
                created_ms: id.created_ms,
            }),
            Err(_) => Answered::refused(Error::away(format!("it was not read within {} s", time.as_secs()))),
        }
    }

    fn operation(&self, topic: &[u8]) -> Result<&'static Registered, Error> {
        let name = topic.strip_prefix(self.prefix.as_bytes()).unwrap_or(topic);
        let found = self.operations.iter().find(|operation| word(operation.name).as_bytes() == name);
        found.ok_or_else(|| {
            let known: Vec<String> = self.operations.iter().map(|operation| word(operation.name)).collect();
            let name: String = String::from_utf8_lossy(name).chars().take(200).collect();
            Error::invalid("topic", format!("{name:?} is no operation; there are {}", known.join(", ")))
        })
    }
}

fn too_many() -> Error {
    let why = format!("as many requests from the broker as may run at once ({UNDER_WAY_MAX}) are under way");
    Error::Overloaded { why, own: false }
}

/// An answer without its lists, which says so.
fn trimmed(text: &[u8]) -> Vec<u8> {
    let mut members: Map<String, Value> = serde_json::from_slice(text).unwrap_or_default();
    for value in members.values_mut().filter(|value| value.is_array()) {
        *value = Value::Array(Vec::new());
    }
    members.insert("trimmed".to_owned(), true.into());
    Value::Object(members).to_string().into_bytes()
}

/// What a message asks.
fn asked(operation: &Registered, publish: &Publish, properties: &PublishProperties) -> Result<Asked, Error> {
    if publish.retain {
        let why = "is set: it would stay at the broker, for whoever subscribes; publish a request without it";
        return Err(Error::invalid("retain", why));
    }
    let id = request_id(properties)?;
    if id.is_none() && operation.effect == Effect::Changes {
        let why = "is missing: the broker may deliver twice, and only an id of the caller's own makes one change of it";
        return Err(Error::invalid(REQUEST_ID, why));
    }
    is_json(properties.content_type.as_deref())?;
    let cid = property(properties, CID)?.map(|cid| (CID.to_owned(), Value::from(cid)));
    let members: Vec<Member> = cid.into_iter().collect();
    let session = property(properties, SESSION_HEADER)?.map(str::to_owned);
    Ok(Asked { text: merged(&members, object(&publish.payload)?), id, session })
}

fn request_id(properties: &PublishProperties) -> Result<Option<RequestId>, Error> {
    let Some(id) = property(properties, REQUEST_ID)?.filter(|id| !id.is_empty()) else { return Ok(None) };
    let created_ms = match property(properties, REQUEST_CREATED)? {
        None => made_ms(id),
        Some(text) => {
            let why = || Error::invalid(REQUEST_CREATED, format!("{text:?} is no whole number"));
            text.parse::<i64>().map_err(|_| why())?
        }
    };
    Ok(Some(RequestId { id: id.to_owned(), created_ms }))
}

/// The value of a user property that comes once at most.
fn property<'p>(properties: &'p PublishProperties, name: &str) -> Result<Option<&'p str>, Error> {
    let mut values = properties.user_properties.iter().filter(|(one, _)| one == name);
    match (values.next(), values.next()) {
        (first, None) => Ok(first.map(|(_, value)| value.as_str())),
        _ => Err(Error::invalid(name, "is given twice")),
    }
}

/// An answer's content and properties.
fn answer(answered: Answered<Told>, correlation_data: Option<Bytes>) -> (Vec<u8>, PublishProperties) {
    let Answered { done, token } = answered;
    let (text, content_type, status, etag) = match done {
        Ok(told) => {
            let status = if told.location.is_some() { 201 } else { 200 };
            (told.text, "application/json", status, told.etag)
        }
        Err(error) => {
            let status = error.http_status();
            (problem(error).to_string().into_bytes(), MEDIA_TYPE, status, None)
        }
    };
    let etag = etag.map(|etag| (ETAG.to_owned(), etag.to_string()));
    let token = token.map(|token| (SESSION_HEADER.to_owned(), token.to_string()));
    let status = (STATUS.to_owned(), status.to_string());
    let properties = PublishProperties {
        correlation_data,
        content_type: Some(content_type.to_owned()),
        message_expiry_interval: Some(ANSWER_EXPIRY_S),
        user_properties: std::iter::once(status).chain(etag).chain(token).collect(),
        ..PublishProperties::default()
    };
    (text, properties)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;
    use crate::transport::resource::{Method, Resource};
    use proto::portal::{Order, OrderRequest};

    struct Confirm;

    impl Operation for Confirm {
        const NAME: &'static str = "ConfirmOrder";
        const EFFECT: Effect = Effect::Changes;
        const RESOURCE: Resource = Resource::new(Method::Post, "/v1/confirm");
        type Request = OrderRequest;
        type Response = Order;

        async fn run(_portal: &Portal, _request: OrderRequest) -> Result<Order, Error> {
            Err(Error::away("a test"))
        }
    }

    fn asked_of(publish: &Publish, user_properties: &[(&str, &str)]) -> Result<Asked, Error> {
        let user_properties =
            user_properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let properties =
            PublishProperties { user_properties: user_properties.collect(), ..PublishProperties::default() };
        asked(&Registered::of::<Confirm>(), publish, &properties)
    }

    #[test]
    fn a_request_is_made_of_its_properties_and_its_content() {
        let publish = Publish { payload: Bytes::from_static(b"{\"oid\":\"7\"}"), ..Publish::default() };
        let ana = [("cid", "ana"), ("request-id", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f")];
        let asked = asked_of(&publish, &ana).expect("a request");
        assert_eq!(String::from_utf8_lossy(&asked.text), r#"{"cid":"ana","oid":"7"}"#);
        let id = asked.id.expect("it has one");
        assert_eq!((id.id.as_str(), id.created_ms), (ana[1].1, 1_645_557_742_000));
    }

    #[test]
    fn an_answer_that_is_too_large_keeps_what_says_that_it_was_done() {
        let text = br#"{"oid":"7","lines":[{"pid":"fig"}],"total":"1.50","etag":3}"#;
        let small: Value = serde_json::from_slice(&trimmed(text)).expect("JSON");
        assert_eq!(
            small,
            serde_json::json!({ "oid": "7", "lines": [], "total": "1.50", "etag": 3, "trimmed": true })
        );
    }

    #[test]
    fn an_operation_has_one_word_in_topics() {
        assert_eq!(topic("market", "shop", "CreateOrder"), "feira/market/shop/create-order");
        assert_eq!(word("GetProduct"), "get-product");
    }
}
