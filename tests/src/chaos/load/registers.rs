//! Registers: records that are read, put, set, tested and set, and deleted, by version and whatever the version. Every
//! value is written once.

use std::collections::HashMap;
use std::sync::Arc;

use feira_lincheck::{Found, RecordAnswer, RecordOp};

use super::client::Client;

/// Registers of one round.
const REGISTERS: u64 = 32;

/// The version that a client saw last of each register; `None`: absent.
type Seen = HashMap<String, Option<u64>>;

pub(super) async fn run(mut client: Client) {
    let shared = Arc::clone(&client.shared);
    let (mut seen, mut round) = (Seen::new(), 0);
    loop {
        client.breathe().await;
        let _inside = shared.gate.enter().await;
        if shared.round() != round {
            round = shared.round();
            seen.clear();
        }
        let key = format!("r/{round}/{}", client.rng.u64(..REGISTERS));
        let value = shared.value().into();
        let op = match (seen.get(&key).copied(), client.rng.u8(..100)) {
            (None, _) | (_, ..40) => RecordOp::Get,
            (_, 40..50) => RecordOp::Put(value),
            (_, 50..54) => RecordOp::Delete,
            (Some(None), _) => RecordOp::Set(value),
            (Some(Some(version)), 54..60) => RecordOp::DeleteVersion(version),
            (Some(Some(version)), _) => RecordOp::TestAndSet { version, value },
        };
        let answer = client.record(&key, op.clone()).await;
        match answer.and_then(|answer| left(&op, &answer)) {
            Some(version) => drop(seen.insert(key, version)),
            None => drop(seen.remove(&key)),
        }
    }
}

/// The version that is there after an operation; `None`: it does not say.
fn left(op: &RecordOp, answer: &RecordAnswer) -> Option<Option<u64>> {
    match (&answer.found, op) {
        _ if answer.version.is_some() => Some(answer.version),
        (_, RecordOp::Delete | RecordOp::DeleteVersion(_)) if answer.done => Some(None),
        (Found::Absent, _) => Some(None),
        (Found::Present { version, .. }, _) => Some(*version),
        (Found::Untold, _) => None,
    }
}
