//! The transactions over some records that clients have made.
//!
//! Their answers carry the versions of what they read and wrote, by which all of them together are judged for strict serializability
//! ([`feira_lincheck::check_transactions`]). So each must be known: one that nobody answered is asked for when the cluster is whole again.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use feira_lincheck::{Access, Transaction, check_transactions};
use parking_lot::Mutex;
use proto::store::outcome_response::Verdict;
use proto::store::{Identity, Record, Txn, TxnResponse};
use store_client::{Sharded, Store, request_identity};

/// Records, of which all transactions are.
pub(super) const RECORDS: u32 = 24;

/// All transactions that took effect, and those of which nobody knows yet.
#[derive(Debug)]
pub struct Transactions {
    began: Instant,
    known: Mutex<Vec<Transaction>>,
    open: Mutex<Vec<Open>>,
}

/// A transaction that nobody answered.
#[derive(Debug)]
struct Open {
    called: u64,
    plan: Plan,
    tag: Bytes,
    identity: Identity,
}

/// What a transaction does: to which records in its order, and the values that it puts.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) records: Vec<u32>,
    pub(super) puts: BTreeMap<u32, u64>,
}

impl Default for Transactions {
    fn default() -> Transactions {
        Transactions { began: Instant::now(), known: Mutex::default(), open: Mutex::default() }
    }
}

fn key(record: u32) -> Bytes {
    Bytes::from(format!("t/{{{record}}}"))
}

fn value_of(record: &Record) -> u64 {
    std::str::from_utf8(&record.data).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

impl Plan {
    pub(super) fn txn(&self) -> Txn {
        self.records.iter().fold(Txn::new(), |txn, record| match self.puts.get(record) {
            Some(value) => txn.put(key(*record), 0, value.to_string()),
            None => txn.get(key(*record)),
        })
    }

    /// What an answer says that it did.
    fn done(&self, called: u64, returned: Option<u64>, answer: &TxnResponse) -> Transaction {
        let mut done = Transaction { called, returned, ..Transaction::default() };
        for (record, touched) in self.records.iter().zip(&answer.results) {
            let found = touched.record.as_ref();
            let version = found.map_or(0, |found| found.version);
            match self.puts.get(record) {
                Some(value) => done.writes.push(Access { record: *record, version, value: *value }),
                None => {
                    done.reads.push(Access { record: *record, version, value: found.map_or(0, value_of) });
                }
            }
        }
        done
    }
}

impl Transactions {
    /// Microseconds since the beginning.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// One was called then, and has been answered.
    ///
    /// # Panics
    /// If the answer is not whole: that is what is tested.
    pub(super) fn answered(&self, called: u64, plan: &Plan, answer: &TxnResponse) {
        assert_eq!(answer.results.len(), plan.records.len(), "an answer is whole: {answer:?}");
        let done = plan.done(called, Some(self.now()), answer);
        self.known.lock().push(done);
    }

    /// Nobody answered it.
    pub(super) fn unanswered(&self, called: u64, plan: Plan, tag: Bytes, identity: Identity) {
        self.open.lock().push(Open { called, plan, tag, identity });
    }

    /// Asks what became of those that nobody answered; the cluster is whole.
    ///
    /// # Errors
    /// The store cannot say.
    pub async fn settle(&self, store: &Sharded) -> Result<(), String> {
        let open = std::mem::take(&mut *self.open.lock());
        for Open { called, plan, tag, identity } in open {
            let told = store.outcome(tag, identity).await;
            let told = told.map_err(|error| format!("the outcome of a transaction: {error}"))?;
            match (told.verdict(), told.response) {
                (Verdict::Done, Some(answer)) => self.known.lock().push(plan.done(called, None, &answer)),
                (Verdict::NotDone, _) => {}
                (verdict, _) => return Err(format!("an outcome of {verdict:?} for a young id")),
            }
        }
        Ok(())
    }

    /// Reads all records once more, for what was written last.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn read_all(&self, store: &Sharded) -> Result<(), String> {
        let (plan, called) = (Plan { records: (0..RECORDS).collect(), puts: BTreeMap::new() }, self.now());
        let identity = request_identity(proto::hash::digest(&[b"all"]));
        let answer = store.txn(plan.txn(), Some(identity)).await;
        let answer = answer.map_err(|error| format!("reading all records at once: {error}"))?;
        self.answered(called, &plan, &answer);
        Ok(())
    }

    /// Judges all of them; how many there are.
    ///
    /// # Errors
    /// What cannot be.
    pub fn check(&self) -> Result<usize, String> {
        let known = self.known.lock();
        check_transactions(&known)
            .map_err(|anomaly| format!("transactions are not strictly serializable: {anomaly}"))?;
        Ok(known.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::Touched;

    #[test]
    fn half_of_a_transaction_and_a_lost_one_are_found() {
        let all = Transactions::default();
        let record = |version: u64, value: &str| {
            Some(Record { version, data: Bytes::copy_from_slice(value.as_bytes()), ..Record::default() })
        };
        let answer = |records: &[Option<Record>]| TxnResponse {
            results: records
                .iter()
                .map(|record| Touched { record: record.clone(), ..Touched::default() })
                .collect(),
            ..TxnResponse::default()
        };
        let write = Plan { records: vec![1, 2], puts: BTreeMap::from([(1, 7), (2, 8)]) };
        let read = Plan { records: vec![1, 2], puts: BTreeMap::new() };
        let wrote = write.done(1, Some(5), &answer(&[record(1, "7"), record(1, "8")]));
        all.known.lock().push(wrote);
        all.known.lock().push(read.done(6, Some(9), &answer(&[record(1, "7"), record(1, "8")])));
        assert_eq!(all.check(), Ok(2));
        all.known.lock().push(read.done(2, Some(4), &answer(&[record(1, "7"), None])));
        assert!(all.check().unwrap_err().contains("ReadBefore(2)"), "half of it was seen");
        all.known.lock()[2] = read.done(6, Some(9), &answer(&[None, None]));
        assert!(all.check().unwrap_err().contains("Returned"), "it had returned, and is not seen");
    }
}
