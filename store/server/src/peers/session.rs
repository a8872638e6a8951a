//! Sessions on the wire: both ends of an introduction, and frames with their proofs. [`store_keys::Admission`] and its
//! kin decide what to believe; the simulator runs them too.

use bytes::Bytes;
use prost::Message;
use proto::store as wire;
use proto::store::replication_client::ReplicationClient;
use store_client::failure::{failure_from, invalid, status_from};
use store_keys::{Caller, Cookie, KeyId, Keys, Kind, Mac, NONCE_BYTES, Purpose, Sealed, Welcome};
use tonic::Status;
use tonic::transport::Channel;

use super::entrance::{PROOF, SESSION, hello_in, unproven};
use super::introduce::introduce_to;
use crate::shared::Shared;

/// The peer keys that are believed now.
pub(super) fn peer_keys(shared: &Shared) -> Keys {
    shared.keys.borrow().keys(Purpose::Peer)
}

/// Whether sessions that come from this key go on: it is believed still.
pub(super) fn is_believed(shared: &Shared, key: KeyId) -> bool {
    peer_keys(shared).find(key).is_some()
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
    let states_differ =
        || unproven(PROOF, "it does not prove that it is of this cluster: this node tells it nothing");
    let cookie = Cookie::of(&welcome.cookie).ok_or_else(states_differ)?;
    let proof = Mac(welcome.proof[..].try_into().map_err(|_| states_differ())?);
    let caller = Caller::welcomed(&said, &keys, &Welcome { cookie, proof }).map_err(|_| states_differ())?;
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
