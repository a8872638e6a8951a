//! One connection, from its CONNECT to its end.

use std::sync::Arc;
use std::time::Duration;

use admission::{Connection, Place};
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, DisconnectReasonCode, LastWill, Packet, PingResp,
    PubAck, PubAckReason, Publish, SubAck, Subscribe, UnsubAck, UnsubAckReason, Unsubscribe,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::hub::{Arrival, Hub};
use crate::limits::{
    ANSWERS_MAX, CLIENT_ID_BYTES_MAX, CONNECT_TIME_MAX, PROPERTIES_BYTES_MAX, SESSION_EXPIRY,
};
use crate::message::{Message, Number};
use crate::session::Link;
use crate::topic;
use crate::wire::{Bad, Reader, Writer};

/// How long a client is told why its connection ends.
const FAREWELL: Duration = Duration::from_millis(300);
/// The first byte of a DISCONNECT.
const DISCONNECT: u8 = 0xe0;
/// CONNACK of MQTT 3.1.1: this version is not spoken here.
const OTHER_VERSION: [u8; 4] = [0x20, 2, 0, 1];

/// How a connection ended.
enum End {
    /// The client said so; with its will or not, and how long its session lasts now.
    Said { with_will: bool, expiry: Option<Duration> },
    /// Without a word from either side.
    Gone,
    /// This side ends it, and says why.
    Disconnected(DisconnectReasonCode),
}

impl From<Bad> for End {
    fn from(bad: Bad) -> End {
        match bad {
            Bad::Gone => End::Gone,
            Bad::Malformed | Bad::OtherVersion => End::Disconnected(DisconnectReasonCode::MalformedPacket),
            Bad::TooLarge => End::Disconnected(DisconnectReasonCode::PacketTooLarge),
            Bad::NoRoom => End::Disconnected(DisconnectReasonCode::QuotaExceeded),
        }
    }
}

/// A client that was let in.
struct Client {
    hub: Arc<Hub>,
    place: Place,
    number: Number,
    link: Arc<Link>,
    /// Without a packet for so long it is gone.
    patience: Option<Duration>,
}

/// Serves a connection until it ends or `stop` holds true.
pub(crate) async fn serve(
    connection: Connection,
    hub: Arc<Hub>,
    packet_bytes_max: usize,
    mut stop: watch::Receiver<bool>,
) {
    let place = connection.place().clone();
    let (reading, writing) = tokio::io::split(connection);
    let mut reader = Reader::new(reading, place.clone(), packet_bytes_max);
    let first = tokio::select! {
        first = timeout(CONNECT_TIME_MAX, reader.next()) => first,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let (connect, will) = match first {
        Ok(Ok(Packet::Connect(connect, will, _login))) => (connect, will),
        Ok(Err(Bad::OtherVersion)) => {
            return Writer::new(writing, packet_bytes_max).farewell(&OTHER_VERSION, FAREWELL).await;
        }
        _ => return,
    };
    let takes = connect.properties.as_ref().and_then(|of| of.max_packet_size);
    let takes = takes.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let mut writer = Writer::new(writing, takes);
    drop(place.begin());
    let (client, welcome) = match let_in(connect, will, &hub, &place, packet_bytes_max) {
        Ok(let_in) => let_in,
        Err(code) => {
            let refused = Packet::ConnAck(ConnAck { session_present: false, code, properties: None });
            let mut bytes = BytesMut::new();
            if refused.write(&mut bytes, None).is_ok() {
                writer.farewell(&bytes, FAREWELL).await;
            }
            return;
        }
    };
    let end = match writer.answer(&welcome) {
        Err(bad) => bad.into(),
        Ok(()) => client.run(&mut reader, &mut writer, &mut stop).await,
    };
    let (with_will, expiry) = match end {
        End::Said { with_will, expiry } => (with_will, expiry),
        End::Gone | End::Disconnected(_) => (true, None),
    };
    hub.disconnect(client.number, &client.link, with_will, expiry);
    if let End::Disconnected(reason) = end {
        // The codec (rumqttc 0.25.1) writes a byte more than the length that it says.
        writer.farewell(&[DISCONNECT, 1, reason as u8], FAREWELL).await;
    }
}

/// Lets a client in, with what it is told then.
fn let_in(
    connect: Connect,
    will: Option<LastWill>,
    hub: &Arc<Hub>,
    place: &Place,
    packet_bytes_max: usize,
) -> Result<(Client, Packet), ConnectReturnCode> {
    let asked = connect.properties.unwrap_or_default();
    if asked.receive_maximum == Some(0) || asked.max_packet_size == Some(0) {
        return Err(ConnectReturnCode::ProtocolError);
    }
    if asked.authentication_method.is_some() {
        return Err(ConnectReturnCode::BadAuthenticationMethod);
    }
    if connect.client_id.len() > CLIENT_ID_BYTES_MAX {
        return Err(ConnectReturnCode::ClientIdentifierNotValid);
    }
    if let Some(will) = &will {
        let named = std::str::from_utf8(&will.topic).is_ok_and(topic::is_topic);
        if !named {
            return Err(ConnectReturnCode::TopicNameInvalid);
        }
    }
    let assigned = connect.client_id.is_empty().then(|| hub.name());
    let wanted = Duration::from_secs(asked.session_expiry_interval.unwrap_or(0).into());
    let expiry = wanted.min(SESSION_EXPIRY);
    let arrival = Arrival {
        client: assigned.clone().unwrap_or(connect.client_id),
        clean_start: connect.clean_start,
        expiry,
        receive_max: asked.receive_maximum.unwrap_or(u16::MAX),
        will,
    };
    let (number, link, present) = hub.connect(arrival).map_err(|_full| ConnectReturnCode::ServerBusy)?;
    let patience =
        (connect.keep_alive > 0).then(|| Duration::from_millis(u64::from(connect.keep_alive) * 1_500));
    let shortened = (expiry < wanted).then(|| u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX));
    let welcome = welcome(present, assigned, shortened, packet_bytes_max);
    Ok((Client { hub: Arc::clone(hub), place: place.clone(), number, link, patience }, welcome))
}

fn welcome(present: bool, assigned: Option<String>, expiry: Option<u32>, packet_bytes_max: usize) -> Packet {
    let properties = ConnAckProperties {
        session_expiry_interval: expiry,
        receive_max: None,
        max_qos: Some(1),
        retain_available: None,
        max_packet_size: u32::try_from(packet_bytes_max).ok(),
        assigned_client_identifier: assigned,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    let code = ConnectReturnCode::Success;
    Packet::ConnAck(ConnAck { session_present: present, code, properties: Some(properties) })
}

impl Client {
    async fn run<IO: AsyncRead + AsyncWrite>(
        &self,
        reader: &mut Reader<ReadHalf<IO>>,
        writer: &mut Writer<WriteHalf<IO>>,
        stop: &mut watch::Receiver<bool>,
    ) -> End {
        let (answers, to_write) = mpsc::channel(ANSWERS_MAX);
        tokio::select! {
            end = self.read_all(reader, answers) => end,
            end = self.write_all(writer, to_write) => end,
            () = self.place.closed() => End::Disconnected(DisconnectReasonCode::AdministrativeAction),
            _ = stop.wait_for(|stop| *stop) => End::Disconnected(DisconnectReasonCode::ServerShuttingDown),
        }
    }

    async fn read_all<R: AsyncRead + Unpin>(
        &self,
        reader: &mut Reader<R>,
        answers: mpsc::Sender<Packet>,
    ) -> End {
        loop {
            let read = match self.patience {
                None => reader.next().await,
                Some(patience) => match timeout(patience, reader.next()).await {
                    Ok(read) => read,
                    Err(_late) => return End::Disconnected(DisconnectReasonCode::KeepAliveTimeout),
                },
            };
            let answer = match read {
                Ok(packet) => self.take(packet),
                Err(bad) => return bad.into(),
            };
            match answer {
                Ok(Some(answer)) => {
                    if answers.send(answer).await.is_err() {
                        return End::Gone;
                    }
                }
                Ok(None) => {}
                Err(end) => return end,
            }
        }
    }

    /// Does what a packet asks for; what it is answered, if anything.
    fn take(&self, packet: Packet) -> Result<Option<Packet>, End> {
        if !matches!(packet, Packet::PingReq(_)) {
            self.place.touch();
        }
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubAck(acknowledged) => {
                self.hub.acknowledged(self.number, acknowledged.pkid);
                Ok(None)
            }
            Packet::Subscribe(subscribe) => Ok(Some(self.subscribe(&subscribe))),
            Packet::Unsubscribe(unsubscribe) => Ok(Some(self.unsubscribe(&unsubscribe))),
            Packet::PingReq(_) => Ok(Some(Packet::PingResp(PingResp))),
            Packet::Disconnect(disconnect) => {
                let properties = disconnect.properties;
                let expiry = properties.and_then(|of| of.session_expiry_interval);
                Err(End::Said {
                    with_will: disconnect.reason_code != DisconnectReasonCode::NormalDisconnection,
                    expiry: expiry.map(|seconds| Duration::from_secs(seconds.into())),
                })
            }
            _ => Err(End::Disconnected(DisconnectReasonCode::ProtocolError)),
        }
    }

    fn publish(&self, publish: Publish) -> Result<Option<Packet>, End> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(End::Disconnected(DisconnectReasonCode::QoSNotSupported));
        }
        if let Some(properties) = &publish.properties {
            if properties.topic_alias.is_some() {
                return Err(End::Disconnected(DisconnectReasonCode::TopicAliasInvalid));
            }
            if !properties.subscription_identifiers.is_empty() {
                return Err(End::Disconnected(DisconnectReasonCode::ProtocolError));
            }
        }
        let (qos, pkid, bytes) = (publish.qos, publish.pkid, publish.topic.clone());
        let name = std::str::from_utf8(&bytes).ok().filter(|name| topic::is_topic(name));
        let Some(name) = name else { return Err(End::Disconnected(DisconnectReasonCode::TopicNameInvalid)) };
        let message = Message::new(name, publish, self.number, &self.hub.held);
        let small = message.property_bytes() <= PROPERTIES_BYTES_MAX;
        let taken = small && self.hub.publish(message).is_ok();
        let reason = if taken { PubAckReason::Success } else { PubAckReason::QuotaExceeded };
        Ok((qos == QoS::AtLeastOnce).then_some(Packet::PubAck(PubAck { pkid, reason, properties: None })))
    }

    fn subscribe(&self, subscribe: &Subscribe) -> Packet {
        let id = subscribe.properties.as_ref().and_then(|of| of.id);
        let filters = subscribe.filters.iter();
        let return_codes = filters.map(|asked| self.hub.subscribe(self.number, asked, id)).collect();
        Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes, properties: None })
    }

    fn unsubscribe(&self, unsubscribe: &Unsubscribe) -> Packet {
        let one = |filter: &String| match self.hub.unsubscribe(self.number, filter) {
            true => UnsubAckReason::Success,
            false => UnsubAckReason::NoSubscriptionExisted,
        };
        let reasons = unsubscribe.filters.iter().map(one).collect();
        Packet::UnsubAck(UnsubAck { pkid: unsubscribe.pkid, reasons, properties: None })
    }

    async fn write_all<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut Writer<W>,
        mut answers: mpsc::Receiver<Packet>,
    ) -> End {
        match self.write_some(writer, &mut answers).await {
            Ok(end) => end,
            Err(bad) => bad.into(),
        }
    }

    async fn write_some<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut Writer<W>,
        answers: &mut mpsc::Receiver<Packet>,
    ) -> Result<End, Bad> {
        loop {
            while let Ok(answer) = answers.try_recv() {
                writer.answer(&answer)?;
            }
            if self.link.is_taken() {
                return Ok(End::Disconnected(DisconnectReasonCode::SessionTakenOver));
            }
            while !writer.is_full()
                && let Some(next) = self.hub.next(self.number, &self.link)
            {
                if !writer.message(&next).await? {
                    // Larger than it takes: to it, the message does not exist (MQTT 5, 3.1.2.11.4).
                    self.hub.acknowledged(self.number, next.how.packet);
                }
            }
            if !writer.is_empty() {
                writer.flush().await?;
                self.place.touch();
                continue;
            }
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(answer) => writer.answer(&answer)?,
                    None => return Ok(End::Gone),
                },
                () = self.link.wake.notified() => {}
            }
        }
    }
}
