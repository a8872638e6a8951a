//! `cargo xtask chaos` and `cargo xtask broker-faults`: builds the program and the runner as they are shipped, and runs it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::command::{cargo, run};

/// The runners of the tests' package.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runner {
    /// Faults of the store's nodes.
    Chaos,
    /// Faults of the broker.
    BrokerFaults,
}

/// Runs one of them with these arguments, in the caller's folder.
pub(crate) fn chaos(runner: Runner, arguments: &[OsString]) -> anyhow::Result<()> {
    let name = match runner {
        Runner::Chaos => "chaos",
        Runner::BrokerFaults => "broker_faults",
    };
    let packages = ["--package", "feira", "--package", "feira-tests", "--bin", "feira", "--bin", name];
    // Without the tests' fail points: what is measured is what is shipped.
    let build = ["build", "--release", "--locked", "--no-default-features"];
    run(cargo().args(build).args(packages))?;
    let folder = release()?;
    let mut command = Command::new(folder.join(name));
    run(command.arg("--feira").arg(folder.join("feira")).args(arguments))
}

/// Where cargo puts what it builds for release: beside the folder that this program was built into.
fn release() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("this program does not know its path")?;
    let target = this.parent().and_then(|profile| profile.parent());
    let Some(release) = target.map(|target| target.join("release")) else {
        bail!("{} is in no target folder", this.display());
    };
    Ok(release)
}
