//! The screen of a measurement.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answers;
use crate::bench::args::Work;
use crate::bench::lane::{Lane, Way};
use crate::bench::machine::Machine;
use crate::bench::measure::Round;
use crate::bench::plan::Plan;
use crate::bench::report::{Series, report};
use crate::bench::tally::Tally;

/// A round with that many operations in five seconds, which take a millisecond and more, each somewhat longer than the last.
fn round(operations: u64, cpu_ms: u64, sync_us: u64) -> Round {
    let mut tally = Tally::default();
    (0..operations).for_each(|at| tally.done(Duration::from_micros(1_000 + at / 4)));
    tally.answered = operations;
    Round {
        tally,
        span: Duration::from_secs(5),
        overdue: 0,
        servers: 6,
        cpu: Some(Duration::from_millis(cpu_ms)),
        cpu_by_part: BTreeMap::new(),
        machine: Machine {
            cpu_loop: Duration::from_micros(8_125),
            fdatasync: Some(Duration::from_micros(sync_us)),
        },
    }
}

#[test]
fn a_measurement_fits() {
    let plan = Plan {
        work: Work::PortalOrder,
        clients: vec![1, 1_024],
        rounds: 2,
        warm_up: Duration::from_secs(1),
        span: Duration::from_secs(5),
        bytes: 256,
        keys: 10_000,
        rate: Some(20_000),
        hot: false,
        lanes: vec![Lane::Cluster(Way::Grpc)],
    };
    let mut late = round(100_000, 9_870, 1_240);
    late.overdue = 1_234;
    late.tally.failed("OVERLOADED".to_owned());
    late.tally.failed("NO_ANSWER".to_owned());
    let all = [
        Series { rounds: vec![round(2_600, 1_310, 640), round(2_480, 1_290, 652)], ..Series::new(1, "grpc") },
        Series { rounds: vec![late, round(98_765, 9_650, 655)], ..Series::new(1_024, "grpc") },
    ];
    answers("bench", &report(&plan, &all));
}
