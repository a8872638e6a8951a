//! `cargo xtask bench-peers`: builds feira and the bench beside other systems, which is a workspace of its own, and runs it.
//!
//! The client of etcd needs `protoc` to be built: found, or installed as root on a system with apt-get, after saying so.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::command::{cargo, output, root, run, succeeds};

/// Packages of Debian with protoc and the schemas that every schema may import.
const PROTOC: [&str; 2] = ["protobuf-compiler", "libprotobuf-dev"];

/// Runs the bench with these arguments, in the caller's folder; feira is built with this profile.
pub(crate) fn bench(profile: &str, arguments: &[OsString]) -> anyhow::Result<()> {
    ensure_protoc()?;
    let peers = root().join("tests/peers");
    // Not with feira's: two workspaces would build each other's crates anew.
    let target = peers.join("target");
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--manifest-path"]).arg(peers.join("Cargo.toml"));
    run(build.arg("--target-dir").arg(&target))?;
    let mut bench = Command::new(target.join("release/bench-peers"));
    if is_measurement(arguments) {
        run(cargo().args(["build", "--locked", "--package", "feira", "--profile", profile]))?;
        bench.arg("--feira").arg(built(profile)?);
    }
    run(bench.args(arguments))
}

/// Whether these arguments need feira: an earlier run is drawn, and help is shown, without it.
fn is_measurement(arguments: &[OsString]) -> bool {
    let is_help = |word: &OsString| word == "--help" || word == "-h";
    !arguments.iter().any(is_help) && arguments.first().is_none_or(|word| word != "show" && word != "help")
}

/// Where cargo puts feira: beside the folder that this program was built into.
fn built(profile: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("this program does not know its path")?;
    let Some(target) = this.parent().and_then(|own| own.parent()) else {
        bail!("{} is in no target folder", this.display());
    };
    // Cargo's name for the folder of the profile `dev` is older than profiles.
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target.join(folder).join("feira"))
}

/// Finds protoc, or installs it.
fn ensure_protoc() -> anyhow::Result<()> {
    if std::env::var_os("PROTOC").is_some() || succeeds(Command::new("protoc").arg("--version")) {
        return Ok(());
    }
    let root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root || !succeeds(Command::new("apt-get").arg("--version")) {
        bail!(
            "the client of etcd needs protoc to be built, which is not installed and which only root on Debian or Ubuntu can \
             install from here: install {} (apt-get install, brew install protobuf), or name it in PROTOC",
            PROTOC.join(" and ")
        );
    }
    eprintln!("protoc is not there: installing {}", PROTOC.join(" and "));
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "--yes", "--no-install-recommends"]).args(PROTOC);
        run(command.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if install().is_err() {
        // A system without package lists, as in a fresh container.
        run(Command::new("apt-get").arg("update")).context("cannot install protoc")?;
        install().context("cannot install protoc")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_measures_nothing_needs_no_feira() {
        let needs =
            |line: &str| is_measurement(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>());
        assert!(needs("") && needs("--rounds 1 --works put"));
        assert!(!needs("show run.json --plots") && !needs("--help") && !needs("--rounds 1 -h"));
    }
}
