//! The rehearsal of clause A9's four tests, typed as OPERATIONS.md has it, and what the trace of it shows.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use feira_tests::place::{LONG, Place};
use feira_tests::process::Dialogue;

const OPERATIONS: &str = include_str!("../../docs/OPERATIONS.md");

/// The commands of the page.
fn typed() -> String {
    let page = OPERATIONS.split_once("## Rehearsal").unwrap().1;
    let script = page.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    // Ports of its own: other tests run too.
    let script = script.replacen("feira up --rehearsal", "feira up --any-ports --rehearsal", 1);
    // A commit order may ride on a heartbeat.
    let script = script.replacen("feira trace >", "feira trace --heartbeats >", 1);
    format!("set -e\n{script}")
}

/// Runs the page in an empty folder; what it printed.
fn run(folder: &Path) -> String {
    let program = folder.join("bin/feira");
    std::fs::create_dir(folder.join("bin")).unwrap();
    std::os::unix::fs::symlink(feira_tests::feira!(), &program).unwrap();
    std::fs::create_dir(folder.join("empty")).unwrap();
    let mut bash = Command::new("bash");
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    bash.args(["-c", &typed()]).current_dir(folder.join("empty")).env("PATH", path);
    let mut tool = Dialogue::start(bash);
    tool.hang_up();
    let output = tool.output_within(LONG);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The offset of a position.
fn offset(position: &str) -> u64 {
    position.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Up to where a leader's message says that entries are committed.
fn committed_by(line: &str) -> Option<u64> {
    if let Some((_, up_to)) = line.split_once("commit order up to ") {
        return Some(offset(up_to));
    }
    let number = line.rsplit_once("committed ")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The position of the first line that has all of these, from a place on; `$`: until the end of the line, or a semicolon.
fn find(lines: &[&str], from: usize, parts: &[&str]) -> usize {
    let has = |line: &str, part: &str| match part.strip_suffix('$') {
        Some(end) => line.ends_with(end) || line.contains(&format!("{end};")),
        None => line.contains(part),
    };
    let found = lines[from..].iter().position(|line| parts.iter().all(|part| has(line, part)));
    from + found.unwrap_or_else(|| panic!("no line with {parts:?} after line {from}:\n{}", lines.join("\n")))
}

/// The entry of this data in what `log show --all` printed last: its row's cells.
fn row<'a>(said: &'a str, data: &str) -> Vec<&'a str> {
    let line = said.lines().rfind(|line| line.contains(data)).unwrap_or_else(|| panic!("no {data}: {said}"));
    line.split(['│', '┆']).map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn the_rehearsal_runs_as_it_is_typed_and_shows_push_before_ack_before_commit_order() {
    let folder = tempfile::Builder::new().prefix("feira-test-rehearsal-").tempdir().unwrap();
    let said = run(folder.path());
    // 1: everywhere applied; and each step in the trace before the one that needs it.
    let first = row(&said, "put 17 two kilos");
    let trace = std::fs::read_to_string(folder.path().join("empty/trace.log")).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    let at = first[0];
    let appends = find(&lines, 0, &["  1  ", &format!("appends up to {at} ")]);
    let commits = find(&lines, appends, &["  1  ", &format!("commits, applies up to {at}$")]);
    let mut acks = 0;
    for replica in [2, 3] {
        let push = find(&lines, appends, &[&format!("1 → {replica}"), "push: ", &format!("{at} after")]);
        let heard = find(&lines, push, &[&format!("{replica} ← 1"), "push: ", &format!("{at} after")]);
        let ack = find(&lines, heard, &[&format!("{replica} → 1"), &format!("ack: durable up to {at}$")]);
        let acked = find(&lines, ack, &[&format!("1 ← {replica}"), &format!("ack: durable up to {at}$")]);
        acks += usize::from(acked < commits);
        let applies =
            find(&lines, heard, &[&format!("  {replica}  "), &format!("commits, applies up to {at}$")]);
        let told = lines[heard..applies].iter().any(|line| {
            line.contains(&format!("{replica} ← 1"))
                && committed_by(line).is_some_and(|up_to| up_to >= offset(at))
        });
        assert!(told, "node {replica} applied {at} before a commit order:\n{trace}");
    }
    assert!(acks >= 1, "committed before a majority had it:\n{trace}");
    // 2: it caught up. 3: what was planted is gone everywhere, and was truncated.
    for data in ["put 18 three kilos", "put 19 four kilos", "put 20 basket", "put 21 not yet"] {
        let cells = row(&said, data);
        assert_eq!(cells[1..4], ["applied"; 3], "{said}");
    }
    let planted = said.lines().filter(|line| line.contains("planted/")).count();
    assert!(planted >= 3, "they were in its log: {said}");
    let last = said.rfind("the logs of cluster").unwrap();
    assert!(!said[last..].contains("planted/"), "{said}");
    find(&lines, 0, &["  3  ", "truncates its log from"]);
    assert!(!trace.contains("snapshot installed"), "it caught up from its old log:\n{trace}");
    // 4: intermediate on the others while the commit orders were held back.
    let held = said.split("the logs of cluster").find(|shown| shown.contains("put 21")).unwrap();
    assert_eq!(row(held, "put 21")[1..4], ["intermediate", "applied", "intermediate"], "{said}");
}

#[test]
fn faults_are_planted_only_in_a_rehearsal() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports"]);
    let leader = place.leader();
    place.fails(&["node", "hold-commit", &leader], 1, "rehearsal = true");
    place.fails(&["log", "plant", "1"], 1, "rehearsal = true");
    place.done(&["down"]);
    up.ends_well();
    place.fails(&["up", "--rehearsal"], 2, "--rehearsal is for a new cluster");
}
