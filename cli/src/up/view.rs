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
    let parts = supervisor.children.iter().map(|child| PartView {
        name: child.part.name.clone(),
        address: child.part.address.clone(),
        state: state(&child.state),
        pid: pid(child),
        log: child.log().display().to_string(),
    });
    let config = supervisor.loaded.path.display().to_string();
    answer(&supervisor.loaded.config.cluster, &config, &parts.collect::<Vec<_>>(), left_out)
}

/// What is shown of a part.
pub(crate) struct PartView {
    /// Its name, such as node-1.
    pub(crate) name: String,
    /// Where it serves.
    pub(crate) address: String,
    /// How it is, in words.
    pub(crate) state: String,
    /// Its process, if it runs.
    pub(crate) pid: Option<u32>,
    /// Its log.
    pub(crate) log: String,
}

/// What is shown of all parts.
pub(crate) fn answer(cluster: &str, config: &str, views: &[PartView], left_out: &[LeftOut]) -> Answer {
    let mut table = Table::new(&[
        Column::whole("PART"),
        Column::whole("ADDRESS"),
        Column::words("STATE"),
        Column::whole("LOG").dropped(1),
    ]);
    let mut parts: Vec<Value> = Vec::new();
    for view in views {
        table.row([view.name.clone(), view.address.clone(), view.state.clone(), view.log.clone()]);
        parts.push(json!({
            "part": view.name, "address": view.address, "state": view.state, "pid": view.pid, "log": view.log,
        }));
    }
    let head = format!("cluster {cluster:?} by {config}");
    let out = |one: &LeftOut| json!({ "node": one.id, "why": one.why, "next": one.next });
    let document = json!({
        "cluster": cluster, "config": config, "parts": parts,
        "left_out": left_out.iter().map(out).collect::<Vec<Value>>(),
    });
    Answer::table(head, document, table)
}
