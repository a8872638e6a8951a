//! `feira demo` without a terminal: it plays its tour to the end, exits 0, and each step that it promises is in what
//! it says.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use feira_tests::process::Dialogue;

/// The whole tour, on a machine that runs other tests too.
const TOUR: Duration = Duration::from_secs(240);

/// What a person is shown, in this order.
const STEPS: [&str; 41] = [
    "admin-portal-1",
    "── The market opens",
    "✓ five goods begin with \"ba\"",
    "── A client is registered once",
    "registered with the CID raimunda-alves",
    "ALREADY_EXISTS",
    "✓ a second client of that CID is refused",
    "UNAUTHENTICATED",
    "✓ who is not registered is not served",
    "── An order takes its stock in one transaction",
    ": total 33.70",
    "✓ three units went from the stall into the order",
    "── A change moves exactly the difference",
    "(open): total 34.50",
    "✓ all of the other went back",
    "shop --cid raimunda-alves list-orders",
    "── Nobody buys what is not there",
    "FAILED_PRECONDITION: not enough stock: banana-prata (176 more wanted than the 5 it holds, 175 left)",
    "✓ nothing moved",
    "── A cancelled order gives its stock back, once",
    "✓ all units are back, and a second cancel changed nothing",
    "── An entry is intermediate until the commit order",
    "before the commit order:",
    "intermediate",
    "✓ each replica has the entry durably",
    "✓ on the commit order each replica applied it",
    "── A replica with entries that no leader sent is corrected",
    "the planted conflict, in the stopped replica's folder:",
    "planted/",
    "after the leader resent from the point of agreement:",
    "✓ the planted entries were truncated",
    "✓ both logs are equal",
    "✓ nobody ever read a planted entry",
    "✓ what is committed is not touched",
    "── kill -9 of the leader in the middle of",
    "✓ the others elected a new leader",
    "✓ every acknowledged order is there",
    "── The books",
    "right and equal on all replicas",
    "✓ initial + adjusted = available + held + sold for every product",
    "the tour is over:",
];

fn tour(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(feira_tests::feira!());
    command.arg("demo").args(arguments);
    let mut demo = Dialogue::start(command);
    demo.hang_up();
    demo.output_within(TOUR)
}

#[test]
fn the_tour_shows_each_step_and_ends_well() {
    shows_each_step(&tour(&[]), 3);
}

#[test]
fn four_nodes_play_it_too() {
    shows_each_step(&tour(&["--nodes", "4"]), 4);
}

/// On a ring the shop is the same; the steps of one group's protocol are left out.
#[test]
fn a_ring_of_three_shards_plays_the_shop_and_loses_every_leader() {
    let said = plays_the_shop(&["--shards", "3", "--apart"], "the leader of every shard in the middle of");
    assert!(said.contains("node-9 ") && !said.contains("node-10 "), "{said}");
    assert!(!said.contains("with its replicas"), "{said}");
}

/// A process takes its replicas of all shards along, and the other two elect the leaders that it was.
#[test]
fn a_ring_on_three_nodes_loses_one_that_leads_and_has_replicas_of_every_shard() {
    let said = plays_the_shop(&["--shards", "3"], "the leader");
    assert!(said.contains("goes with its replicas of the shards 1, 2, 3"), "{said}");
    assert!(said.contains("killed, with its replicas of the shards 1, 2, 3"), "{said}");
    assert!(said.contains("node-3 ") && !said.contains("node-4 "), "{said}");
}

fn plays_the_shop(arguments: &[&str], killed: &str) -> String {
    let output = tour(arguments);
    let (said, beside) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{beside}");
    for step in [
        "✓ three units went from the stall into the order",
        &format!("── kill -9 of {killed}"),
        "✓ the others elected a new leader",
        "✓ every order was acknowledged, once",
        "✓ and none was made twice",
        "✓ initial + adjusted = available + held + sold for every product, and all replicas are equal",
        "the tour is over:",
    ] {
        assert!(said.contains(step), "{step:?} does not come:\n{said}\n{beside}");
    }
    assert!(!said.contains("an entry is intermediate"), "{said}");
    said.into_owned()
}

fn shows_each_step(output: &std::process::Output, nodes: usize) {
    let (said, beside) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{beside}");
    let mut from = 0;
    for step in STEPS {
        let found = said[from..].find(step);
        let at =
            found.unwrap_or_else(|| panic!("{step:?} does not come, or not in its turn:\n{said}\n{beside}"));
        from += at;
    }
    assert!(said.contains(&format!("node-{nodes} ")) && !said.contains(&format!("node-{} ", nodes + 1)));
    assert!(!said.contains('\u{1b}'), "no colours for a pipe");
}
