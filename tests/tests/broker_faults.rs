//! A real mosquitto at its worst, in short: killed, stopped, cut off, with a queue of one and strangers on it, under a load over all
//! transports. `cargo xtask broker-faults` does the same for as long as one likes.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use feira_tests::broker_faults::harm::ALL;
use feira_tests::broker_faults::stranger::Sort;
use feira_tests::broker_faults::tally::Ended;
use feira_tests::broker_faults::{Settings, run};

#[tokio::test(flavor = "multi_thread")]
async fn no_hit_outlives_the_lease_and_no_session_or_order_is_misled_whatever_the_broker_does() {
    let settings = Settings {
        feira: PathBuf::from(feira_tests::feira!()),
        time: Duration::from_secs(25),
        seed: 12,
        shoppers: 9,
        pace: Duration::from_millis(40),
    };
    let report = run(&settings).await;
    println!("{report}");
    let verdict = &report.verdict;
    assert!(verdict.broken.is_empty(), "{report}");
    // It was not idle: harm was done, strangers were heard, caches were used and could not be, and there was something to judge.
    for fault in ALL {
        assert!(report.times(fault) > 0, "{fault}: {report}");
    }
    let strangers = &report.strangers;
    assert!(strangers.of(Sort::Oversized) > 0 && strangers.of(Sort::Malformed) > 0, "{report}");
    assert!(strangers.retained() > 0 && report.sum(|of| of.ignored) > 0, "{report}");
    assert!(report.sum(|of| of.unanswerable) > 0, "{report}");
    assert!(report.portals.values().all(|of| of.hits > 0 && of.misses > 0 && of.flushes > 0), "{report}");
    assert!(report.sum(|of| of.gaps) > 0 && report.sum(|of| of.bypasses) > 0, "{report}");
    for via in ["gRPC", "HTTP", "MQTT"] {
        assert!(report.requests.over(via, |ended| ended == Ended::Done) >= 20, "{via}: {report}");
    }
    assert!(verdict.reads >= 500 && verdict.writes >= 200 && verdict.bound_reads >= 100, "{report}");
    assert!(verdict.old > 0 || verdict.reads < 3_000, "caches were never behind: {report}");
    assert!(verdict.lines >= 50 && report.requests.repeated > 0, "{report}");
    assert!(report.books.as_answered >= 20, "{report}");
}
