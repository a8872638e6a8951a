//! `cargo xtask strangers` and `cargo xtask schemathesis`: clients of other people's making at a cluster that `feira up` runs.
//!
//! They are Python programs (`tests/strangers`). Their packages come from PyPI, each file by the hash in `requirements.txt`, into an
//! environment in the target folder, which is made anew when that file has changed. Where PyPI cannot be reached, that is an error:
//! nothing is left out without a word.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::command::{cargo, root, run, succeeds, target};
use crate::{mosquitto, package};

/// The package of Debian with Python's environments.
const VENV: &str = "python3-venv";

/// Exits with 0 if this Python will do.
const WILL_DO: &str = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))";

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The suite, with each broker.
    Suite,
    /// So many examples for each operation, from this seed.
    Schemathesis {
        /// For each operation.
        examples: u32,
        /// Of all choices.
        seed: u64,
    },
    /// Of both what takes less than a minute.
    Quick,
}

impl What {
    fn arguments(self) -> Vec<String> {
        let words = match self {
            What::Suite => "--suite".to_owned(),
            What::Schemathesis { examples, seed } => {
                format!("--schemathesis --examples {examples} --seed {seed}")
            }
            What::Quick => "--quick".to_owned(),
        };
        words.split(' ').map(str::to_owned).collect()
    }
}

/// Runs them at this program; without one feira is built.
pub(crate) fn serve(what: What, feira: Option<PathBuf>) -> anyhow::Result<()> {
    mosquitto::ensure()?;
    let folder = target()?.join("strangers");
    let python = environment(&folder)?;
    let feira = match feira {
        Some(feira) => feira,
        None => {
            run(cargo().args(["build", "--locked", "--package", "feira"]))?;
            built()?
        }
    };
    let mut command = Command::new(python);
    command.current_dir(root()).arg("-B").arg("tests/strangers/run.py");
    command.arg("--feira").arg(feira).arg("--folder").arg(folder.join("clusters"));
    mosquitto::put_in_path(&mut command);
    run(command.args(what.arguments()))
}

/// Where the step `build` and `cargo build` put feira.
pub(crate) fn built() -> anyhow::Result<PathBuf> {
    let feira = target()?.join("debug/feira");
    if !feira.is_file() {
        bail!("{} is not there; cargo xtask test --only build makes it", feira.display());
    }
    Ok(feira)
}

/// The Python of the environment that has the packages.
fn environment(folder: &Path) -> anyhow::Result<PathBuf> {
    let wanted = root().join("tests/strangers/requirements.txt");
    let text = fs::read_to_string(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    let environment = folder.join("environment");
    // Written when all is in it.
    let stamp = environment.join("requirements.txt");
    let python = environment.join("bin/python");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == text)
        && succeeds(Command::new(&python).arg("-V"))
    {
        return Ok(python);
    }
    let system = system_python()?;
    if environment.exists() {
        fs::remove_dir_all(&environment)
            .with_context(|| format!("cannot remove {}", environment.display()))?;
    }
    run(Command::new(system).args(["-m", "venv"]).arg(&environment))?;
    let mut install = Command::new(&python);
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "-r",
    ]);
    run(install.arg(&wanted)).context(
        "the strangers' clients need packages from PyPI, which could not be installed: see that https://pypi.org can be \
         reached (pip's own settings, such as PIP_INDEX_URL, are heeded), or leave them out with --skip strangers",
    )?;
    fs::write(&stamp, text).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}

/// A Python that makes environments, installed if that is possible.
fn system_python() -> anyhow::Result<&'static str> {
    let found = || {
        ["python3", "/usr/bin/python3"]
            .into_iter()
            .find(|python| succeeds(Command::new(python).args(["-c", WILL_DO])))
    };
    if let Some(python) = found() {
        return Ok(python);
    }
    if package::can_install() {
        eprintln!("no Python of 3.11 or later with venv is there: installing {VENV}");
        package::install(VENV)?;
    }
    found().with_context(|| {
        format!(
            "the strangers' clients need Python 3.11 or later with its modules venv and ensurepip (on Debian and Ubuntu the \
             package {VENV}): install it, or leave them out with --skip strangers"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run_is_said_as_the_program_takes_it() {
        let asked = What::Schemathesis { examples: 100, seed: 7 };
        assert_eq!(asked.arguments(), ["--schemathesis", "--examples", "100", "--seed", "7"]);
        assert_eq!(
            (What::Suite.arguments(), What::Quick.arguments()),
            (vec!["--suite".into()], vec!["--quick".into()])
        );
    }

    #[test]
    fn every_package_of_the_strangers_is_pinned_by_version_and_hash() {
        let text = fs::read_to_string(root().join("tests/strangers/requirements.txt")).expect("it is there");
        let packages: Vec<&str> =
            text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())).collect();
        assert!(packages.len() > 20 && packages.iter().all(|line| line.contains("==")), "{packages:?}");
        assert!(text.matches("--hash=sha256:").count() >= packages.len());
        let asked = fs::read_to_string(root().join("tests/strangers/requirements.in")).expect("it is there");
        for line in asked.lines().filter(|line| line.contains("==") && !line.starts_with('#')) {
            assert!(packages.iter().any(|package| package.starts_with(line)), "{line} is pinned otherwise");
        }
    }
}
