//! Sessions between two members: every frame of a stream and every call proves the peer key, whom it is from and for, and
//! that it is none of before.
//!
//! ```text
//!  caller (a member)                                    responder (a member)
//!  Hello{kind, cluster, group, both members, nonce} ──►
//!                                                   ◄── Welcome{cookie, proof}      keeps nothing of the stranger
//!        both: session key = derive(peer key; hello, cookie)
//!  Frame{number 1, mac} with hello and cookie ────────►  Admission::open: cookie mine? proof right? newer than what I heard?
//!                                                   ◄── frames under the same key, the other direction
//! ```
//!
//! A [`Frame`]'s MAC covers its direction, its number and its part, under a key that is bound to everything in the hello and to
//! a nonce of each side. So a frame proves nothing at another node, in another cluster, group or kind of call, in the other
//! direction, in another session, or a second time.
//!
//! The *cookie* is the responder's nonce: when it was issued, and a MAC under a key of the process alone. So greeting costs the
//! responder no memory, for any number of callers; only a *proven* frame changes its memory: of each member and kind
//! the session in force ([`Admission`]). A session is replaced by one whose cookie was issued later, and numbers only grow.
//! After a restart no cookie is known, and the caller introduces itself again ([`Refused::Introduce`]).
//!
//! Pure: the random key of the process and the nonces are inputs. Server and simulator run this very code.

use std::collections::BTreeMap;

use crate::id::ClusterId;
use crate::key::{KEY_BYTES, Key, KeyId, Keys};
use crate::mac::{Covered, MAC_BYTES, Mac, Unproven};
use crate::weakness::{self, Weakness};

/// Bytes of a caller's nonce.
pub const NONCE_BYTES: usize = 16;
/// Bytes of a responder's cookie: a count, and a MAC.
pub const COOKIE_BYTES: usize = 8 + MAC_BYTES;
/// Sessions that a responder remembers; the oldest gives way, and then nothing older than it is believed.
pub const SESSIONS_MAX: usize = 256;

/// The kind of a call: a session is of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A leader's stream.
    Push,
    /// Requests for votes.
    Vote,
    /// Fetches of a snapshot.
    Fetch,
}

impl Kind {
    /// Its number in proofs: frozen.
    fn number(self) -> u64 {
        match self {
            Kind::Push => 1,
            Kind::Vote => 2,
            Kind::Fetch => 3,
        }
    }
}

/// A member, as proofs name it: the node and the incarnation of its folder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct End {
    /// The node.
    pub node: u64,
    /// Its folder.
    pub incarnation: u64,
}

/// The way of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    ToResponder,
    ToCaller,
}

impl Way {
    fn number(self) -> u64 {
        match self {
            Way::ToCaller if !weakness::is(Weakness::Direction) => 2,
            Way::ToResponder | Way::ToCaller => 1,
        }
    }
}

/// A caller's introduction: what it wants to say, to whom, as whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// What kind of call.
    pub kind: Kind,
    /// Of which cluster the caller is.
    pub cluster: ClusterId,
    /// Of which replica group.
    pub group: u64,
    /// By which consistent view of the ring.
    pub ring: u64,
    /// The caller's end.
    pub caller: End,
    /// The responder's end.
    pub responder: End,
    /// Where the caller is reached.
    pub address: String,
    /// Random bytes of the caller, new for each session.
    pub nonce: [u8; NONCE_BYTES],
    /// Which of the cluster's keys proves.
    pub key: KeyId,
}

/// A responder's nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cookie(pub [u8; COOKIE_BYTES]);

impl Cookie {
    /// The cookie of bytes from the wire.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Cookie> {
        bytes.try_into().ok().map(Cookie)
    }

    fn issued(&self) -> u64 {
        let mut issued = [0; 8];
        issued.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(issued)
    }
}

/// The answer to an introduction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The responder's nonce.
    pub cookie: Cookie,
    /// That it holds the key that the hello names.
    pub proof: Mac,
}

/// A frame's place and proof, beside its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Its number in the session, from 1.
    pub number: u64,
    /// The proof.
    pub mac: Mac,
}

/// Why a caller is not heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The key that it names is none that is believed here.
    #[error("it proves with a key that is not this cluster's, or no longer")]
    Key,
    /// Its session is unknown here: this process began after it, or it was replaced. It may begin another.
    #[error("its session is not known here: it must introduce itself again")]
    Introduce,
    /// The proof is wrong.
    #[error("{0}")]
    Proof(#[from] Unproven),
    /// It was heard already.
    #[error("it repeats what was said before")]
    Repeated,
}

impl Hello {
    fn covered(&self, domain: &'static str) -> Covered<'_> {
        Covered::new(domain)
            .number(self.kind.number())
            .number(self.cluster.get())
            .number(self.group)
            .number(self.ring)
            .number(self.caller.node)
            .number(self.caller.incarnation)
            .number(self.responder.node)
            .number(self.responder.incarnation)
            .bytes(self.address.as_bytes())
            .bytes(&self.nonce)
    }

    /// The key of the session that this hello and that cookie make.
    fn session_key(&self, key: &Key, cookie: &Cookie) -> Key {
        if weakness::is(Weakness::Nonce) {
            let without = Hello { nonce: [0; NONCE_BYTES], ..self.clone() };
            return key.derive(without.covered("session"));
        }
        key.derive(self.covered("session").bytes(&cookie.0))
    }
}

fn frame<'a>(way: Way, number: u64, part: u64, body: &'a [u8]) -> Covered<'a> {
    let number = if weakness::is(Weakness::Call) { 0 } else { number };
    Covered::new("frame").number(way.number()).number(number).number(part).bytes(body)
}

/// What a welcome proves; no frame has number 0.
fn welcome<'a>() -> Covered<'a> {
    frame(Way::ToCaller, 0, 0, &[])
}

/// The caller's side of a session.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The session's key.
    key: Key,
    /// Which of the cluster's keys it comes from.
    from: KeyId,
    /// The number of the last frame sealed.
    number: u64,
}

impl Caller {
    /// Begins the session if the welcome comes from who was meant.
    ///
    /// # Errors
    /// It does not hold the key, or the key is believed no more.
    pub fn welcomed(hello: &Hello, keys: &Keys, given: &Welcome) -> Result<Caller, Refused> {
        let key = keys.find(hello.key).ok_or(Refused::Key)?;
        let key = hello.session_key(key, &given.cookie);
        key.check(welcome(), &given.proof.0)?;
        Ok(Caller { key, from: hello.key, number: 0 })
    }

    /// Which of the cluster's keys the session comes from: it ends when that is believed no more.
    #[must_use]
    pub fn from(&self) -> KeyId {
        self.from
    }

    /// Seals the next frame, or call.
    pub fn seal(&mut self, body: &[u8]) -> Sealed {
        self.number += 1;
        Sealed { number: self.number, mac: self.key.mac(frame(Way::ToResponder, self.number, 0, body)) }
    }

    /// Believes the answer to the call that was sealed last, or one part of that answer.
    ///
    /// # Errors
    /// It is not that.
    pub fn believe(&self, part: u64, body: &[u8], mac: &[u8]) -> Result<(), Unproven> {
        self.key.check(frame(Way::ToCaller, self.number, part, body), mac)
    }

    /// What hears a stream of frames from the other side.
    #[must_use]
    pub fn hearing(&self) -> Hearing {
        Hearing { key: self.key.clone(), way: Way::ToCaller, number: 0 }
    }
}

/// The responder's side of a session, for one call or one stream.
#[derive(Clone, Debug)]
pub struct Responder {
    /// The session's key.
    key: Key,
    /// Which of the cluster's keys it comes from.
    from: KeyId,
    /// The number of the call; of a stream the last frame sealed.
    number: u64,
}

impl Responder {
    /// Which of the cluster's keys the session comes from: it ends when that is believed no more.
    #[must_use]
    pub fn from(&self) -> KeyId {
        self.from
    }

    /// Seals the answer to the call, or one part of it.
    #[must_use]
    pub fn answer(&self, part: u64, body: &[u8]) -> Mac {
        self.key.mac(frame(Way::ToCaller, self.number, part, body))
    }

    /// The rest of a stream: what hears the caller, after the frame that opened it, and what speaks to it.
    #[must_use]
    pub fn stream(&self) -> (Hearing, Speaking) {
        let hearing = Hearing { key: self.key.clone(), way: Way::ToResponder, number: self.number };
        (hearing, Speaking { key: self.key.clone(), number: 0 })
    }
}

/// What seals a responder's frames of a stream.
#[derive(Clone, Debug)]
pub struct Speaking {
    key: Key,
    /// The last frame's number.
    number: u64,
}

impl Speaking {
    /// Seals the next frame.
    pub fn seal(&mut self, body: &[u8]) -> Sealed {
        self.number += 1;
        Sealed { number: self.number, mac: self.key.mac(frame(Way::ToCaller, self.number, 0, body)) }
    }
}

/// What hears one direction of a stream: each frame once, in order.
#[derive(Clone, Debug)]
pub struct Hearing {
    key: Key,
    way: Way,
    /// The last frame's number.
    number: u64,
}

impl Hearing {
    /// Believes the next frame.
    ///
    /// # Errors
    /// It is not the next frame of this stream; nothing has changed.
    pub fn believe(&mut self, body: &[u8], mac: &[u8]) -> Result<(), Unproven> {
        self.key.check(frame(self.way, self.number + 1, 0, body), mac)?;
        self.number += 1;
        Ok(())
    }
}

/// What a responder remembers of a proven session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Session {
    /// When its cookie was issued.
    issued: u64,
    /// The number of the last call.
    number: u64,
}

/// A responder's admission of sessions: proven callers only, and each once.
#[derive(Debug)]
pub struct Admission {
    /// Known to this process alone.
    process: Key,
    /// Cookies issued.
    issued: u64,
    /// The session in force of each member and kind.
    sessions: BTreeMap<(End, Kind), Session>,
    /// Sessions with cookies issued until then are forgotten, and not believed.
    floor: u64,
}

impl Admission {
    /// The admission of a process, with random bytes of its own.
    #[must_use]
    pub fn new(random: [u8; KEY_BYTES]) -> Admission {
        Admission { process: Key::new(random), issued: 0, sessions: BTreeMap::new(), floor: 0 }
    }

    /// Answers an introduction of any caller; remembers nothing of it.
    ///
    /// # Errors
    /// The key that it names is not believed here.
    pub fn welcome(&mut self, keys: &Keys, hello: &Hello) -> Result<Welcome, Refused> {
        let key = keys.find(hello.key).ok_or(Refused::Key)?;
        self.issued += 1;
        let cookie = self.cookie(hello, self.issued);
        Ok(Welcome { cookie, proof: hello.session_key(key, &cookie).mac(welcome()) })
    }

    fn cookie(&self, hello: &Hello, issued: u64) -> Cookie {
        let Mac(mac) = self.process.mac(hello.covered("cookie").number(issued));
        let mut bytes = [0; COOKIE_BYTES];
        bytes[..8].copy_from_slice(&issued.to_be_bytes());
        bytes[8..].copy_from_slice(&mac);
        Cookie(bytes)
    }

    /// Believes a call, or the frame that opens a stream, and remembers it.
    ///
    /// # Errors
    /// Why not; nothing has changed.
    pub fn open(
        &mut self,
        keys: &Keys,
        hello: &Hello,
        cookie: &Cookie,
        number: u64,
        body: &[u8],
        mac: &[u8],
    ) -> Result<Responder, Refused> {
        let key = keys.find(hello.key).ok_or(Refused::Key)?;
        let issued = cookie.issued();
        // A cookie says nothing of the caller, only that this process gave it: no proof, and no need of constant time.
        if issued <= self.floor || issued > self.issued || self.cookie(hello, issued) != *cookie {
            return Err(Refused::Introduce);
        }
        let key = hello.session_key(key, cookie);
        key.check(frame(Way::ToResponder, number, 0, body), mac)?;
        let who = (hello.caller, hello.kind);
        if let Some(before) = self.sessions.get(&who) {
            match issued.cmp(&before.issued) {
                std::cmp::Ordering::Less => return Err(Refused::Introduce),
                std::cmp::Ordering::Equal if number <= before.number => return Err(Refused::Repeated),
                _ => {}
            }
        }
        self.remember(who, Session { issued, number });
        Ok(Responder { key, from: hello.key, number })
    }

    fn remember(&mut self, who: (End, Kind), session: Session) {
        self.sessions.insert(who, session);
        if self.sessions.len() <= SESSIONS_MAX {
            return;
        }
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.issued);
        if let Some((who, session)) = oldest.map(|(who, session)| (*who, *session)) {
            self.sessions.remove(&who);
            self.floor = self.floor.max(session.issued);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ClusterKey;
    use crate::key::{Purpose, Secret};

    fn keys(byte: u8) -> Keys {
        let id = ClusterId::new(7).unwrap();
        ClusterKey::new(id, Secret::new([byte; KEY_BYTES])).keys(Purpose::Peer)
    }

    fn hello(kind: Kind, nonce: u8, keys: &Keys) -> Hello {
        Hello {
            kind,
            cluster: ClusterId::new(7).unwrap(),
            group: 1,
            ring: 1,
            caller: End { node: 1, incarnation: 11 },
            responder: End { node: 2, incarnation: 22 },
            address: "127.0.0.1:7401".to_owned(),
            nonce: [nonce; NONCE_BYTES],
            key: keys.first().id(),
        }
    }

    fn begin(admission: &mut Admission, hello: &Hello) -> (Caller, Cookie) {
        let welcome = admission.welcome(&keys(1), hello).unwrap();
        (Caller::welcomed(hello, &keys(1), &welcome).unwrap(), welcome.cookie)
    }

    fn open(
        admission: &mut Admission,
        hello: &Hello,
        cookie: &Cookie,
        sealed: Sealed,
        body: &[u8],
    ) -> Result<Responder, Refused> {
        admission.open(&keys(1), hello, cookie, sealed.number, body, &sealed.mac.0)
    }

    #[test]
    fn a_call_and_its_answer_are_believed_once_and_in_no_other_place() {
        let (mut admission, hello) = (Admission::new([9; KEY_BYTES]), hello(Kind::Vote, 1, &keys(1)));
        let (mut caller, cookie) = begin(&mut admission, &hello);
        let first = caller.seal(b"vote");
        assert_eq!(
            open(&mut admission, &hello, &cookie, first, b"veto").unwrap_err(),
            Refused::Proof(Unproven)
        );
        let answering = open(&mut admission, &hello, &cookie, first, b"vote").unwrap();
        assert_eq!(open(&mut admission, &hello, &cookie, first, b"vote").unwrap_err(), Refused::Repeated);
        let answer = answering.answer(0, b"yes");
        assert_eq!(caller.believe(0, b"yes", &answer.0), Ok(()));
        assert_eq!(caller.believe(1, b"yes", &answer.0), Err(Unproven), "another part");
        assert_eq!(caller.believe(0, b"vote", &first.mac.0), Err(Unproven), "the other direction");
        let second = caller.seal(b"vote");
        assert_eq!(caller.believe(0, b"yes", &answer.0), Err(Unproven), "the answer to another call");
        let numbered = Sealed { number: 9, ..second };
        assert_eq!(
            open(&mut admission, &hello, &cookie, numbered, b"vote").unwrap_err(),
            Refused::Proof(Unproven)
        );
        assert!(open(&mut admission, &hello, &cookie, second, b"vote").is_ok());
    }

    #[test]
    fn every_word_of_a_hello_is_bound_to_its_session() {
        let (mut admission, right) = (Admission::new([9; KEY_BYTES]), hello(Kind::Push, 1, &keys(1)));
        let (mut caller, cookie) = begin(&mut admission, &right);
        let sealed = caller.seal(b"");
        let other = |change: fn(&mut Hello)| {
            let mut other = right.clone();
            change(&mut other);
            other
        };
        for wrong in [
            other(|h| h.kind = Kind::Fetch),
            other(|h| h.cluster = ClusterId::new(8).unwrap()),
            other(|h| h.group = 2),
            other(|h| h.ring = 2),
            other(|h| h.caller.node = 3),
            other(|h| h.caller.incarnation = 3),
            other(|h| h.responder.node = 3),
            other(|h| h.responder.incarnation = 3),
            other(|h| h.address.push('0')),
            other(|h| h.nonce[0] = 2),
        ] {
            assert_eq!(open(&mut admission, &wrong, &cookie, sealed, b"").unwrap_err(), Refused::Introduce);
            let welcome = admission.welcome(&keys(1), &wrong).unwrap();
            let proven = open(&mut admission, &wrong, &welcome.cookie, sealed, b"");
            assert_eq!(proven.unwrap_err(), Refused::Proof(Unproven), "{wrong:?}");
            let told = Welcome { proof: Mac(sealed.mac.0), ..welcome };
            assert!(Caller::welcomed(&right, &keys(1), &told).is_err());
        }
        assert!(open(&mut admission, &right, &cookie, sealed, b"").is_ok());
    }

    #[test]
    fn a_later_session_replaces_an_earlier_one_only_when_it_is_proven() {
        let (mut admission, one, two) =
            (Admission::new([9; KEY_BYTES]), hello(Kind::Vote, 1, &keys(1)), hello(Kind::Vote, 2, &keys(1)));
        let (mut caller, cookie) = begin(&mut admission, &one);
        let first = caller.seal(b"1");
        open(&mut admission, &one, &cookie, first, b"1").unwrap();
        let (mut later, later_cookie) = begin(&mut admission, &two);
        let forged = Sealed { number: 1, mac: Mac([0; MAC_BYTES]) };
        assert!(open(&mut admission, &two, &later_cookie, forged, b"1").is_err());
        let goes_on = caller.seal(b"2");
        open(&mut admission, &one, &cookie, goes_on, b"2").unwrap();
        open(&mut admission, &two, &later_cookie, later.seal(b"1"), b"1").unwrap();
        let late = caller.seal(b"3");
        assert_eq!(open(&mut admission, &one, &cookie, late, b"3").unwrap_err(), Refused::Introduce);
    }

    #[test]
    fn after_a_restart_and_after_a_rotation_nothing_from_before_is_believed() {
        let (mut admission, hello) = (Admission::new([9; KEY_BYTES]), hello(Kind::Vote, 1, &keys(1)));
        let (mut caller, cookie) = begin(&mut admission, &hello);
        let sealed = caller.seal(b"1");
        let mut restarted = Admission::new([8; KEY_BYTES]);
        for _ in 0..5 {
            restarted.welcome(&keys(1), &hello).unwrap();
        }
        assert_eq!(open(&mut restarted, &hello, &cookie, sealed, b"1").unwrap_err(), Refused::Introduce);
        let rotated = admission.open(&keys(2), &hello, &cookie, sealed.number, b"1", &sealed.mac.0);
        assert_eq!(rotated.unwrap_err(), Refused::Key);
        assert_eq!(admission.welcome(&keys(2), &hello), Err(Refused::Key));
    }

    #[test]
    fn a_stream_is_heard_in_order_and_its_directions_are_two() {
        let (mut admission, hello) = (Admission::new([9; KEY_BYTES]), hello(Kind::Push, 1, &keys(1)));
        let (mut caller, cookie) = begin(&mut admission, &hello);
        let opening = caller.seal(b"");
        let (mut hearing, mut speaking) =
            open(&mut admission, &hello, &cookie, opening, b"").unwrap().stream();
        let mut heard = caller.hearing();
        assert_eq!(hearing.believe(b"", &opening.mac.0), Err(Unproven), "the opening is over");
        let (one, two) = (caller.seal(b"a"), caller.seal(b"b"));
        assert_eq!(hearing.believe(b"b", &two.mac.0), Err(Unproven), "one is missing");
        assert_eq!(hearing.believe(b"a", &one.mac.0), Ok(()));
        assert_eq!(hearing.believe(b"a", &one.mac.0), Err(Unproven), "once");
        let back = speaking.seal(b"a");
        // Of the number that is awaited, so that the direction alone is wrong.
        assert_eq!(heard.believe(b"", &opening.mac.0), Err(Unproven), "the other direction");
        assert_eq!(heard.believe(b"a", &back.mac.0), Ok(()));
        assert_eq!(hearing.believe(b"b", &two.mac.0), Ok(()));
    }

    #[test]
    fn admission_remembers_a_bounded_number_of_sessions_and_believes_none_that_it_forgot() {
        let mut admission = Admission::new([9; KEY_BYTES]);
        let mut first = None;
        for node in 1..=SESSIONS_MAX as u64 + 1 {
            let hello = Hello { caller: End { node, incarnation: 1 }, ..hello(Kind::Vote, 1, &keys(1)) };
            let (mut caller, cookie) = begin(&mut admission, &hello);
            let sealed = caller.seal(b"1");
            open(&mut admission, &hello, &cookie, sealed, b"1").unwrap();
            first.get_or_insert((hello, cookie, sealed));
        }
        assert_eq!(admission.sessions.len(), SESSIONS_MAX);
        let (hello, cookie, sealed) = first.unwrap();
        assert_eq!(open(&mut admission, &hello, &cookie, sealed, b"1").unwrap_err(), Refused::Introduce);
    }
}
