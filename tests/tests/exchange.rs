//! Two clusters and a restored third on one machine, ports exchanged at random under orders: no request is answered by
//! another cluster, and messages say whose port it was. A minute here; as long as `FEIRA_TEST_EXCHANGE_SECONDS` says, if it is set.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use feira_tests::exchange::exchange;

/// Seconds of the run, if not a minute.
const SECONDS: &str = "FEIRA_TEST_EXCHANGE_SECONDS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_answered_by_another_cluster_whoever_has_its_ports() {
    let seconds = std::env::var(SECONDS).map_or(60, |text| text.parse().unwrap());
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let outcome = exchange(feira_tests::feira!(), seed, Duration::from_secs(seconds)).await;
    eprintln!("{outcome:?}");
    assert!(outcome.exchanges > 0 && outcome.orders > 0 && outcome.writes > 0, "{outcome:?}");
    assert!(outcome.messages > 0, "nobody was told whose port it was: {outcome:?}");
}
