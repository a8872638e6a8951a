//! The command: read, send, write the refused lines, check, report.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::check::{Totals, first_difference, totals};
use super::plan::{Plan, read};
use super::refused::RefusedFile;
use super::report::{CONFIRMED, report};
use super::send::{Importer, Refusals};
use crate::admin::paging::{Part, prefixed};
use crate::admin::products;
use crate::exchange::encoding::{Decoded, Encoding};
use crate::failure::Failure;
use crate::reach::portals::Portals;
use crate::show::answer::{Answer, counted};
use crate::show::out::Out;

/// A list of products may come from caches; after their lease it must be right.
const CHECK_MAX: Duration = Duration::from_secs(10);

/// What to import and how.
#[derive(Clone, Debug)]
pub struct Job {
    /// The file.
    pub file: PathBuf,
    /// How it is written; `None`: UTF-8, line by line.
    pub encoding: Option<Encoding>,
    /// Where refused lines are listed; `None`: beside us, named after the file.
    pub refused: Option<PathBuf>,
    /// Requests at once.
    pub in_flight: usize,
    /// Part of every request id.
    pub label: String,
    /// Compare the products' stock with the totals at the end.
    pub check: bool,
}

/// Imports; what came of it, and the totals.
///
/// # Errors
/// The file cannot be read, a portal cannot be reached, or the totals are not right.
pub async fn run(
    job: &Job,
    admin: &Portals,
    shops: &[Portals],
    out: &Out,
) -> Result<(Answer, Totals), Failure> {
    let path = job.refused.clone().unwrap_or_else(|| refused_beside(&job.file));
    let refused = RefusedFile::open(&path, &job.file)?;
    let (file, encoding) = (job.file.clone(), job.encoding);
    let planned = tokio::task::spawn_blocking(move || plan_of(&file, encoding)).await;
    let plan = planned.map_err(|e| Failure::refused(format!("reading the file was cut off: {e}")))??;
    out.say(&format!(
        "{}: {}, {}, {}; {} refused as it stands in the file",
        counted(plan.lines, "line"),
        counted(plan.clients.len(), "client"),
        counted(plan.products.len(), "product"),
        counted(plan.orders.len(), "order"),
        counted(plan.refused.len(), "line")
    ));
    let began = Instant::now();
    let (in_flight, label, next) = (job.in_flight, job.label.clone(), 0.into());
    let refusals = Importer { admin, shops, in_flight, label, next }.send(&plan).await?;
    let took = began.elapsed();
    let totals = totals(&plan, &refusals);
    if totals.orders > 0 {
        out.say(CONFIRMED);
    }
    refused.write(&totals.refused)?;
    out.say(&format!(
        "what was refused is listed in {} ({})",
        path.display(),
        counted(totals.refused.len(), "line")
    ));
    if totals.accepted + totals.refused.len() as u64 != totals.lines {
        return Err(Failure::refused(format!(
            "totals: {} accepted and {} refused are not {} lines",
            totals.accepted,
            totals.refused.len(),
            totals.lines
        )));
    }
    if job.check {
        check(admin, &plan, &totals, &refusals).await?;
        out.say("checked: every product has what the orders leave of it, and orders hold the rest");
    }
    Ok((report(&plan, &totals, &refusals, took), totals))
}

/// Only counts; sends nothing.
///
/// # Errors
/// The file cannot be read.
pub fn dry_run(job: &Job) -> Result<Answer, Failure> {
    let plan = plan_of(&job.file, job.encoding)?;
    let none = Refusals::default();
    let totals = totals(&plan, &none);
    Ok(report(&plan, &totals, &none, Duration::ZERO))
}

fn plan_of(file: &Path, encoding: Option<Encoding>) -> Result<Plan, Failure> {
    let failed = |error| Failure::file("open", file, &error);
    let input = BufReader::with_capacity(1 << 20, File::open(file).map_err(failed)?);
    match encoding {
        Some(_) => read(&mut BufReader::new(Decoded::open(input, encoding).map_err(failed)?)),
        None => read(&mut { input }),
    }
}

fn refused_beside(file: &Path) -> PathBuf {
    let stem = file.file_stem().map_or_else(|| "import".into(), |stem| stem.to_string_lossy().into_owned());
    PathBuf::from(format!("{stem}.refused.csv"))
}

async fn check(admin: &Portals, plan: &Plan, totals: &Totals, refusals: &Refusals) -> Result<(), Failure> {
    let deadline = Instant::now() + CHECK_MAX;
    loop {
        let there = products::list(admin, &prefixed(""), Part::default()).await?.items;
        let Some(difference) = first_difference(plan, totals, refusals, &there) else { return Ok(()) };
        if Instant::now() >= deadline {
            return Err(Failure::refused(format!("totals: {difference}"))
                .next("if others order at the same time, import with --no-check and use feira audit"));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
