//! `feira up`, kill -9 of anything at any moment, and again at once: it is never refused, and nothing that was acknowledged is
//! lost. `cargo xtask kills` plays more rounds than the tests do.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use feira_tests::cluster::PATIENCE;
use feira_tests::place::{Place, Up};
use feira_tests::process::Dialogue;
use feira_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Rounds, if the environment names none.
const ROUNDS: u32 = 6;
const ROUNDS_NAMED: &str = "KILL_ROUNDS";
const SEED_NAMED: &str = "KILL_SEED";
/// A start is killed after so long at most.
const START_MS_MAX: u64 = 3_000;
/// And a whole cluster is left with what was killed for so long at most.
const BROKEN_MS_MAX: u64 = 2_500;
const PARTS: [&str; 6] = ["broker", "node-1", "node-2", "node-3", "admin-portal-1", "client-portal-1"];

fn number_named<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// The processes of this cluster's parts, whoever is their parent.
fn processes(config: &Path) -> Vec<i32> {
    let config = config.display().to_string();
    let of_cluster = |pid: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(&config) && line.contains("--supervised")
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(of_cluster).collect()
}

/// Kills some of the processes that are there: one, or several, or all of them. One that has ended meanwhile is none.
fn kill_some(random: &mut fastrand::Rng, mut there: Vec<i32>) {
    random.shuffle(&mut there);
    let count = if random.u8(..4) == 0 { there.len() } else { random.usize(1..=2) };
    for pid in there.into_iter().take(count) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// A start that is killed before it has come to its end, together with parts or alone.
async fn killed_at_its_start(place: &Place, random: &mut fastrand::Rng) {
    let mut tool = Dialogue::start(place.command(&["up"]));
    wait::pass(Duration::from_millis(random.u64(..START_MS_MAX))).await;
    if random.bool() {
        kill_some(random, processes(&place.path().join("feira.toml")));
        wait::pass(Duration::from_millis(random.u64(..START_MS_MAX))).await;
    }
    let said = tool.complained();
    assert!(tool.ended().is_none(), "it was not killed, and has ended: {said}");
    tool.signal(Signal::SIGKILL);
    tool.ends_within(PATIENCE);
}

/// A cluster that serves, and takes a write; parts of it are killed, and then what supervises it.
async fn killed_while_it_serves(place: &Place, random: &mut fastrand::Rng, round: u32) {
    let mut up: Up = place.up(&[]);
    let said = up.tool.complained();
    assert!(said.contains("everything serves"), "nothing is left out: {said}");
    place.done(&["kv", "set", &format!("round-{round}"), "x"]);
    match random.u8(..3) {
        // It goes first, and its parts find that out.
        0 => {}
        _ => {
            kill_some(random, processes(&place.path().join("feira.toml")));
            wait::pass(Duration::from_millis(random.u64(..BROKEN_MS_MAX))).await;
        }
    }
    assert!(up.tool.ended().is_none(), "it goes on whatever part is killed: {}", up.tool.complained());
    up.tool.signal(Signal::SIGKILL);
    up.tool.ends_within(PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_starts_again_whatever_was_killed_whenever() {
    let rounds = number_named(ROUNDS_NAMED).unwrap_or(ROUNDS);
    let seed = number_named(SEED_NAMED).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("{SEED_NAMED}={seed} {ROUNDS_NAMED}={rounds}");
    let mut random = fastrand::Rng::with_seed(seed);
    let place = Place::new(feira_tests::feira!());
    // The very first start may be killed too: nothing was there before it.
    let mut first = Dialogue::start(place.command(&["up", "--any-ports"]));
    wait::pass(Duration::from_millis(random.u64(..START_MS_MAX))).await;
    first.signal(Signal::SIGKILL);
    first.ends_within(PATIENCE);
    if !place.path().join("feira.toml").exists() {
        place.up(&["--any-ports"]).tool.signal(Signal::SIGKILL);
    }
    let mut kept = Vec::new();
    for round in 0..rounds {
        if random.bool() {
            killed_at_its_start(&place, &mut random).await;
        } else {
            killed_while_it_serves(&place, &mut random, round).await;
            kept.push(round);
        }
        eprintln!("round {round} of {rounds}");
    }
    let up = place.up(&[]);
    assert_eq!(up.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(), PARTS);
    for round in kept {
        assert!(place.done(&["kv", "get", &format!("round-{round}")]).contains("SUCCESS"), "round {round}");
    }
    place.done(&["audit"]);
    place.done(&["down"]);
    up.ends_well();
}
