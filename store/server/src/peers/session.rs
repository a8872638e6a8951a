//! Sessions on the wire: who begins one, who lets one begin, and frames with their proofs. What is believed decides
//! [`store_keys::Door`] and its kin, which the simulator runs too.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use proto::store as wire;
use proto::store::replication_client::ReplicationClient;
use store_client::failure::{failure, failure_from, invalid, status_from};
use store_keys::{
    Caller, ClusterId, Cookie, Door, End, Hello, KEY_BYTES, KeyId, Keys, Kind, Mac, NONCE_BYTES, Purpose,
    Refused, Responder, Sealed, Welcome,
};
use tonic::Status;
use tonic::transport::Channel;

use super::introduce::introduce_to;
use crate::problems::About;
use crate::shared::Shared;

/// The field of a refusal after which a member begins another session.
const SESSION: &str = "session";
/// The field of a refusal of a proof.
const PROOF: &str = "peer.proof";

/// The peer keys that are believed now.
pub(super) fn peer_keys(shared: &Shared) -> Keys {
    shared.keys.borrow().keys(Purpose::Peer)
}

/// Whether sessions that come from this key go on: it is believed still.
pub(super) fn is_believed(shared: &Shared, key: KeyId) -> bool {
    peer_keys(shared).find(key).is_some()
}

/// Not proven: what, as its field, and why.
pub(super) fn unproven(field: &str, why: impl Into<String>) -> Status {
    status_from(&wire::Failure { field: field.to_owned(), ..failure(wire::FailureReason::Unproven, why) })
}

fn refused(why: Refused) -> Status {
    unproven(if why == Refused::Introduce { SESSION } else { PROOF }, why.to_string())
}

/// Whether the callee does not know the session, or no longer: a member introduces itself again.
pub(super) fn wants_introduction(status: &Status) -> bool {
    let failure = failure_from(status);
    failure.reason() == wire::FailureReason::Unproven && failure.field == SESSION
}

fn kind_out(kind: Kind) -> wire::CallKind {
    match kind {
        Kind::Push => wire::CallKind::Push,
        Kind::Vote => wire::CallKind::Vote,
        Kind::Fetch => wire::CallKind::Fetch,
    }
}

/// A hello from the wire.
fn hello_in(hello: &wire::Hello) -> Result<Hello, Status> {
    let wrong = |field: &str, why: &str| status_from(&invalid(format!("peer.{field}"), why));
    let peer = hello.peer.as_ref().ok_or_else(|| wrong("cluster", "the introduction is missing"))?;
    let kind = match hello.kind() {
        wire::CallKind::Push => Kind::Push,
        wire::CallKind::Vote => Kind::Vote,
        wire::CallKind::Fetch => Kind::Fetch,
        wire::CallKind::Unspecified => return Err(wrong("kind", "the kind of call is missing")),
    };
    Ok(Hello {
        kind,
        cluster: ClusterId::new(hello.cluster_id)
            .ok_or_else(|| wrong("cluster", "the cluster id is missing"))?,
        group: peer.group,
        ring: peer.ring_version,
        caller: End { node: peer.node, incarnation: peer.incarnation },
        responder: End { node: peer.to_node, incarnation: peer.to_incarnation },
        address: peer.address.clone(),
        nonce: hello.nonce[..].try_into().map_err(|_| wrong("nonce", "is not of 16 bytes"))?,
        key: KeyId(hello.key),
    })
}

/// A session that this node began.
pub(super) struct Begun {
    hello: wire::Hello,
    cookie: Bytes,
    /// What seals.
    pub(super) caller: Caller,
}

/// Begins a session with the folder `to`, at the other end of `client`.
///
/// # Errors
/// It refuses this node, or does not prove that it holds the cluster's key.
pub(super) async fn begin(
    shared: &Shared,
    client: &mut ReplicationClient<Channel>,
    kind: Kind,
    to: &wire::Member,
) -> Result<Begun, Status> {
    let keys = peer_keys(shared);
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| Status::internal(error.to_string()))?;
    let hello = wire::Hello {
        peer: Some(introduce_to(shared, to)),
        kind: kind_out(kind).into(),
        cluster_id: shared.keys.borrow().id().get(),
        nonce: Bytes::copy_from_slice(&nonce),
        key: keys.first().id().0,
    };
    let said = hello_in(&hello)?;
    let welcome = client.introduce(hello.clone()).await?.into_inner();
    let doubted =
        || unproven(PROOF, "it does not prove that it is of this cluster: this node tells it nothing");
    let cookie = Cookie::of(&welcome.cookie).ok_or_else(doubted)?;
    let proof = Mac(welcome.proof[..].try_into().map_err(|_| doubted())?);
    let caller = Caller::welcomed(&said, &keys, &Welcome { cookie, proof }).map_err(|_| doubted())?;
    Ok(Begun { hello, cookie: welcome.cookie, caller })
}

impl Begun {
    /// Whether it comes from the key that proves now.
    pub(super) fn is_current(&self, shared: &Shared) -> bool {
        self.caller.from() == peer_keys(shared).first().id()
    }

    /// The next call, or the frame that opens a stream.
    pub(super) fn call(&mut self, message: &impl Message) -> wire::Frame {
        let body = Bytes::from(message.encode_to_vec());
        let Sealed { number, mac } = self.caller.seal(&body);
        wire::Frame {
            body,
            mac: Bytes::copy_from_slice(&mac.0),
            number,
            hello: Some(self.hello.clone()),
            cookie: self.cookie.clone(),
        }
    }

    /// The answer to the last call, or a part of it.
    pub(super) fn heard<M: Message + Default>(&self, part: u64, answer: wire::Frame) -> Result<M, Status> {
        let believed = self.caller.believe(part, &answer.body, &answer.mac);
        believed.map_err(|why| unproven(PROOF, why.to_string()))?;
        decode(answer.body)
    }
}

/// A message whose frame was believed.
pub(super) fn decode<M: Message + Default>(body: Bytes) -> Result<M, Status> {
    M::decode(body).map_err(|error| status_from(&invalid("message", error.to_string())))
}

/// A frame of a stream that both sides count.
pub(super) fn counted(body: Bytes, mac: Mac) -> wire::Frame {
    wire::Frame { body, mac: Bytes::copy_from_slice(&mac.0), ..wire::Frame::default() }
}

/// The door for sessions that others begin here.
pub(crate) struct Entrance {
    /// Held for a few MACs, never across a wait.
    door: Mutex<Door>,
}

impl Entrance {
    /// The door of this process, with random bytes that nobody else has.
    pub(crate) fn new(random: [u8; KEY_BYTES]) -> Entrance {
        Entrance { door: Mutex::new(Door::new(random)) }
    }

    /// Answers an introduction.
    pub(super) fn welcome(&self, shared: &Shared, hello: &wire::Hello) -> Result<wire::Welcome, Status> {
        let welcome = self.door.lock().welcome(&peer_keys(shared), &hello_in(hello)?).map_err(refused)?;
        let (cookie, proof) = (&welcome.cookie.0, &welcome.proof.0);
        Ok(wire::Welcome { cookie: Bytes::copy_from_slice(cookie), proof: Bytes::copy_from_slice(proof) })
    }

    /// Believes a call, or the frame that opens a stream, of this kind.
    pub(super) fn open(&self, shared: &Shared, kind: Kind, frame: &wire::Frame) -> Result<Responder, Status> {
        let missing = || status_from(&invalid("peer.cluster", "the introduction is missing"));
        let hello = hello_in(frame.hello.as_ref().ok_or_else(missing)?)?;
        if hello.kind != kind {
            return Err(status_from(&invalid("peer.kind", "the session was begun for another kind of call")));
        }
        let cookie = Cookie::of(&frame.cookie).ok_or_else(|| refused(Refused::Introduce))?;
        let keys = peer_keys(shared);
        let opened = self.door.lock().open(&keys, &hello, &cookie, frame.number, &frame.body, &frame.mac);
        opened.map_err(refused)
    }
}

/// Callers that were refused, counted, and told with care: what they say of themselves is theirs.
#[derive(Default)]
pub(crate) struct Strangers {
    refused: AtomicU64,
}

impl Strangers {
    /// How many calls were refused since this node began to serve.
    pub(crate) fn count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a caller that was refused, and tells of it now and then.
    pub(crate) fn refuse(&self, shared: &Shared, who: &str, address: Option<SocketAddr>, refused: &Status) {
        let count = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let from = address.map_or_else(|| "somewhere".to_owned(), |address| address.to_string());
        let why = refused.message();
        let text =
            format!("a caller at {from}, {who}, was refused: {why} (refused since the start: {count})");
        if shared.problems.notice(About::Caller, text) {
            tracing::warn!(from, who, why, count, "a call was refused: the caller does not belong here");
        }
    }
}
