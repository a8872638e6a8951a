//! The command: prepare, then round by round, each number of clients in turn.

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::Bench;
use super::load::Load;
use super::machine::Machine;
use super::measure::measure;
use super::plan::Plan;
use super::report::{Series, line, report};
use super::servers::Servers;
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::show::out::Out;
use crate::show::waiting::Waiting;

/// Measures, and answers with the numbers. Each round is told when it is over.
///
/// # Errors
/// The command line asks for what cannot be, the cluster cannot be reached, or a record that is needed not be made. What fails
/// during a round is counted instead.
pub async fn run(args: &Bench, loaded: &Loaded, out: &Out) -> Result<(), Failure> {
    let plan = Plan::of(args)?;
    let mut waiting = Waiting::on_terminal(!out.quiet);
    waiting.show("making the records that are needed");
    let prepared = Load::prepared(&plan, loaded).await;
    waiting.clear();
    let loads = prepared?;
    let mut all: Vec<(Series, Arc<Load>)> = Vec::new();
    for clients in &plan.clients {
        let lanes = plan.lanes.iter().zip(&loads);
        all.extend(lanes.map(|(lane, load)| (Series::new(*clients, lane.word()), Arc::clone(load))));
    }
    let bar = bar(&plan, out.quiet)?;
    for number in 1..=plan.rounds {
        for (series, load) in &mut all {
            bar.set_message(format!("round {number} of {}, clients: {}", plan.rounds, series.clients));
            load.follow(&loaded.config).await;
            let machine = machine(loaded).await?;
            // Parts that were started again meanwhile are other processes.
            let servers = Servers::of(&loaded.path);
            let round = measure(load, series.clients, &plan, &servers, machine, &bar).await;
            bar.suspend(|| out.say(&line(number, &plan, series, &round)));
            series.rounds.push(round);
        }
    }
    bar.finish_and_clear();
    let all: Vec<Series> = all.into_iter().map(|(series, _)| series).collect();
    out.answer(&report(&plan, &all));
    all.iter().find_map(nothing_done).map_or(Ok(()), Err)
}

/// Why so many clients got nothing done; `None`: they did.
fn nothing_done(series: &Series) -> Option<Failure> {
    let tally = series.tally();
    if tally.answered > 0 {
        return None;
    }
    let most = tally.errors.into_iter().max_by_key(|(_, count)| *count);
    let why = most.map_or_else(String::new, |(reason, _)| format!(": {reason}"));
    Some(Failure::unreachable(format!("nothing was done with --clients {}{why}", series.clients)))
}

async fn machine(loaded: &Loaded) -> Result<Machine, Failure> {
    let folder = loaded.folder();
    let measured = tokio::task::spawn_blocking(move || Machine::measured(&folder)).await;
    measured.map_err(|e| Failure::refused(format!("measuring the machine was cut off: {e}")))
}

/// A progress bar over the milliseconds of all rounds; without a terminal it is hidden.
fn bar(plan: &Plan, quiet: bool) -> Result<ProgressBar, Failure> {
    if quiet {
        return Ok(ProgressBar::hidden());
    }
    let rounds = plan.rounds * plan.clients.len() * plan.lanes.len();
    let all = (plan.warm_up + plan.span).as_millis() * rounds as u128;
    let all = u64::try_from(all).map_err(|_| Failure::usage("so many rounds never end"))?;
    let style = "{prefix:>9} {bar:30} {percent:>3} % {eta:>4}  {msg}";
    let style = ProgressStyle::with_template(style).expect("the template is right");
    Ok(ProgressBar::new(all).with_style(style).with_prefix(plan.work.word()))
}
