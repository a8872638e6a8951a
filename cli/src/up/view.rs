//! The table of endpoints: each part of a local cluster, where it serves, how it is, where its log is.

use serde_json::{Value, json};

use super::bootstrap::LeftOut;
use super::child::{Child, State};
use super::supervisor::Supervisor;
use crate::show::answer::Answer;
use crate::show::table::{Column, Table};

/// A state in words.
#[must_use]
pub fn state(state: &State) -> String {
    match state {
        State::New => "not started".to_owned(),
        State::Running(pid) => format!("running, pid {pid}"),
        State::Paused(pid) => format!("paused, pid {pid}"),
        State::Ended(how) => format!("ended: {how}"),
    }
}

fn pid(child: &Child) -> Option<u32> {
    match child.state {
        State::Running(pid) | State::Paused(pid) => Some(pid),
        State::New | State::Ended(_) => None,
    }
}

/// Every part, where it serves, how it is, and its log; and who was left out.
#[must_use]
pub fn endpoints(supervisor: &Supervisor, left_out: &[LeftOut]) -> Answer {
    let mut table = Table::new(&[
        Column::whole("PART"),
        Column::whole("ADDRESS"),
        Column::words("STATE"),
        Column::whole("LOG").dropped(1),
    ]);
    let mut parts: Vec<Value> = Vec::new();
    for child in &supervisor.children {
        let log = child.log().display().to_string();
        table.row([child.part.name.clone(), child.part.address.clone(), state(&child.state), log.clone()]);
        parts.push(json!({
            "part": child.part.name, "address": child.part.address, "state": state(&child.state),
            "pid": pid(child), "log": log,
        }));
    }
    let config = &supervisor.loaded.path;
    let head = format!("cluster {:?} by {}", supervisor.loaded.config.cluster, config.display());
    let out = |one: &LeftOut| json!({ "node": one.id, "why": one.why, "next": one.next });
    let document = json!({
        "cluster": supervisor.loaded.config.cluster, "config": config.display().to_string(), "parts": parts,
        "left_out": left_out.iter().map(out).collect::<Vec<Value>>(),
    });
    Answer::table(head, document, table)
}
