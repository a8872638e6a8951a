//! Small histories with names, in `histories/`, judged as the folder they lie in says: from the files, and again from
//! what is written of them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use feira_lincheck::dialect::check::{ModelName, check_lines};
use feira_lincheck::dialect::{Dialect, Event, history, read};
use feira_lincheck::{CasRegister, KvAppend, Limits, Outcome, Records};

/// No clock, and few steps: these are small.
const LIMITS: Limits = Limits { steps_max: 20_000, time_max: None };

fn files(verdict: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("histories").join(verdict);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn model_of(file: &Path) -> ModelName {
    let name = file.file_name().unwrap().to_str().unwrap();
    match name.split('-').next().unwrap() {
        "register" => ModelName::CasRegister,
        "append" => ModelName::KvAppend,
        "records" => ModelName::Records,
        other => panic!("{name} begins with {other}, which is no model"),
    }
}

#[test]
fn every_history_is_checked_as_its_folder_says() {
    for (verdict, least) in [("linearizable", 8), ("not-linearizable", 8)] {
        let files = files(verdict);
        assert!(files.len() >= least, "{verdict}: {} histories", files.len());
        for file in files {
            let text = fs::read(&file).unwrap();
            let checked = check_lines(Cursor::new(&text), None, &LIMITS).unwrap();
            assert_eq!(checked.word, verdict, "{}: {}", file.display(), checked.why.join("\n"));
            assert_eq!(checked.model, Some(model_of(&file)), "{}", file.display());
            assert_eq!(checked.why.is_empty(), verdict == "linearizable", "{}", file.display());
        }
    }
}

/// Writes a history as lines, as a program that runs one would.
fn written<M: Dialect>(text: &[u8]) -> String {
    let lines = read(Cursor::new(text)).unwrap();
    let history = history::<M>(&lines).unwrap();
    let mut events = Vec::new();
    for operation in &history {
        let (process, key, op) = (operation.process, operation.key.as_str(), &operation.asked);
        events.push((operation.called, M::call_line(process, key, op)));
        if let Outcome::Answered { returned, answer } = &operation.outcome {
            events.push((*returned, M::answer_line(process, key, op, answer)));
        }
    }
    for (line, event) in lines.iter().filter(|(_, event)| event.t == Event::Info) {
        let operation =
            history.iter().rfind(|o| o.process == event.p && o.called < *line).expect("it was asked before");
        events.push((*line, M::unknown_line(event.p, &operation.key, &operation.asked)));
    }
    events.sort_by_key(|(at, _)| *at);
    events.iter().map(|(_, line)| format!("{line}\n")).collect()
}

#[test]
fn what_is_written_is_read_as_it_was() {
    for file in files("linearizable").into_iter().chain(files("not-linearizable")) {
        let text = fs::read(&file).unwrap();
        let again = match model_of(&file) {
            ModelName::CasRegister => written::<CasRegister>(&text),
            ModelName::KvAppend => written::<KvAppend>(&text),
            ModelName::Records => written::<Records>(&text),
        };
        let check = |text: &[u8]| {
            let checked = check_lines(Cursor::new(text), Some(model_of(&file)), &LIMITS).unwrap();
            (checked.word, checked.operations, checked.steps)
        };
        assert_eq!(check(again.as_bytes()), check(&text), "{}:\n{again}", file.display());
    }
}

#[test]
fn an_explanation_names_what_cannot_be_placed() {
    let file =
        files("not-linearizable").into_iter().find(|f| f.ends_with("register-stale-read.jsonl")).unwrap();
    let checked = check_lines(Cursor::new(fs::read(file).unwrap()), None, &LIMITS).unwrap();
    let expected = [
        "the longest order of operations has 2; its end:",
        "    1..2 process 1: write 1: done",
        "    3..4 process 1: write 2: done",
        "  after it the state is: a value that nobody looked at",
        "  none of these can be placed so that all others can follow; the first is due:",
        "    5..6 process 2: read: 1",
    ];
    assert_eq!(checked.why, expected);
}

#[test]
fn limits_leave_it_undecided_and_say_so() {
    let file = files("linearizable").into_iter().find(|f| f.ends_with("records-versions.jsonl")).unwrap();
    let text = fs::read(file).unwrap();
    let check = |limits: &Limits| check_lines(Cursor::new(&text), None, limits).unwrap();
    let few = check(&Limits { steps_max: 5, time_max: None });
    assert_eq!((few.word, few.steps <= 10), ("undecided", true), "{}", few.steps);
    assert!(few.why[0].contains("5 steps were not enough"), "{:?}", few.why);
    let no_time = check(&Limits { time_max: Some(std::time::Duration::ZERO), ..LIMITS });
    assert!(no_time.why[0].contains("the time was up"), "{:?}", no_time.why);
}
