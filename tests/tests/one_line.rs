//! Answers of one line, to the letter: what operators' commands say when they have done what they were asked, against
//! `cli/tests/one-line.txt`. After a change, `UPDATE_GOLDENFILES=1 cargo test -p feira-tests --test one_line` writes the new
//! ones; read the difference. How they stand on narrow screens is in `cli/tests/screens/one-line.txt`.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;

use feira_tests::cluster::PATIENCE;
use feira_tests::place::{LONG, Place};
use feira_tests::process::Dialogue;
use feira_tests::wait;
use goldenfile::Mint;

/// What stands after these words is another number each time; the sample that is kept of it.
const AFTER: [(&str, &str); 6] = [
    ("process", "4711"),
    ("epoch", "2"),
    ("offset", "17"),
    ("cluster", "1013e8c6d2c73f5e"),
    ("timestamp", "1795924364739"),
    ("node", "3"),
];
/// What stands before these words.
const BEFORE: [(&str, &str); 2] = [("records", "2"), ("bytes", "2031")];

/// A word without the punctuation around it, and that.
fn bare(word: &str) -> (&str, &str) {
    word.split_at(word.trim_end_matches([',', ';', ':']).len())
}

fn is_number(word: &str) -> bool {
    !word.is_empty()
        && word.bytes().all(|byte| byte.is_ascii_hexdigit())
        && word.contains(|c: char| c.is_ascii_digit())
}

/// One word, with a sample in place of what differs from run to run.
fn sampled(before: &str, word: &str, after: &str) -> String {
    let (core, tail) = bare(word);
    if let Some((host, port)) = core.split_once(':')
        && is_number(port)
    {
        return match host.strip_prefix('e').filter(|epoch| is_number(epoch)) {
            Some(_) => format!("e2:17{tail}"),
            None => format!("{host}:7404{tail}"),
        };
    }
    let sample = |of: &[(&str, &'static str)], beside: &str| {
        of.iter().find(|(word, _)| *word == bare(beside).0).map(|(_, sample)| *sample)
    };
    let known = sample(&AFTER, before).or_else(|| sample(&BEFORE, after)).filter(|_| is_number(core));
    known.map_or_else(|| word.to_owned(), |known| format!("{known}{tail}"))
}

/// What was said, the same in each run.
fn masked(said: &str, folder: &Path) -> String {
    let said = said.replace(&folder.display().to_string(), "/shop");
    let lines = said.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let at = |place: Option<usize>| place.and_then(|place| words.get(place)).copied().unwrap_or_default();
        let masked = (0..words.len()).map(|i| sampled(at(i.checked_sub(1)), words[i], at(Some(i + 1))));
        masked.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Commands and what they said, below each other.
struct Said<'a> {
    place: &'a Place,
    text: String,
}

impl Said<'_> {
    fn add(&mut self, command: &[&str]) {
        let said = self.place.done(command);
        self.keep(&command.join(" "), &said);
    }

    fn keep(&mut self, command: &str, said: &str) {
        let (command, said) = (masked(command, self.place.path()), masked(said, self.place.path()));
        self.text.push_str(&format!("$ feira {command}\n{}\n\n", said.trim_end()));
    }
}

/// Stops what was started detached, whatever the test comes to.
struct Detached<'a>(&'a Place);

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let _ = self.0.tool(&["down"]);
    }
}

/// Makes this node the leader, whoever leads now.
fn led_by(place: &Place, id: &str) {
    wait::until_blocking("the leadership to be transferred", PATIENCE, || {
        let output = place.tool(&["node", "transfer-leadership", id]);
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    });
}

fn nodes(said: &mut Said<'_>) {
    for act in ["stop", "start", "restart", "pause", "resume", "kill", "start"] {
        said.add(&["node", act, "3"]);
    }
    led_by(said.place, "2");
    said.place.done(&["kv", "set", "17", "basket"]);
    said.add(&["node", "transfer-leadership", "1"]);
    said.add(&["node", "transfer-leadership", "1"]);
    said.add(&["node", "hold-commit", "1"]);
    said.add(&["node", "hold-commit", "1", "--off"]);
    // People can work long before a node that was killed has caught up on a busy machine.
    wait::until_blocking("everything to be well", PATIENCE, || {
        let told = said.place.done(&["health", "--wait", "60"]);
        if told.starts_with("well") { Ok(()) } else { Err(told) }
    });
    said.add(&["health", "--wait", "60"]);
    said.add(&["node", "resync", "3"]);
    wait::until_blocking("node 3 to be replaced", PATIENCE, || {
        let status = said.place.status();
        let node = &status["nodes"][2];
        if node["role"] == "follower" && node["problem"] == "" { Ok(()) } else { Err(status.to_string()) }
    });
}

fn members(said: &mut Said<'_>) {
    said.add(&["member", "add"]);
    said.add(&["member", "promote", "4"]);
    said.add(&["member", "remove", "4"]);
    said.add(&["member", "replace", "3"]);
    said.place.done(&["node", "stop", "3"]);
    std::fs::remove_dir_all(said.place.path().join("feira-data/node-3")).unwrap();
    said.add(&["member", "replace", "3"]);
}

fn keys_and_backups(said: &mut Said<'_>) {
    said.add(&["key", "rotate"]);
    said.add(&["key", "export", "--portals"]);
    let file = said.place.path().join("shop.backup");
    let file = file.to_str().unwrap();
    said.add(&["backup", "--out", file]);
    said.add(&["restore", "--verify-only", file]);
}

/// Two other clusters, made without a supervisor: one of a backup, one empty.
fn founded(said: &mut Said<'_>) {
    for (name, command) in [("restored", &["restore", "../shop.backup"][..]), ("new", &["bootstrap"])] {
        let folder = said.place.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let template = said.place.done(&["config", "--template"]);
        std::fs::write(folder.join("feira.toml"), template).unwrap();
        let mut tool = std::process::Command::new(feira_tests::feira!());
        tool.args(command).current_dir(&folder);
        let output = Dialogue::start(tool).output_within(LONG);
        assert!(output.status.success(), "{output:?}");
        said.keep(&command.join(" "), &String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn what_operators_commands_have_done_is_told_in_the_words_that_are_kept() {
    let place = Place::new(feira_tests::feira!());
    let _detached = Detached(&place);
    let mut said = Said { place: &place, text: String::new() };
    said.add(&["up", "--any-ports", "--rehearsal", "--detach"]);
    nodes(&mut said);
    said.add(&["kv", "set", "18", "apples"]);
    said.add(&["kv", "get", "18"]);
    said.add(&["kv", "del", "18"]);
    place.done(&["admin", "insert-client", "ana", "{}"]);
    said.add(&["admin", "delete-client", "ana"]);
    members(&mut said);
    keys_and_backups(&mut said);
    said.add(&["down"]);
    founded(&mut said);
    let mut mint = Mint::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/tests"));
    let mut golden = mint.new_goldenfile("one-line.txt").unwrap();
    golden.write_all(said.text.as_bytes()).unwrap();
}
