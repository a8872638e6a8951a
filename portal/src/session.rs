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
//! - every answer raises the token: a hit to A, up to which the cache knows all changes; a read of the store to what it reflects;
//!   a write to where it was decided, in each group that it changed;
//! - a hit needs A at or after the token; else the store is read, linearizably, which is after every answer there was.
//!
//! A token proves nothing and needs no proof: whoever makes one up can only make his own reads slower. One of another cluster, or
//! beyond what the store has, is refused: it would bind nothing.
//!
//! Leaves out: where the token stands in a transport, and whoever keeps it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use store_client::Group;
use store_keys::ClusterId;

use crate::error::Error;

/// The metadata, header or user property with the token, of requests and answers.
pub const SESSION_HEADER: &str = "feira-session";
/// Groups that a token names at most: as many as a ring has.
const GROUPS_MAX: usize = 64;
/// A token's bytes at most: the cluster, and two numbers a group.
const TOKEN_BYTES_MAX: usize = 16 + GROUPS_MAX * 42;
/// Stands for the cluster where the portal does not know which it serves.
const NO_CLUSTER: &str = "-";

/// What one client has seen, as it goes from portal to portal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Token {
    /// Whose logs they are; `None`: the portal did not know.
    cluster: Option<ClusterId>,
    /// For each group, by number, the offset that a read must reflect at least.
    seen: Vec<(Group, u64)>,
}

impl Token {
    /// A group's log was seen up to this offset.
    fn raise(&mut self, group: Group, offset: u64) {
        match self.seen.binary_search_by_key(&group, |(group, _)| *group) {
            Ok(at) => self.seen[at].1 = self.seen[at].1.max(offset),
            Err(at) => self.seen.insert(at, (group, offset)),
        }
    }

    pub(crate) fn offset(&self, group: Group) -> u64 {
        self.seen.binary_search_by_key(&group, |(group, _)| *group).map_or(0, |at| self.seen[at].1)
    }

    /// Whether whoever has this token has seen all that the other says.
    fn covers(&self, other: &Token) -> bool {
        self.cluster == other.cluster
            && other.seen.iter().all(|(group, offset)| self.offset(*group) >= *offset)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cluster {
            Some(cluster) => cluster.fmt(f)?,
            None => f.write_str(NO_CLUSTER)?,
        }
        self.seen.iter().try_for_each(|(group, offset)| write!(f, ";{group}={offset}"))
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Token, String> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(format!("has {} bytes; at most {TOKEN_BYTES_MAX}", text.len()));
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
                return Err(format!("{part:?} is no shard and offset, such as 1=5120"));
            };
            if seen.last().is_some_and(|(last, _)| *last >= group) {
                return Err("its shards are not in the order of their numbers, each once".to_owned());
            }
            seen.push((group, offset));
        }
        Ok(Token { cluster, seen })
    }
}

/// A number as a token has it: digits, and nothing else that `parse` takes.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The session of one request at a portal.
#[derive(Debug)]
pub(crate) struct Session(Option<Mutex<Token>>);

impl Session {
    /// Of nobody: needs nothing and remembers nothing.
    pub(crate) fn none() -> Session {
        Session(None)
    }

    /// Of a client of this cluster that has seen nothing yet.
    pub(crate) fn new(cluster: Option<ClusterId>) -> Session {
        Session(Some(Mutex::new(Token { cluster, seen: Vec::new() })))
    }

    /// The session that a token of this cluster stands for.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: it is no token, or one of another cluster, or names what is no group.
    pub(crate) fn of(token: &str, cluster: Option<ClusterId>, groups: &[Group]) -> Result<Session, Error> {
        let token: Token = token.parse().map_err(wrong)?;
        if let (Some(of), Some(ours)) = (token.cluster, cluster)
            && of != ours
        {
            return Err(wrong(format!("is of cluster {of}, and this is {ours}")));
        }
        if let Some((group, _)) = token.seen.iter().find(|(group, _)| !groups.contains(group)) {
            return Err(wrong(format!("there is no shard {group}")));
        }
        Ok(Session(Some(Mutex::new(Token { cluster, ..token }))))
    }

    /// What a read of this group must reflect at least.
    pub(crate) fn needs(&self, group: Group) -> u64 {
        self.0.as_ref().map_or(0, |token| token.lock().offset(group))
    }

    /// The client is about to see a group's log up to this offset.
    pub(crate) fn saw(&self, group: Group, offset: u64) {
        if let Some(token) = &self.0 {
            token.lock().raise(group, offset);
        }
    }

    /// The same, of a linearizable read that began when the session needed so much. A request reads several records at once,
    /// and a read that ended meanwhile may have seen more.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the client claims to have seen more than there is.
    pub(crate) fn read(&self, group: Group, needs: u64, offset: u64) -> Result<(), Error> {
        if offset < needs {
            return Err(wrong(format!(
                "names offset {needs} of shard {group}, whose log ends at {offset}: it is of another log"
            )));
        }
        self.saw(group, offset);
        Ok(())
    }

    /// What was seen so far.
    pub(crate) fn token(&self) -> Token {
        self.0.as_ref().map(|token| token.lock().clone()).unwrap_or_default()
    }
}

fn wrong(why: impl fmt::Display) -> Error {
    Error::invalid(SESSION_HEADER, format!("{why}; leave it out, and a session begins anew"))
}

/// A client's session, as whoever calls for the client keeps it.
#[derive(Clone, Debug, Default)]
pub struct KeptSession(Arc<Mutex<Option<Token>>>);

impl KeptSession {
    /// What the next request carries.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.0.lock().clone()
    }

    /// A request that carried `sent` was answered with this. Several may be under way: the latest of all is kept. A portal that
    /// says less than it was sent has refused that, and the session begins anew.
    pub fn answered(&self, sent: Option<&Token>, answer: &str) {
        let Ok(answer) = answer.parse::<Token>() else { return };
        let mut kept = self.0.lock();
        match &mut *kept {
            Some(kept) if sent.is_none_or(|sent| answer.covers(sent)) && kept.cluster == answer.cluster => {
                answer.seen.iter().for_each(|(group, offset)| kept.raise(*group, *offset));
            }
            other => *other = Some(answer),
        }
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
            ("0000000000000abc;1", "\"1\" is no shard and offset"),
            ("0000000000000abc;", "\"\" is no shard and offset"),
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
        assert!(matches!(session.read(1, needs, 49), Err(Error::Invalid { .. })));
        session.read(1, needs, 60).unwrap();
        session.read(1, needs, 50).expect("a read that began with another and ended after it");
        session.read(2, 0, 7).unwrap();
        assert_eq!(session.token().to_string(), "-;1=60;2=7");
        let nobody = Session::none();
        nobody.saw(1, 50);
        assert!(nobody.read(1, 0, 1).is_ok() && nobody.needs(1) == 0);
    }

    #[test]
    fn a_client_keeps_the_latest_of_answers_that_come_in_any_order() {
        let kept = KeptSession::default();
        let told = || kept.token().map(|token| token.to_string());
        assert_eq!(told(), None);
        kept.answered(None, "0000000000000abc;1=9");
        kept.answered(None, "0000000000000abc;1=5;2=3");
        kept.answered(None, "nonsense");
        assert_eq!(told().as_deref(), Some("0000000000000abc;1=9;2=3"));
        let sent = kept.token();
        kept.answered(sent.as_ref(), "0000000000000abc;1=10;2=3");
        assert_eq!(told().as_deref(), Some("0000000000000abc;1=10;2=3"));
        // A cluster that was restored meanwhile: it refuses, and answers with a session that has seen nothing.
        kept.answered(sent.as_ref(), "0000000000000def");
        assert_eq!(told().as_deref(), Some("0000000000000def"));
        // The same of an offset that is not in the log.
        kept.answered(None, "0000000000000def;1=90");
        kept.answered(kept.token().as_ref(), "0000000000000def");
        assert_eq!(told().as_deref(), Some("0000000000000def"));
    }
}
