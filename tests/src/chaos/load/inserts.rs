//! Keys that are written once: what was acknowledged is there for ever, what was refused never is.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proto::store::{Freshness, SetRequest};
use proto::write;
use store_client::{Range, Sharded, Store};

use super::client::Client;
use super::ledger::Ledger;
use crate::chaos::history::Heard;
use crate::chaos::tally::Ended;

pub(super) async fn run(mut client: Client, at: u64) {
    let shared = Arc::clone(&client.shared);
    loop {
        client.breathe().await;
        let _inside = shared.gate.enter().await;
        let value = shared.value();
        let key = format!("w/{}/{at}/{value}", shared.round());
        let (name, data) = (Bytes::from(key.clone()), Bytes::from(value.to_string()));
        let request = SetRequest { route: None, key: name, timestamp_ms: 0, data, identity: None };
        let ended = match client.txn("insert", write::set(&request)).await {
            Heard::Answer(answer) => {
                if !answer.success {
                    shared.tally.anomaly(format!("{key} was there before it was written"));
                }
                Ended::Ok
            }
            Heard::Refused => Ended::Refused,
            Heard::Unknown => Ended::Unknown,
        };
        shared.ledger.insert(key, value, ended);
    }
}

/// Reads all keys that begin so and compares.
pub(super) async fn verify(store: &Sharded, ledger: &Ledger, prefix: &str) -> Result<(), String> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let range = Range::Prefix(Bytes::from(prefix.to_owned()));
        let page = store.scan(range, 1_000, after, Freshness::linearizable()).await;
        let page = page.map_err(|error| format!("reading back {prefix}: {error}"))?;
        for one in page.records {
            let data = one.record.map(|record| record.data).unwrap_or_default();
            found.insert(String::from_utf8_lossy(&one.key).into_owned(), data);
        }
        after = page.next;
        if after.is_none() {
            return ledger.compare(prefix, &found);
        }
    }
}
