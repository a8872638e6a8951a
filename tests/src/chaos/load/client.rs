//! One client of the store: asks, writes down what it asked and heard, and says what became of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use feira_lincheck::dialect::Dialect;
use feira_lincheck::{AppendAnswer, AppendOp, RecordAnswer, RecordOp, Records};
use proto::store::outcome_response::Verdict;
use proto::store::{Freshness, Identity, Txn, TxnResponse};
use store_client::{Error, Page, Range, Sharded, Store, request_identity};

use super::shared::Shared;
use super::spelling;
use crate::chaos::history::{Heard, Lines};
use crate::chaos::tally::Ended;
use crate::wait;

/// How often a client asks what became of a write before it gives up.
const OUTCOME_TRIES: u32 = 3;
/// Records of one page: a list must fit in one, since two pages are not one picture.
const PAGE: u32 = 1_000;

/// See the module.
pub struct Client {
    /// What all clients share.
    pub(super) shared: Arc<Shared>,
    /// Its own handle.
    store: Arc<Sharded>,
    /// Its choices.
    pub(super) rng: fastrand::Rng,
    /// Its number in the history.
    process: u64,
    /// Whether it asks what became of a write that nobody answered.
    pub(super) settles: bool,
    /// Between two operations, milliseconds at most.
    pace_ms: u64,
}

impl Client {
    /// A client that has asked nothing yet.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        store: Arc<Sharded>,
        rng: fastrand::Rng,
        settles: bool,
        pace_ms: u64,
    ) -> Client {
        let process = shared.history.process();
        Client { shared, store, rng, process, settles, pace_ms }
    }

    /// Takes a breath.
    pub(super) async fn breathe(&mut self) {
        if self.pace_ms > 0 {
            wait::pass(Duration::from_millis(self.rng.u64(..=self.pace_ms))).await;
        }
    }

    /// Asks a register. `None`: nobody answered.
    pub async fn record(&mut self, key: &str, op: RecordOp) -> Option<RecordAnswer> {
        let shared = Arc::clone(&self.shared);
        self.recorded(&shared.history.records, key, op, async |client, op| match spelling::txn_of(key, op) {
            Some(txn) => {
                client.txn(Records::function(op), txn).await.map(|answer| spelling::answer_of(op, answer))
            }
            None => client.read(key).await,
        })
        .await
    }

    /// Asks a list. `None`: nobody answered.
    pub async fn list(&mut self, key: &str, op: AppendOp) -> Option<AppendAnswer> {
        let shared = Arc::clone(&self.shared);
        let prefix = format!("{key}/");
        self.recorded(&shared.history.lists, key, op, async |client, op| match op {
            AppendOp::Append(text) => {
                let txn = Txn::new().append(prefix, 0, text.clone(), Vec::new());
                client.txn("append", txn).await.map(|_| AppendAnswer::Done)
            }
            AppendOp::Get => client.read_list(prefix).await,
            AppendOp::Put(_) => unreachable!("lists are only appended to"),
        })
        .await
    }

    /// Asks, and writes down that it did and what it heard.
    async fn recorded<M: Dialect>(
        &mut self,
        lines: &Lines<M>,
        key: &str,
        op: M::Op,
        ask: impl AsyncFnOnce(&mut Client, &M::Op) -> Heard<M::Answer>,
    ) -> Option<M::Answer> {
        self.shared.touch(key);
        lines.call(self.process, key, &op);
        let heard = ask(self, &op).await;
        lines.hear(self.process, key, &op, &heard);
        match heard {
            Heard::Answer(answer) => Some(answer),
            Heard::Refused => None,
            Heard::Unknown => {
                self.process = self.shared.history.process();
                None
            }
        }
    }

    /// A transaction and what became of it, counted as a `kind`.
    pub(super) async fn txn(&mut self, kind: &'static str, txn: Txn) -> Heard<TxnResponse> {
        let identity = request_identity(proto::hash::digest(&[kind.as_bytes()]));
        self.txn_as(kind, txn, identity).await
    }

    /// The same under an id that the caller knows.
    pub(super) async fn txn_as(
        &mut self,
        kind: &'static str,
        txn: Txn,
        identity: Identity,
    ) -> Heard<TxnResponse> {
        let tag = txn.tag().expect("a transaction of ours is never empty").clone();
        let heard = match self.store.txn(txn, Some(identity.clone())).await {
            Ok(answer) => Heard::Answer(answer),
            Err(Error::Retry { .. }) => Heard::Refused,
            Err(Error::Unknown { .. }) if self.settles => self.settle(tag, identity).await,
            Err(Error::Unknown { .. }) => Heard::Unknown,
            Err(error @ Error::Refused { .. }) => {
                self.shared.tally.anomaly(format!("{kind} of {}: {error}", tag.escape_ascii()));
                Heard::Refused
            }
        };
        let ended = match &heard {
            Heard::Answer(_) => Ended::Ok,
            Heard::Refused => Ended::Refused,
            Heard::Unknown => Ended::Unknown,
        };
        self.shared.tally.count(kind, ended, true);
        heard
    }

    /// Asks what became of a write. A write that never ran is closed by that, and was refused.
    async fn settle(&self, tag: Bytes, identity: Identity) -> Heard<TxnResponse> {
        for _ in 0..OUTCOME_TRIES {
            let Ok(answer) = self.store.outcome(tag.clone(), identity.clone()).await else { continue };
            return match (answer.verdict(), answer.response) {
                (Verdict::Done | Verdict::Refused, Some(response)) => Heard::Answer(response),
                (Verdict::NotDone, _) => Heard::Refused,
                (verdict, _) => {
                    self.shared.tally.anomaly(format!("an outcome of {verdict:?} for a young id"));
                    Heard::Unknown
                }
            };
        }
        Heard::Unknown
    }

    async fn read(&self, key: &str) -> Heard<RecordAnswer> {
        let got = self.store.get(Bytes::from(key.to_owned()), Freshness::linearizable()).await;
        self.count_read("get", got.is_ok());
        match got {
            Ok(got) => Heard::Answer(spelling::got(got.record.as_ref())),
            Err(_) => Heard::Refused,
        }
    }

    async fn read_list(&self, prefix: String) -> Heard<AppendAnswer> {
        let range = Range::Prefix(Bytes::from(prefix));
        let page = self.store.scan(range, PAGE, None, Freshness::linearizable()).await;
        self.count_read("list", page.is_ok());
        match page {
            Ok(Page { next: Some(_), .. }) => panic!("a list has more than a page"),
            Ok(page) => {
                let records = page.records.iter().filter_map(|one| one.record.as_ref());
                let texts = records.map(|record| String::from_utf8_lossy(&record.data));
                Heard::Answer(AppendAnswer::Text(texts.collect()))
            }
            Err(_) => Heard::Refused,
        }
    }

    fn count_read(&self, kind: &'static str, answered: bool) {
        let ended = if answered { Ended::Ok } else { Ended::Refused };
        self.shared.tally.count(kind, ended, false);
    }
}
