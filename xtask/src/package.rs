//! Programs that the system's packages bring: installed by apt-get, where that is possible.
//!
//! Leaves out how a program is found, and what to say where nothing can be installed.

use std::process::Command;

use anyhow::Context;

use crate::command::{output, run, succeeds};

/// Whether packages can be installed: this runs as root on a system with apt-get.
pub(crate) fn can_install() -> bool {
    let is_root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    is_root && succeeds(Command::new("apt-get").arg("--version"))
}

/// Installs a package.
pub(crate) fn install(package: &str) -> anyhow::Result<()> {
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "--yes", "--no-install-recommends", package]);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command)
    };
    if install().is_err() {
        // A system without package lists, as in a fresh container.
        run(Command::new("apt-get").arg("update")).with_context(|| format!("cannot install {package}"))?;
        install().with_context(|| format!("cannot install {package}"))?;
    }
    Ok(())
}
