//! The hunt for deliberate bugs of transactions over several groups: the walks of `explore.rs` with one of
//! `store_core::mutation` planted, seed after seed, until a promise is broken.
//!
//! `cargo test -p store-db --features mutations --test cross_mutations -- --nocapture` says which scene and seed caught each, and
//! by which promise. `FEIRA_SEEDS=n` gives up after so many seeds a scene, `FEIRA_MUTATIONS=a,b` hunts only these.
#![cfg(feature = "mutations")]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod explorer;

use std::panic::{AssertUnwindSafe, catch_unwind};

use explorer::{Seen, scene, walk};
use store_core::mutation::{Mutation, plant};

/// A bug that so many seeds of every scene do not show is not caught.
const SEEDS_MAX: u64 = 3_000;

/// Of the state machine as it was before; they break what several groups rest on, too.
const ALSO: [Mutation; 3] = [Mutation::ForgetReply, Mutation::OpenAfterOutcome, Mutation::MinimumIgnored];

/// The first line of what one walk broke.
fn breaks(scene: &scene::Scene, seed: u64) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| walk(scene, seed, &mut Seen::default()))).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let text = text.unwrap_or_default();
    Some(
        text.lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("assertion `left == right` failed: ")
            .to_owned(),
    )
}

#[test]
fn walks_show_the_bugs_of_transactions_over_several_groups() {
    let seeds_max = std::env::var("FEIRA_SEEDS").map_or(SEEDS_MAX, |seeds| seeds.parse().expect("a number"));
    let names = std::env::var("FEIRA_MUTATIONS").unwrap_or_default();
    std::panic::set_hook(Box::new(|_| {}));
    let scenes = scene::all();
    let innocent: Vec<_> =
        scenes.iter().filter_map(|scene| (0..20).find_map(|seed| breaks(scene, seed))).collect();
    assert_eq!(innocent, Vec::<String>::new(), "walks that fail without a bug");
    let wanted = |mutation: &&Mutation| {
        let is_of_groups = mutation.is_of_groups() || ALSO.contains(mutation);
        is_of_groups && (names.is_empty() || names.split(',').any(|name| name == mutation.name()))
    };
    let mut missed = Vec::new();
    for mutation in Mutation::ALL.iter().filter(wanted) {
        plant(Some(*mutation));
        let may_show = |scene: &&scene::Scene| scene.cuts || !mutation.is_of_cuts();
        let caught = (0..seeds_max).find_map(|seed| {
            let mut scenes = scenes.iter().filter(may_show);
            scenes.find_map(|scene| Some((seed, scene.name, breaks(scene, seed)?)))
        });
        plant(None);
        match caught {
            Some((seed, scene, what)) => println!("caught\t{}\t{scene}\t{seed}\t{what}", mutation.name()),
            None => missed.push(mutation.name()),
        }
    }
    assert_eq!(missed, Vec::<&str>::new(), "bugs that no walk shows");
}
