//! Append-only lists: `Txn` append makes a record under the list's prefix, in the order of the log; a list read whole
//! is the texts of its records one after the other. A text is appended once: one that shows twice was applied twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use feira_lincheck::AppendOp;

use super::client::Client;

/// Appends to one key, before the next is taken: lists are read whole again and again.
const APPENDS_PER_KEY: u64 = 60;

pub(super) async fn run(mut client: Client) {
    let shared = Arc::clone(&client.shared);
    loop {
        client.breathe().await;
        let _inside = shared.gate.enter().await;
        let round = shared.round();
        let place = |appended: u64| format!("a/{{{round}-{}}}", appended / APPENDS_PER_KEY);
        if client.rng.u8(..100) < 40 {
            let appended = shared.appends.load(Ordering::Relaxed);
            client.list(&place(appended.saturating_sub(1)), AppendOp::Get).await;
        } else {
            let key = place(shared.appends.fetch_add(1, Ordering::Relaxed));
            let text = format!("<{}>", shared.value());
            client.list(&key, AppendOp::Append(text)).await;
        }
    }
}
