//! The clients' memory of their writes, besides the history: the oracle that never takes a lost answer for a
//! lost write.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::chaos::tally::Ended;

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Keys written once: the value, and what was heard.
    inserts: Mutex<BTreeMap<String, (u64, Ended)>>,
    /// Orders by client.
    orders: Mutex<BTreeMap<String, Orders>>,
}

/// The orders of one client.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// Acknowledged, by OID; true: a cancel was acknowledged, false: none was asked for, `None`: one is unknown.
    pub acknowledged: BTreeMap<String, Option<bool>>,
    /// Creates that nobody answered.
    pub unknown: u64,
}

impl Ledger {
    /// Remembers a key.
    pub fn insert(&self, key: String, value: u64, ended: Ended) {
        self.inserts.lock().insert(key, (value, ended));
    }

    /// Changes what is remembered of a client's orders.
    pub fn orders(&self, cid: &str, change: impl FnOnce(&mut Orders)) {
        change(self.orders.lock().entry(cid.to_owned()).or_default());
    }

    /// Everything remembered of orders.
    #[must_use]
    pub fn all_orders(&self) -> BTreeMap<String, Orders> {
        self.orders.lock().clone()
    }

    /// Compares the keys under a prefix with what was found there.
    ///
    /// # Errors
    /// What is lost, what is there and was refused, and what nobody wrote.
    pub fn compare(&self, prefix: &str, found: &BTreeMap<String, Bytes>) -> Result<(), String> {
        let inserts = self.inserts.lock();
        let ours = inserts.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        for (key, (_, ended)) in ours {
            match (ended, found.contains_key(key)) {
                (Ended::Ok, false) => return Err(format!("acknowledged and lost: {key}")),
                (Ended::Refused, true) => return Err(format!("refused and there all the same: {key}")),
                _ => {}
            }
        }
        for (key, data) in found {
            match inserts.get(key) {
                None => return Err(format!("nobody wrote {key}")),
                Some((value, _)) if value.to_string().as_bytes() != data => {
                    return Err(format!("{key} is {}, not {value}", data.escape_ascii()));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_what_was_refused_and_what_nobody_wrote_is_told() {
        let ledger = Ledger::default();
        for (key, ended) in [("w/1/a", Ended::Ok), ("w/1/b", Ended::Unknown), ("w/1/c", Ended::Refused)] {
            ledger.insert(key.to_owned(), 7, ended);
        }
        ledger.insert("w/2/a".to_owned(), 7, Ended::Ok);
        let compare = |keys: &[&str], data: &'static str| {
            let data = Bytes::from_static(data.as_bytes());
            ledger.compare("w/1/", &keys.iter().map(|key| ((*key).to_owned(), data.clone())).collect())
        };
        assert_eq!((compare(&["w/1/a"], "7"), compare(&["w/1/a", "w/1/b"], "7")), (Ok(()), Ok(())));
        assert!(compare(&[], "7").expect_err("lost").contains("lost: w/1/a"));
        assert!(compare(&["w/1/a", "w/1/c"], "7").expect_err("refused").contains("refused and there"));
        assert!(compare(&["w/1/a", "w/1/d"], "7").expect_err("foreign").contains("nobody wrote"));
        assert!(compare(&["w/1/a"], "8").expect_err("another").contains("is 8, not 7"));
    }
}
