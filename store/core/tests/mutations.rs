//! The hunt for deliberate bugs of the protocol among bare cores: the random runs of `random.rs` with one of
//! `store_core::mutation` planted, seed after seed, until a promise is broken. `cargo xtask mutations` runs this and makes a table of it, together with
//! what the simulation of the whole system says.
//!
//! `FEIRA_MUTATIONS=a,b` hunts only these, `FEIRA_SEEDS=n` gives up after so many seeds. Whether each is caught by one
//! level or the other is evaluated there; here only that no seed fails without a bug. It also lists all mutations:
//!
//! ```text
//! mutation <tab> name <tab> whether it is of the protocol <tab> what it does
//! caught   <tab> name <tab> seed  <tab> CPU ms <tab> what was said when a promise was broken
//! missed   <tab> name <tab> seeds <tab> CPU ms
//! ```
#![cfg(feature = "mutations")]
#![allow(clippy::unwrap_used)]

mod harness;

use std::panic::{AssertUnwindSafe, catch_unwind};

use harness::chaos::Chaos;
use store_core::mutation::{Mutation, plant};

/// A bug that so many seeds do not show is not caught.
const SEEDS_MAX: u64 = 1_000;

/// CPU time of this thread until now, as Linux counts it.
fn cpu_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<u64>().ok()).unwrap_or(0) / 1_000_000
}

/// What one seed broke.
fn breaks(seed: u64) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| Chaos::new(seed).run())).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Some(text.unwrap_or_default().lines().next().unwrap_or_default().to_owned())
}

fn wanted(mutation: Mutation) -> bool {
    let names = std::env::var("FEIRA_MUTATIONS").unwrap_or_default();
    mutation.is_of_core() && (names.is_empty() || names.split(',').any(|name| name == mutation.name()))
}

#[test]
fn bare_cores_show_the_bugs_of_the_protocol() {
    let seeds_max = std::env::var("FEIRA_SEEDS").map_or(SEEDS_MAX, |seeds| seeds.parse().expect("a number"));
    std::panic::set_hook(Box::new(|_| {}));
    let innocent: Vec<u64> = (0..20).filter(|seed| breaks(*seed).is_some()).collect();
    assert_eq!(innocent, [], "seeds that fail without a bug");
    // Those of transactions over several groups are hunted by store_db's explorer.
    for mutation in Mutation::ALL.iter().filter(|mutation| !mutation.is_of_groups()) {
        println!("mutation\t{}\t{}\t{}", mutation.name(), mutation.is_of_core(), mutation.text());
    }
    for mutation in Mutation::ALL.iter().filter(|mutation| wanted(**mutation)) {
        plant(Some(*mutation));
        let begun = cpu_ms();
        let caught = (0..seeds_max).find_map(|seed| breaks(seed).map(|check| (seed, check)));
        let spent = cpu_ms() - begun;
        plant(None);
        match caught {
            Some((seed, check)) => println!("caught\t{}\t{seed}\t{spent}\t{check}", mutation.name()),
            None => println!("missed\t{}\t{seeds_max}\t{spent}\t", mutation.name()),
        }
    }
}
