//! The scenarios whose instructions `cargo xtask bench-guard` counts: one program, one scenario a run.
//!
//! ```text
//! feira-guard              lists them: name, operations of a run, and the operation, with tabs between
//! feira-guard NAME 1       prepares everything for two runs, and does one
//! feira-guard NAME 2       prepares the same, and does both
//! ```
//!
//! Promises: the instructions of `NAME 2` without those of `NAME 1` are those of one run of operations, and of nothing else:
//! both prepare the same, and neither frees what it made. Nothing here depends on time, threads or chance, but for the seeds
//! of the standard library's hash maps.
//!
//! Leaves out: counting and comparing (xtask), threads, sockets, system calls.
#![allow(clippy::print_stdout)] // It lists its scenarios.

mod cache;
mod disk;
mod log;
mod message;
mod replica;
mod scenario;
mod state_machine;

use anyhow::{Context, bail};

use crate::scenario::Scenario;

/// Every scenario, in the order of a write's way through the system.
const SCENARIOS: &[&[Scenario]] =
    &[message::SCENARIOS, replica::SCENARIOS, log::SCENARIOS, state_machine::SCENARIOS, cache::SCENARIOS];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut all = SCENARIOS.iter().copied().flatten();
    match &arguments[..] {
        [] => {
            for scenario in all {
                println!("{}\t{}\t{}", scenario.name, scenario.operations(), scenario.operation);
            }
            Ok(())
        }
        [name, times] => {
            let scenario = all.find(|scenario| scenario.name == *name);
            let scenario = scenario.with_context(|| format!("there is no scenario {name:?}"))?;
            let times = times.parse().ok().filter(|times| (1..=scenario::RUNS_MAX).contains(times));
            let times = times.with_context(|| format!("runs are 1 to {}", scenario::RUNS_MAX))?;
            scenario.run(times);
            Ok(())
        }
        _ => bail!("usage: feira-guard [NAME RUNS]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_does_its_work() {
        for scenario in SCENARIOS.iter().copied().flatten() {
            let mut call = (scenario.prepare)(2);
            (0..2).for_each(&mut call);
        }
    }

    #[test]
    fn the_baseline_has_every_scenario_and_no_other() {
        let baseline = include_str!("../baseline.toml");
        let counts = baseline.split_once("[instructions]").expect("a baseline").1;
        let guarded: Vec<_> = counts.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
        let named: Vec<_> = SCENARIOS.iter().copied().flatten().map(|scenario| scenario.name).collect();
        assert_eq!(guarded, named, "cargo xtask bench-guard --write mends it");
    }
}
