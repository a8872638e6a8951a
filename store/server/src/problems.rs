//! This node's problems, for its operator, one text for each thing that is wrong: the `problem` of its status.
//!
//! Promises: the same thing is told once, however often it happens; a *standing* problem stays until it is over, a
//! *passing* one (somebody did something wrong) until it has not been seen for a minute; the number of texts is bounded.
//! It leaves the logging to the finder of the problem, and says whether it is news.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A passing problem is told for so long after it was last seen.
const PASSING: Duration = Duration::from_secs(60);
/// The same kind of problem is news again after this, if its text has changed.
const NEWS_AGAIN: Duration = Duration::from_secs(10);

/// What a problem is about; there is one of each at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum About {
    /// Headroom on the disk or in the database. Standing.
    Headroom,
    /// This replica's disk does not answer. Standing.
    Disk,
    /// This replica's table is wrong. Standing.
    Quarantine,
    /// LMDB reports damage, and nobody else can serve. Standing.
    Damage,
    /// The replicas' states differ. Standing.
    Divergence,
    /// This node's clock and the log's time are far apart. Standing.
    LogTime,
    /// Ids that were made far ahead of this node's clock. Passing.
    Ids,
    /// The broker cannot be used, and this node has changes to publish. Standing.
    Broker,
    /// This node is in no part of the group. Standing.
    Membership,
    /// A change of members that waits for nodes. Standing.
    ChangeWaits,
    /// This peer does not take this node for who it is, or is not who it should be. Standing.
    Peer(u64),
    /// An epoch that cannot be. Passing.
    Epoch,
    /// Somebody who introduced himself wrongly. Passing.
    Caller,
}

#[derive(Debug)]
struct Known {
    text: String,
    /// Over then; `None`: when it is cleared.
    until: Option<Instant>,
    /// Last logged.
    logged: Instant,
}

impl Known {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// The problems of one node.
#[derive(Default)]
pub(crate) struct Problems {
    known: Mutex<BTreeMap<About, Known>>,
}

impl Problems {
    /// This is wrong until it is cleared. True: it is news, to be logged.
    pub(crate) fn raise(&self, about: About, text: String) -> bool {
        self.put(about, text, None, Instant::now())
    }

    /// This was wrong just now. True: it is news, to be logged.
    pub(crate) fn notice(&self, about: About, text: String) -> bool {
        let now = Instant::now();
        self.put(about, text, Some(now + PASSING), now)
    }

    fn put(&self, about: About, text: String, until: Option<Instant>, now: Instant) -> bool {
        let mut known = self.known.lock();
        let before = known.get(&about).filter(|before| !before.is_over(now));
        let is_news = before.is_none_or(|before| before.text != text && now >= before.logged + NEWS_AGAIN);
        let logged = before.filter(|_| !is_news).map_or(now, |before| before.logged);
        known.insert(about, Known { text, until, logged });
        is_news
    }

    /// It is over. True: it was there.
    pub(crate) fn clear(&self, about: About) -> bool {
        self.known.lock().remove(&about).is_some()
    }

    /// It is over, if it is about this.
    pub(crate) fn clear_if(&self, about: About, is_it: impl Fn(&str) -> bool) {
        let mut known = self.known.lock();
        if known.get(&about).is_some_and(|known| is_it(&known.text)) {
            known.remove(&about);
        }
    }

    /// Problems of peers that are members no more are none.
    pub(crate) fn keep_peers(&self, is_member: impl Fn(u64) -> bool) {
        self.known.lock().retain(|about, _| !matches!(about, About::Peer(node) if !is_member(*node)));
    }

    /// Those that last until they are mended, in one text; empty: none.
    pub(crate) fn standing(&self) -> String {
        let known = self.known.lock();
        let standing: Vec<&str> =
            known.values().filter(|one| one.until.is_none()).map(|one| one.text.as_str()).collect();
        standing.join("; ")
    }

    /// All of them in one text; empty: none.
    pub(crate) fn text(&self) -> String {
        let now = Instant::now();
        let mut known = self.known.lock();
        known.retain(|_, problem| !problem.is_over(now));
        known.values().map(|problem| problem.text.as_str()).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_happens_again_and_again_is_told_once() {
        let (problems, start) = (Problems::default(), Instant::now());
        let until = Some(start + PASSING);
        assert!(problems.put(About::Caller, "of cluster a".to_owned(), until, start));
        assert!(!problems.put(About::Caller, "of cluster a".to_owned(), until, start));
        assert!(!problems.put(About::Caller, "of cluster b".to_owned(), until, start), "too soon");
        assert_eq!(problems.text(), "of cluster b");
        assert!(problems.put(About::Caller, "of cluster c".to_owned(), until, start + NEWS_AGAIN));
        assert!(
            problems.put(About::Caller, "of cluster c".to_owned(), until, start + PASSING),
            "it was over"
        );
    }

    #[test]
    fn one_problem_that_ends_leaves_the_others() {
        let problems = Problems::default();
        assert!(problems.raise(About::Headroom, "the disk is full".to_owned()));
        assert!(problems.raise(About::Peer(7), "node 7 is another".to_owned()));
        assert!(problems.raise(About::Peer(8), "node 8 is another".to_owned()));
        assert!(problems.clear(About::Headroom) && !problems.clear(About::Headroom));
        problems.keep_peers(|node| node == 8);
        assert_eq!(problems.text(), "node 8 is another");
    }
}
