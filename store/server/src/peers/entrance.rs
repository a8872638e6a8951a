//! The entrance of a node: introductions and proofs of callers, and the count of callers without a proof.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::store as wire;
use store_client::failure::{failure, invalid, status_from};
use store_client::pace::Pace;
use store_keys::{
    Admission, ClusterId, Cookie, End, Hello, KEY_BYTES, KeyId, Keys, Kind, Refused, Responder,
};
use tonic::Status;

use crate::problems::{About, Problems};

/// The field of a refusal after which a member begins another session.
pub(super) const SESSION: &str = "session";
/// The field of a refusal of a proof.
pub(super) const PROOF: &str = "peer.proof";

/// Not proven: what, as its field, and why.
pub(super) fn unproven(field: &str, why: impl Into<String>) -> Status {
    status_from(&wire::Failure { field: field.to_owned(), ..failure(wire::FailureReason::Unproven, why) })
}

fn refused(why: Refused) -> Status {
    unproven(if why == Refused::Introduce { SESSION } else { PROOF }, why.to_string())
}

/// A hello from the wire.
pub(super) fn hello_in(hello: &wire::Hello) -> Result<Hello, Status> {
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

/// The admission of sessions that others begin here.
pub(crate) struct Entrance {
    /// Held for a few MACs, never across a wait.
    admission: Mutex<Admission>,
}

impl Entrance {
    /// The admission of this process, with random bytes of its own.
    pub(crate) fn new(random: [u8; KEY_BYTES]) -> Entrance {
        Entrance { admission: Mutex::new(Admission::new(random)) }
    }

    /// Answers an introduction.
    pub(super) fn welcome(&self, keys: &Keys, hello: &wire::Hello) -> Result<wire::Welcome, Status> {
        let welcome = self.admission.lock().welcome(keys, &hello_in(hello)?).map_err(refused)?;
        let (cookie, proof) = (&welcome.cookie.0, &welcome.proof.0);
        Ok(wire::Welcome { cookie: Bytes::copy_from_slice(cookie), proof: Bytes::copy_from_slice(proof) })
    }

    /// Believes a call, or the frame that opens a stream, of this kind.
    pub(super) fn open(&self, keys: &Keys, kind: Kind, frame: &wire::Frame) -> Result<Responder, Status> {
        let missing = || status_from(&invalid("peer.cluster", "the introduction is missing"));
        let hello = hello_in(frame.hello.as_ref().ok_or_else(missing)?)?;
        if hello.kind != kind {
            return Err(status_from(&invalid("peer.kind", "the session was begun for another kind of call")));
        }
        let cookie = Cookie::of(&frame.cookie).ok_or_else(|| refused(Refused::Introduce))?;
        let opened = self.admission.lock().open(keys, &hello, &cookie, frame.number, &frame.body, &frame.mac);
        opened.map_err(refused)
    }
}

/// Callers that were refused, counted, and told with care: what they say of themselves is theirs.
pub(crate) struct Strangers {
    refused: AtomicU64,
    began: Instant,
    /// When the log may tell of one again, whatever became of the problem meanwhile: members that find their way clear it.
    telling: Mutex<Pace>,
}

impl Default for Strangers {
    fn default() -> Strangers {
        Strangers { refused: AtomicU64::new(0), began: Instant::now(), telling: Mutex::new(Pace::default()) }
    }
}

impl Strangers {
    /// How many calls were refused since this node began to serve.
    pub(crate) fn count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a caller that was refused, and tells of it now and then.
    pub(crate) fn refuse(
        &self,
        problems: &Problems,
        who: &str,
        address: Option<SocketAddr>,
        refused: &Status,
    ) {
        let count = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let from = address.map_or_else(|| "somewhere".to_owned(), |address| address.to_string());
        let why = refused.message();
        let text =
            format!("a caller at {from}, {who}, was refused: {why} (refused since the start: {count})");
        problems.notice(About::Caller, text);
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(untold) = self.telling.lock().note(now_ms) {
            tracing::warn!(from, who, why, untold, "a call was refused: the caller does not belong here");
        }
    }
}
