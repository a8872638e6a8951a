//! A client's session: how far it has seen each group's log, and the token that takes this from portal to portal
//! (docs/PROTOCOL.md, 5).
//!
//! ```text
//!   feira-session: 3f0c51b2a90d7e64;1=5120;3=977        the cluster; for each group an offset of its log
//! ```
//!
//! **Promise (`session-guarantees`): with the token of its last answer, over whichever portal and transport, a client reads its
//! own writes, and never reads what is older than it has read** (*read your writes*, *monotonic reads*; Terry et al. 1994,
//! "Session guarantees for weakly consistent replicated data"). The reasons:
//! - every answer raises the token to the version of each record that was shown; of an absence, or a list, to where that was true;
//!   of a write to where it was decided, in each group that it changed;
//! - a hit knows of all changes up to A, or up to where it was true, if that is later; one that knows of less than the token is
//!   none: the store is read, linearizably, which is after every answer there was.
//!
//! A token proves nothing and needs no proof: whoever makes one up can only make his own reads slower. One of another cluster, or
//! beyond what the store has, is refused: it would bind nothing.
//!
//! A retried request is answered as it was then: that is no read.
//!
//! Leaves out: where the token stands in a transport, and whoever keeps it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::HeaderValue;
use bytes::Bytes;
use parking_lot::Mutex;
use store_client::Group;
use store_keys::ClusterId;

use crate::error::Error;
use crate::limits::SESSION_TOKEN_BYTES_MAX;

/// The metadata, header or user property with the token, of requests and answers.
pub const SESSION_HEADER: &str = "feira-session";
/// Stands for the cluster where the portal does not know which it serves.
const NO_CLUSTER: &str = "-";

/// What one client has seen, as it goes from portal to portal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionToken {
    /// Whose logs they are; `None`: the portal did not know.
    cluster: Option<ClusterId>,
    /// For each group, by number, the offset that a read must reflect at least.
    seen: Vec<(Group, u64)>,
}

impl SessionToken {
    /// A group's log was seen up to this offset.
    fn raise(&mut self, group: Group, offset: u64) {
        match self.seen.binary_search_by_key(&group, |(group, _)| *group) {
            Ok(at) => self.seen[at].1 = self.seen[at].1.max(offset),
            Err(at) => self.seen.insert(at, (group, offset)),
        }
    }

    /// As the value of a header. It is marked as one that no compression remembers: nearly each answer has another, and HTTP/2 would
    /// go through all that it remembers to find that.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        let text = Bytes::from(self.to_string());
        let mut value = HeaderValue::from_maybe_shared(text).expect("digits and signs are ASCII");
        value.set_sensitive(true);
        value
    }

    pub(crate) fn offset(&self, group: Group) -> u64 {
        self.seen.binary_search_by_key(&group, |(group, _)| *group).map_or(0, |at| self.seen[at].1)
    }
}

impl fmt::Display for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cluster {
            Some(cluster) => cluster.fmt(f)?,
            None => f.write_str(NO_CLUSTER)?,
        }
        self.seen.iter().try_for_each(|(group, offset)| write!(f, ";{group}={offset}"))
    }
}

impl FromStr for SessionToken {
    type Err = String;

    fn from_str(text: &str) -> Result<SessionToken, String> {
        if text.len() > SESSION_TOKEN_BYTES_MAX {
            return Err(format!("has {} bytes; at most {SESSION_TOKEN_BYTES_MAX}", text.len()));
        }
        let mut parts = text.split(';');
        let cluster = match parts.next().unwrap_or_default() {
            NO_CLUSTER => None,
            id => match id.parse() {
                Ok(id) => Some(id),
                Err(_) => {
                    return Err("is not what a portal answered: it begins with no cluster id".to_owned());
                }
            },
        };
        let mut seen: Vec<(Group, u64)> = Vec::new();
        for part in parts {
            let pair =
                part.split_once('=').and_then(|(group, offset)| Some((number(group)?, number(offset)?)));
            let Some((group, offset)) = pair else {
                let place = seen.len() + 1;
                return Err(format!("its part {place} is no shard and offset, such as 1=5120"));
            };
            if seen.last().is_some_and(|(last, _)| *last >= group) {
                return Err("its shards are not in the order of their numbers, each once".to_owned());
            }
            seen.push((group, offset));
        }
        Ok(SessionToken { cluster, seen })
    }
}

/// A number as a token has it: digits, and nothing else that `parse` takes.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The session of one request at a portal.
#[derive(Debug)]
pub(crate) struct Session(Option<Seen>);

#[derive(Debug)]
struct Seen {
    token: Mutex<SessionToken>,
    /// A transaction was sent: what the request is answered says what became of it, and nothing else.
    has_written: AtomicBool,
}

impl Session {
    /// Of nobody: needs nothing and remembers nothing.
    pub(crate) fn none() -> Session {
        Session(None)
    }

    /// Of a client of this cluster that has seen nothing yet.
    pub(crate) fn new(cluster: Option<ClusterId>) -> Session {
        Session::begun(SessionToken { cluster, seen: Vec::new() })
    }

    fn begun(token: SessionToken) -> Session {
        Session(Some(Seen { token: Mutex::new(token), has_written: AtomicBool::new(false) }))
    }

    /// The session that a token of this cluster stands for.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: it is no token, or one of another cluster, or names what is no group.
    pub(crate) fn of(token: &str, cluster: Option<ClusterId>, groups: &[Group]) -> Result<Session, Error> {
        let token: SessionToken = token.parse().map_err(wrong)?;
        if let (Some(of), Some(ours)) = (token.cluster, cluster)
            && of != ours
        {
            return Err(wrong(format!("is of cluster {of}, and this is {ours}")));
        }
        if let Some((group, _)) = token.seen.iter().find(|(group, _)| !groups.contains(group)) {
            return Err(wrong(format!("there is no shard {group}")));
        }
        Ok(Session::begun(SessionToken { cluster, ..token }))
    }

    /// What a read of this group must reflect at least.
    pub(crate) fn needs(&self, group: Group) -> u64 {
        self.0.as_ref().map_or(0, |seen| seen.token.lock().offset(group))
    }

    /// The client is about to see a group's log up to this offset.
    pub(crate) fn saw(&self, group: Group, offset: u64) {
        if let Some(seen) = &self.0 {
            seen.token.lock().raise(group, offset);
        }
    }

    /// A transaction is about to be sent.
    pub(crate) fn writes(&self) {
        if let Some(seen) = &self.0 {
            seen.has_written.store(true, Ordering::Relaxed);
        }
    }

    /// A linearizable read that began when the session needed so much reflects the log up to `offset`. A request reads several
    /// records at once, and a read that ended meanwhile may have seen more.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the client claims to have seen more than there is; not once the request may have changed something.
    pub(crate) fn check(&self, group: Group, needs: u64, offset: u64) -> Result<(), Error> {
        let may_refuse = self.0.as_ref().is_some_and(|seen| !seen.has_written.load(Ordering::Relaxed));
        if offset < needs && may_refuse {
            return Err(wrong(format!(
                "names offset {needs} of shard {group}, whose log ends at {offset}: it is of another log"
            )));
        }
        Ok(())
    }

    /// What was seen so far.
    pub(crate) fn token(&self) -> SessionToken {
        self.0.as_ref().map(|seen| seen.token.lock().clone()).unwrap_or_default()
    }
}

fn wrong(why: impl fmt::Display) -> Error {
    Error::invalid(SESSION_HEADER, format!("{why}; leave it out, and a session begins anew"))
}

/// A client's session, as whoever calls for the client keeps it.
#[derive(Clone, Debug, Default)]
pub struct KeptSession(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    token: Option<SessionToken>,
    /// How often the session has begun anew.
    beginnings: u64,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub struct SentToken {
    /// `None`: nothing was answered yet.
    pub token: Option<SessionToken>,
    /// In which session that was.
    beginnings: u64,
}

impl KeptSession {
    /// What the next request carries.
    #[must_use]
    pub fn token(&self) -> SentToken {
        let kept = self.0.lock();
        SentToken { token: kept.token.clone(), beginnings: kept.beginnings }
    }

    /// A request that carried this was answered with that. Several may be under way, and their answers come in any order: the
    /// latest of all is kept. An answer that has seen nothing says that the token was refused: the session begins anew, and
    /// answers to what was sent before say nothing any more.
    pub fn answered(&self, sent: &SentToken, answer: &str) {
        let Ok(answer) = answer.parse::<SessionToken>() else { return };
        let mut kept = self.0.lock();
        if sent.beginnings != kept.beginnings {
            return;
        }
        let carried = sent.token.as_ref().is_some_and(|sent| !sent.seen.is_empty());
        let others = |kept: &SessionToken| matches!((kept.cluster, answer.cluster), (Some(one), Some(other)) if one != other);
        if (carried && answer.seen.is_empty()) || kept.token.as_ref().is_some_and(others) {
            *kept = Kept { token: Some(answer), beginnings: kept.beginnings + 1 };
            return;
        }
        let token = kept.token.get_or_insert_default();
        token.cluster = token.cluster.or(answer.cluster);
        answer.seen.iter().for_each(|(group, offset)| token.raise(*group, *offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(id: u64) -> Option<ClusterId> {
        ClusterId::new(id)
    }

    #[test]
    fn a_token_comes_back_as_what_was_seen() {
        let session = Session::new(cluster(0xABC));
        for (group, offset) in [(3, 977), (1, 5120), (3, 900), (64, u64::MAX)] {
            session.saw(group, offset);
        }
        let token = session.token().to_string();
        assert_eq!(token, "0000000000000abc;1=5120;3=977;64=18446744073709551615");
        let header = session.token().header();
        assert!(header == token && header.is_sensitive(), "no compression remembers it");
        let again = Session::of(&token, cluster(0xABC), &[1, 2, 3, 64]).unwrap();
        assert_eq!((again.needs(1), again.needs(2), again.needs(3)), (5120, 0, 977));
        assert_eq!(again.token().to_string(), token);
        assert!(Session::of("0000000000000abc", cluster(0xABC), &[1]).is_ok(), "nothing was seen yet");
        assert!(Session::of(&token, None, &[1, 2, 3, 64]).is_ok(), "a portal that does not know its cluster");
    }

    #[test]
    fn what_is_no_token_of_this_cluster_is_refused_with_what_is_wrong() {
        let long = format!("0000000000000abc{}", ";1=1".repeat(1000));
        for (token, why) in [
            ("", "begins with no cluster id"),
            ("abc;1=1", "begins with no cluster id"),
            ("0000000000000abd;1=1", "is of cluster 0000000000000abd, and this is 0000000000000abc"),
            ("0000000000000abc;1", "its part 1 is no shard and offset"),
            ("0000000000000abc;", "its part 1 is no shard and offset"),
            ("0000000000000abc;1=+1", "is no shard and offset"),
            ("0000000000000abc;1=99999999999999999999", "is no shard and offset"),
            ("0000000000000abc;9=1", "there is no shard 9"),
            ("0000000000000abc;2=1;1=1", "not in the order"),
            ("0000000000000abc;1=1;1=2", "not in the order"),
            (&long, "bytes; at most"),
        ] {
            match Session::of(token, cluster(0xABC), &[1, 2]) {
                Err(Error::Invalid { field, why: said }) => {
                    assert_eq!(field, SESSION_HEADER);
                    assert!(said.contains(why), "{token}: {said}");
                }
                other => panic!("{token}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_read_that_has_less_than_the_token_says_refuses_the_token() {
        let session = Session::of("-;1=50", None, &[1]).unwrap();
        let needs = session.needs(1);
        assert!(matches!(session.check(1, needs, 49), Err(Error::Invalid { .. })));
        session.check(1, needs, 50).unwrap();
        session.saw(1, 60);
        session.check(1, needs, 55).expect("a read that began with another and ended after it");
        assert_eq!(session.token().to_string(), "-;1=60");
        session.writes();
        session.check(1, 60, 55).expect("what was written is answered");
        let nobody = Session::none();
        nobody.saw(1, 50);
        assert!(nobody.check(1, 0, 1).is_ok() && nobody.needs(1) == 0);
    }

    #[test]
    fn a_client_keeps_the_latest_of_answers_that_come_in_any_order() {
        let kept = KeptSession::default();
        let told = || kept.token().token.map(|token| token.to_string());
        let first = kept.token();
        assert_eq!(told(), None);
        kept.answered(&first, "0000000000000abc;1=9");
        let early = kept.token();
        kept.answered(&early, "0000000000000abc;1=50");
        let late = kept.token();
        // Of requests that were sent before, or at a portal that does not know its cluster.
        kept.answered(&first, "0000000000000abc;1=5;2=3");
        kept.answered(&early, "-;1=10;2=4");
        kept.answered(&first, "nonsense");
        kept.answered(&first, "0000000000000abc");
        assert_eq!(told().as_deref(), Some("0000000000000abc;1=50;2=4"));
        kept.answered(&late, "0000000000000abc;1=60");
        assert_eq!(told().as_deref(), Some("0000000000000abc;1=60;2=4"));
    }

    #[test]
    fn a_refused_session_begins_anew_once_and_answers_to_the_old_one_bring_nothing_back() {
        let kept = KeptSession::default();
        let told = || kept.token().token.map(|token| token.to_string());
        kept.answered(&kept.token(), "0000000000000abc;1=900;2=5");
        let (one, other, third) = (kept.token(), kept.token(), kept.token());
        kept.answered(&one, "0000000000000abc");
        assert_eq!(told().as_deref(), Some("0000000000000abc"));
        kept.answered(&kept.token(), "0000000000000abc;1=7");
        kept.answered(&other, "0000000000000abc");
        kept.answered(&third, "0000000000000abc;1=900;2=6");
        assert_eq!(told().as_deref(), Some("0000000000000abc;1=7"));
        // A cluster that was restored: it is another.
        kept.answered(&kept.token(), "0000000000000def");
        assert_eq!(told().as_deref(), Some("0000000000000def"));
    }
}
