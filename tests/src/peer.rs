//! A caller of `Replication` for tests: a member with the cluster's key, a stranger with another one, or an attacker that
//! sends a member's frames again, elsewhere, or changed.

use bytes::Bytes;
use prost::Message;
use proto::store::replication_client::ReplicationClient;
use proto::store::{CallKind, Frame, Hello, Peer};
use store_keys::{
    Caller, ClusterId, ClusterKey, Cookie, Covered, End, Key, KeyId, Kind, Mac, Purpose, Welcome,
};
use tonic::Status;
use tonic::transport::Channel;

/// A session that was begun, or is pretended to be.
pub struct Session {
    /// What was said.
    pub hello: Hello,
    /// What was answered.
    pub cookie: Bytes,
    /// What seals and believes; a stranger's is of another key.
    pub caller: Caller,
}

/// The introduction of `peer` with a key of this cluster.
#[must_use]
pub fn hello(key: &ClusterKey, kind: CallKind, peer: Peer) -> Hello {
    let id = key.keys(Purpose::Peer).first().id().0;
    let nonce = Bytes::copy_from_slice(&fastrand::u128(..).to_be_bytes());
    Hello { peer: Some(peer), kind: kind.into(), cluster_id: key.id().get(), nonce, key: id }
}

/// Begins a session as the hello says; whoever does not hold its key has to `pretend` one.
///
/// # Errors
/// The node refuses the introduction.
///
/// # Panics
/// If the node does not prove that it holds the key.
pub async fn begin(channel: Channel, key: &ClusterKey, hello: Hello) -> Result<Session, Status> {
    let welcome = ReplicationClient::new(channel).introduce(hello.clone()).await?.into_inner();
    let given = Welcome {
        cookie: Cookie::of(&welcome.cookie).expect("a cookie"),
        proof: Mac(welcome.proof[..].try_into().expect("a proof")),
    };
    let caller = Caller::welcomed(&said(&hello), &key.keys(Purpose::Peer), &given);
    Ok(Session { hello, cookie: welcome.cookie, caller: caller.expect("the node holds the key") })
}

impl Session {
    /// The next call, or the frame that opens a stream.
    pub fn call(&mut self, message: &impl Message) -> Frame {
        self.call_of(message.encode_to_vec().into())
    }

    /// The same with any body.
    pub fn call_of(&mut self, body: Bytes) -> Frame {
        let sealed = self.caller.seal(&body);
        Frame {
            body,
            mac: Bytes::copy_from_slice(&sealed.mac.0),
            number: sealed.number,
            hello: Some(self.hello.clone()),
            cookie: self.cookie.clone(),
        }
    }
}

/// The frame that a caller with any key would send after it was welcomed, as docs/PROTOCOL.md has it: the session's key comes from
/// what the hello says and the cookie, and covers direction, number, part and body.
///
/// # Panics
/// If the hello is none.
#[must_use]
pub fn sealed_under(key: &Key, hello: &Hello, cookie: &Bytes, number: u64, body: Bytes) -> Frame {
    let kind = i64::from(hello.kind).unsigned_abs();
    let peer = hello.peer.as_ref().expect("a peer");
    let session = Covered::new("session")
        .number(kind)
        .number(hello.cluster_id)
        .number(peer.group)
        .number(peer.ring_version)
        .number(peer.node)
        .number(peer.incarnation)
        .number(peer.to_node)
        .number(peer.to_incarnation)
        .bytes(peer.address.as_bytes())
        .bytes(&hello.nonce)
        .bytes(cookie);
    let to_responder = 1;
    let said = Covered::new("frame").number(to_responder).number(number).number(0).bytes(&body);
    let mac = Bytes::copy_from_slice(&key.derive(session).mac(said).0);
    Frame { body, mac, number, hello: Some(hello.clone()), cookie: cookie.clone() }
}

fn said(hello: &Hello) -> store_keys::Hello {
    let peer = hello.peer.clone().expect("a peer");
    store_keys::Hello {
        kind: match hello.kind() {
            CallKind::Push => Kind::Push,
            CallKind::Vote => Kind::Vote,
            _ => Kind::Fetch,
        },
        cluster: ClusterId::new(hello.cluster_id).expect("a cluster id"),
        group: peer.group,
        ring: peer.ring_version,
        caller: End { node: peer.node, incarnation: peer.incarnation },
        responder: End { node: peer.to_node, incarnation: peer.to_incarnation },
        address: peer.address,
        nonce: hello.nonce[..].try_into().expect("a nonce"),
        key: KeyId(hello.key),
    }
}

/// Every frame that differs from this one in one field, or in one bit of one of its byte strings.
#[must_use]
pub fn mutated(frame: &Frame) -> Vec<(&'static str, Frame)> {
    let flip = |bytes: &Bytes, at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        Bytes::from(bytes)
    };
    let with_hello = |change: &dyn Fn(&mut Hello, &mut Peer)| {
        let mut hello = frame.hello.clone().expect("a hello");
        let mut peer = hello.peer.take().expect("a peer");
        change(&mut hello, &mut peer);
        hello.peer = Some(peer);
        Frame { hello: Some(hello), ..frame.clone() }
    };
    let mut all = vec![
        ("number", Frame { number: frame.number + 1, ..frame.clone() }),
        ("no mac", Frame { mac: Bytes::new(), ..frame.clone() }),
        ("short mac", Frame { mac: frame.mac.slice(1..), ..frame.clone() }),
        ("no cookie", Frame { cookie: Bytes::new(), ..frame.clone() }),
        ("no hello", Frame { hello: None, ..frame.clone() }),
        ("longer body", Frame { body: [&frame.body[..], &[0]].concat().into(), ..frame.clone() }),
        ("cluster id", with_hello(&|hello, _| hello.cluster_id ^= 1)),
        ("kind", with_hello(&|hello, _| hello.kind = hello.kind % 3 + 1)),
        ("key", with_hello(&|hello, _| hello.key ^= 1)),
        ("nonce", with_hello(&|hello, _| hello.nonce = flip(&hello.nonce, 3))),
        ("cluster", with_hello(&|_, peer| peer.cluster = Bytes::from_static(b"other"))),
        ("group", with_hello(&|_, peer| peer.group += 1)),
        ("ring", with_hello(&|_, peer| peer.ring_version += 1)),
        ("node", with_hello(&|_, peer| peer.node += 1)),
        ("incarnation", with_hello(&|_, peer| peer.incarnation ^= 1)),
        ("to node", with_hello(&|_, peer| peer.to_node += 1)),
        ("to incarnation", with_hello(&|_, peer| peer.to_incarnation ^= 1)),
        ("address", with_hello(&|_, peer| peer.address.push('0'))),
    ];
    let places = |bytes: &Bytes| (0..bytes.len()).collect::<Vec<_>>();
    all.extend(
        places(&frame.body)
            .into_iter()
            .map(|at| ("body", Frame { body: flip(&frame.body, at), ..frame.clone() })),
    );
    all.extend(
        places(&frame.mac)
            .into_iter()
            .map(|at| ("mac", Frame { mac: flip(&frame.mac, at), ..frame.clone() })),
    );
    let cookies = places(&frame.cookie).into_iter();
    all.extend(cookies.map(|at| ("cookie", Frame { cookie: flip(&frame.cookie, at), ..frame.clone() })));
    all
}
