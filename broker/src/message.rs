//! A message that the broker holds, once for all that get it, and what it costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Publish, PublishProperties};

use crate::limits::MESSAGE_COST_BYTES;

/// Which session, for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Number(pub(crate) u64);

/// The lower of two: what a message sent at one and asked for at another is told at.
pub(crate) fn lower(a: QoS, b: QoS) -> QoS {
    if a <= b { a } else { b }
}

/// The higher of two.
pub(crate) fn higher(a: QoS, b: QoS) -> QoS {
    if a >= b { a } else { b }
}

/// Bytes of all messages that are held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held(Arc<AtomicUsize>);

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// What goes on to whoever gets it; expiry and subscription ids are not in it.
    properties: PublishProperties,
    /// It is of no use after this.
    expires: Option<Instant>,
    /// Who published it.
    pub(crate) from: Number,
    cost: usize,
    held: Held,
}

impl Drop for Message {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.cost, Ordering::AcqRel);
    }
}

impl Message {
    /// As a client published it; the topic was checked.
    pub(crate) fn new(topic: &str, publish: Publish, from: Number, held: &Held) -> Message {
        let mut properties = publish.properties.unwrap_or_default();
        properties.topic_alias = None;
        properties.subscription_identifiers.clear();
        // What was read shares its memory with what came with it: of which a held message keeps nothing.
        properties.correlation_data = properties.correlation_data.map(|data| Bytes::copy_from_slice(&data));
        let expires = properties.message_expiry_interval.take();
        let expires = expires.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
        let payload = Bytes::copy_from_slice(&publish.payload);
        let cost = MESSAGE_COST_BYTES + topic.len() + payload.len() + cost_of(&properties);
        held.0.fetch_add(cost, Ordering::AcqRel);
        Message {
            topic: topic.into(),
            payload,
            qos: publish.qos,
            retain: publish.retain,
            properties,
            expires,
            from,
            cost,
            held: held.clone(),
        }
    }

    /// A client's will; `None`: its topic is none. With how long it waits.
    pub(crate) fn will(will: LastWill, from: Number, held: &Held) -> Option<(Message, Duration)> {
        let topic =
            std::str::from_utf8(&will.topic).ok().filter(|topic| crate::topic::is_topic(topic))?.to_owned();
        let mut delay = Duration::ZERO;
        let properties = will.properties.map(|of| {
            delay = Duration::from_secs(of.delay_interval.unwrap_or(0).into());
            PublishProperties {
                payload_format_indicator: of.payload_format_indicator,
                message_expiry_interval: of.message_expiry_interval,
                response_topic: of.response_topic,
                correlation_data: of.correlation_data,
                user_properties: of.user_properties,
                content_type: of.content_type,
                ..PublishProperties::default()
            }
        });
        let qos = lower(will.qos, QoS::AtLeastOnce);
        let publish =
            Publish { qos, retain: will.retain, payload: will.message, properties, ..Publish::default() };
        Some((Message::new(&topic, publish, from, held), delay))
    }

    /// Bytes of its properties.
    pub(crate) fn property_bytes(&self) -> usize {
        cost_of(&self.properties)
    }

    /// What it costs to hold.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// The seconds for which it is still of use; `None`: for ever. `Some(0)`: no more.
    fn seconds_left(&self, now: Instant) -> Option<u32> {
        let left = self.expires?.saturating_duration_since(now);
        Some(u32::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX))
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.seconds_left(now) == Some(0)
    }

    /// Writes all of a PUBLISH but its payload; `false`: it would be longer than the client takes.
    pub(crate) fn write_head(&self, how: &Delivery, now: Instant, max: usize, into: &mut BytesMut) -> bool {
        let properties = PublishProperties {
            message_expiry_interval: self.seconds_left(now),
            subscription_identifiers: how.ids.clone(),
            ..self.properties.clone()
        };
        let mut head = BytesMut::new();
        head.put_u16(u16::try_from(self.topic.len()).unwrap_or(u16::MAX));
        head.put_slice(self.topic.as_bytes());
        if how.qos != QoS::AtMostOnce {
            head.put_u16(how.packet);
        }
        let remaining = match properties.write(&mut head) {
            Ok(()) => head.len() + self.payload.len(),
            Err(_) => return false,
        };
        if remaining + 5 > max {
            return false;
        }
        let flags = u8::from(how.again) << 3 | (how.qos as u8) << 1 | u8::from(how.retain);
        into.put_u8(0b0011_0000 | flags);
        put_length(remaining, into);
        into.put_slice(&head);
        true
    }
}

/// MQTT's integer of variable length; of at most four bytes, since no packet is longer.
fn put_length(mut length: usize, into: &mut BytesMut) {
    loop {
        let low = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        if length == 0 {
            into.put_u8(low);
            return;
        }
        into.put_u8(low | 0x80);
    }
}

fn cost_of(properties: &PublishProperties) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let user = properties.user_properties.iter().map(|(key, value)| 64 + key.len() + value.len());
    text(&properties.response_topic)
        + text(&properties.content_type)
        + properties.correlation_data.as_ref().map_or(0, Bytes::len)
        + user.sum::<usize>()
}

/// How one client gets a message.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// The numbers of its subscriptions that match.
    pub(crate) ids: Vec<usize>,
    /// The packet's number, given when it is sent at QoS 1.
    pub(crate) packet: u16,
    /// It was sent before, over another connection.
    pub(crate) again: bool,
}
