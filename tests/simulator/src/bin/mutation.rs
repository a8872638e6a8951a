//! Hunts one deliberate bug of the store with the simulation of the whole system.
//!
//! One of `store_core::mutation` is planted, and seeds (of rings, for what rings show) are run from 0 on, on one thread, until one breaks a promise. Prints
//! one line, for `cargo xtask mutations`:
//!
//! ```text
//! caught <tab> name <tab> seed <tab> CPU ms <tab> simulated ms of that seed <tab> promise: what was seen
//! missed <tab> name <tab> seeds <tab> CPU ms
//! ```
#![allow(clippy::print_stdout)] // It talks to xtask.

use std::process::ExitCode;

use clap::Parser;
use feira_simulator::ring::{RingOutcome, RingPlan, run_ring};
use feira_simulator::{Outcome, Plan, run};
use store_core::mutation::{Mutation, plant};
use store_keys::{Weakness, weaken};

#[derive(Parser)]
#[command(about = "Plants one deliberate bug and runs seeds until a promise is broken")]
struct Arguments {
    /// The mutation's name
    name: String,
    /// Give up after so many seeds
    #[arg(long, default_value_t = 200)]
    seeds: u64,
}

fn main() -> ExitCode {
    let Arguments { name, seeds } = Arguments::parse();
    let Some(mutation) = Mutation::ALL.iter().find(|mutation| mutation.name() == name) else {
        println!("there is no mutation {name:?}");
        return ExitCode::from(2);
    };
    plant(Some(*mutation));
    weaken(match mutation {
        Mutation::ProofWithoutDirection => Weakness::Direction,
        Mutation::ProofWithoutCall => Weakness::Call,
        Mutation::ProofWithoutNonce => Weakness::Nonce,
        _ => Weakness::None,
    });
    let begun = cpu_ms();
    let on_ring = |seed| {
        let RingOutcome { violation, ended_at, .. } = run_ring(RingPlan::of_seed(seed), false);
        (seed, violation, ended_at)
    };
    let on_one = |seed| {
        let Outcome { violation, ended_at, .. } = run(Plan::of_seed(seed), false);
        (seed, violation, ended_at)
    };
    let mut runs = (0..seeds).map(|seed| if mutation.is_of_rings() { on_ring(seed) } else { on_one(seed) });
    let caught = runs.find(|(_, violation, _)| violation.is_some());
    let spent = cpu_ms() - begun;
    match caught {
        Some((seed, Some(violation), ended_at)) => {
            let seen = violation.to_string().replace(['\t', '\n'], " ");
            println!("caught\t{name}\t{seed}\t{spent}\t{}\t{seen}", ended_at / 1_000);
        }
        _ => println!("missed\t{name}\t{seeds}\t{spent}"),
    }
    ExitCode::SUCCESS
}

/// CPU time of this thread until now, as Linux counts it.
fn cpu_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<u64>().ok()).unwrap_or(0) / 1_000_000
}
