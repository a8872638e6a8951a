//! The command `bench-peers`, which `cargo xtask bench-peers` runs: measures, or draws what an earlier run has measured.
//!
//! Promises: the table is all that goes to standard output; exit code 0 if everything was measured and every stock was right,
//! else 1 with one line that says what to do. Leaves out the work itself, which is the library's.
#![allow(clippy::print_stdout, clippy::print_stderr)] // It talks to people.

use std::process::ExitCode;

use anyhow::Context;
use bench_peers::args::{Cli, Command, Drawn, Run};
use bench_peers::record::Record;
use bench_peers::{plots, run, table};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let Cli { command, run } = Cli::parse();
    let done = match command {
        Some(Command::Show { file, drawn }) => Record::read(&file).and_then(|record| draw(&record, &drawn)),
        None => measured(&run).and_then(|record| draw(&record, &run.drawn)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until it is done, or until somebody stops it; either way all servers are ended.
fn measured(asked: &Run) -> anyhow::Result<Record> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    // This thread starts the servers, and outlives them: they end with it.
    runtime.context("cannot start the runtime")?.block_on(async {
        tokio::select! {
            record = Box::pin(run::run(asked)) => record,
            stopped = stopped() => Err(stopped.map_or_else(
                |error| error,
                |name| anyhow::anyhow!("stopped by {name}; all servers are ended, and their folders removed"),
            )),
        }
    })
}

/// The signal that asks to stop.
async fn stopped() -> anyhow::Result<&'static str> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    })
}

fn draw(record: &Record, drawn: &Drawn) -> anyhow::Result<()> {
    print!("{}", table::text(record));
    if let Some(file) = &drawn.markdown {
        std::fs::write(file, table::markdown(record))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(folder) = &drawn.plots {
        plots::write(record, folder)?;
    }
    Ok(())
}
