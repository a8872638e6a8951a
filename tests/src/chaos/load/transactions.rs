//! Transactions over some records at once: puts, and reads beside them; on a ring mostly of several groups.

use std::sync::Arc;

use store_client::request_identity;

use super::book::{Plan, RECORDS};
use super::client::Client;
use crate::chaos::history::Heard;

/// Records of one transaction, at most.
const ACCESSES_MAX: usize = 4;

pub(super) async fn run(mut client: Client) {
    let shared = Arc::clone(&client.shared);
    let transactions = &shared.transactions;
    loop {
        client.breathe().await;
        let _inside = shared.gate.enter().await;
        let count = client.rng.usize(1..=ACCESSES_MAX);
        let records = client.rng.choose_multiple(0..RECORDS, count);
        let is_put: Vec<bool> = records.iter().map(|_| client.rng.bool()).collect();
        let puts = records.iter().zip(is_put).filter(|(_, is_put)| *is_put);
        let puts = puts.map(|(record, _)| (*record, shared.value())).collect();
        let plan = Plan { records, puts };
        let (txn, called) = (plan.txn(), transactions.now());
        let identity = request_identity(proto::hash::digest(&[b"transaction"]));
        let tag = txn.tag().cloned().unwrap_or_default();
        match client.txn_as("transaction", txn, identity.clone()).await {
            Heard::Answer(answer) => {
                transactions.answered(called, &plan, &answer);
            }
            Heard::Refused => {}
            Heard::Unknown => transactions.unanswered(called, plan, tag, identity),
        }
    }
}
