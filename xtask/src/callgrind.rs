//! callgrind, which counts a program's instructions: found with valgrind, or installed, and run.
//!
//! The counted program gets an empty environment but for the paths, so that the caller's does not move its stack. Its counts stay in
//! a file that `callgrind_annotate` reads.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::command::{output, run, succeeds};
use crate::package;

/// Variables that the counted program and valgrind keep.
const KEPT: [&str; 2] = ["PATH", "VALGRIND_LIB"];

/// The line of a file of counts that has the sum.
const SUM: &str = "totals:";

/// Finds valgrind, or installs it.
pub(crate) fn ensure() -> anyhow::Result<()> {
    if succeeds(Command::new("valgrind").arg("--version")) {
        return Ok(());
    }
    if !package::can_install() {
        bail!(
            "instructions are counted by valgrind, which is not installed and which only root on Debian or Ubuntu \
             can install from here: install the package valgrind (apt-get install valgrind, dnf install valgrind)"
        );
    }
    eprintln!("valgrind is not there: installing it");
    package::install("valgrind")
}

/// The version of valgrind.
pub(crate) fn version() -> anyhow::Result<String> {
    Ok(output(Command::new("valgrind").arg("--version"))?.trim().to_owned())
}

/// The instructions of `program` with these arguments, from its start to its end; `counts` is the file they are left in.
pub(crate) fn instructions(program: &Path, arguments: &[&str], counts: &Path) -> anyhow::Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind"]);
    command.arg(format!("--callgrind-out-file={}", counts.display())).arg(program).args(arguments);
    command.env_clear();
    command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    run(&mut command)?;
    let text = fs::read_to_string(counts).with_context(|| format!("cannot read {}", counts.display()))?;
    sum(&text).with_context(|| format!("{} has no line \"{SUM} NUMBER\"", counts.display()))
}

fn sum(counts: &str) -> Option<u64> {
    counts.lines().find_map(|line| line.strip_prefix(SUM))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_read_from_a_file_of_counts() {
        assert_eq!(sum("version: 1\nevents: Ir\n\nfn=(1) main\n16 3\n\ntotals: 1234567\n"), Some(1_234_567));
        assert_eq!(sum("events: Ir\n"), None);
        assert_eq!(sum("totals: many\n"), None);
    }
}
