//! The one binary `feira`: REPLs, a local cluster, every server role, import, export, bench, audit, status, demo.
//!
//! ```text
//!   args ──► run ──┬─► role (store, portals, broker)      serve until told to stop
//!                  ├─► up (supervisor of child processes), demo (a tour over it)
//!                  ├─► admin, shop, kv (sessions) ◄── repl (lines, completion) ◄── verb (tables of verbs)
//!                  └─► import, exchange, bench, audit, status, health, log, member, backup
//!        all of them ──► reach (portals, nodes) · show (tables, JSON) · config · key · aside · private · failure
//! ```
//!
//! Data goes to standard output, everything else to standard error. The exit code is decided in one place, below,
//! by [`failure::Kind`]: 0 done, 1 refused, 2 usage, 3 unreachable, 4 conflict, 5 outcome unknown.

pub mod admin;
pub mod args;
pub mod atomic_write;
pub mod audit;
pub mod backup;
pub mod bench;
pub mod config;
pub mod cut;
pub mod demo;
pub mod document;
pub mod exchange;
pub mod failure;
pub mod health;
pub mod import;
pub mod key;
pub mod kv;
pub mod log;
pub mod member;
pub mod names;
pub mod private;
pub mod reach;
pub mod repl;
pub mod ring;
pub mod role;
pub mod run;
pub mod shop;
pub mod show;
pub mod status;
pub mod tools;
pub mod trace;
pub mod trail;
pub mod up;
pub mod verb;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use clap::error::ErrorKind;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};

use crate::args::Cli;
use crate::failure::{Failure, Kind};
use crate::show::out::Out;

/// Runs the tool.
#[must_use]
pub fn main() -> ExitCode {
    // What this process makes is its owner's: data, backups, logs, history hold names and orders of people.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if !asked && wants_json() {
                Out::new(true).data_of_failure(&misused(&error));
            }
            // Help and version are answers; a closed pipe ends output, not the work.
            let printed = error.print();
            let lost = printed.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe);
            return exit(if asked { lost.then_some(Kind::Refused) } else { Some(Kind::Usage) });
        }
    };
    let asked = cli.switches();
    let out = Out::new(asked.json).with(asked);
    match start(cli, &out).and_then(|()| out.check()) {
        Ok(()) => exit(None),
        Err(failure) => {
            if !failure.told {
                out.failure(&failure);
            }
            match out.check() {
                Err(lost) if lost != failure => out.insist(&lost.to_string()),
                _ => {}
            }
            exit(Some(failure.kind))
        }
    }
}

/// A write beyond the size that files may have (ulimit -f) is an error like that of a full disk, and does not end the process
/// in the middle of it: a signal that is caught is not deadly.
fn outlive_file_limits() -> Result<(), Failure> {
    let caught = Arc::new(AtomicBool::new(false));
    let registered = signal_hook::flag::register(Signal::SIGXFSZ as i32, caught);
    registered.map(drop).map_err(|e| Failure::refused(format!("SIGXFSZ cannot be caught: {e}")))
}

/// Whether `--json` stands on a command line that could not be understood as a whole.
fn wants_json() -> bool {
    std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json")
}

/// A wrong command line, for programs: what is wrong, without the usage that people get below it.
fn misused(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let what = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default().trim().to_owned();
    Failure::usage(what).next("feira --help lists the commands, feira COMMAND --help what each takes")
}

fn start(cli: Cli, out: &Out) -> Result<(), Failure> {
    outlive_file_limits()?;
    // Children are told of the death of the thread that started them: a supervisor has only the main one.
    let mut builder = if run::supervises(&cli.command) {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|e| Failure::refused(format!("the runtime cannot be started: {e}")))?;
    let done = runtime.block_on(Box::pin(run::run(cli, out)));
    // A thread that waits for input must not hold the process.
    runtime.shutdown_background();
    done
}

/// The one place where the exit code is decided.
fn exit(failed: Option<Kind>) -> ExitCode {
    ExitCode::from(failed.map_or(0, Kind::exit_code))
}
