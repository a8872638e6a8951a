//! mosquitto, the one program that the tests need besides Rust and a C compiler: found, or installed.
//!
//! Installing happens only as root on a system with apt-get; otherwise the error says what to do. The package's
//! service is not started: a `policy-rc.d` that forbids it stands while apt-get runs, and the service is disabled
//! afterwards, so nothing is left listening on port 1883.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::command::succeeds;
use crate::package;

/// Where a package puts it; not in everybody's PATH.
const USUAL_FOLDERS: &[&str] = &["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"];

/// Debian's way to say whether services may be started while packages are installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The folder of the program `mosquitto`, if it is installed.
fn folder() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).collect::<Vec<_>>();
    in_path.into_iter().chain(USUAL_FOLDERS.iter().map(PathBuf::from)).find(|f| f.join("mosquitto").is_file())
}

/// Puts the folder of mosquitto into a command's PATH, if it is not in everybody's.
pub(crate) fn put_in_path(command: &mut Command) {
    if let Some(folder) = folder() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::env::split_paths(&path).chain(std::iter::once(folder));
        if let Ok(joined) = std::env::join_paths(all) {
            command.env("PATH", joined);
        }
    }
}

/// Finds mosquitto, or installs it.
pub(crate) fn ensure() -> anyhow::Result<()> {
    if let Some(folder) = folder() {
        eprintln!("mosquitto is there: {}", folder.join("mosquitto").display());
        return Ok(());
    }
    if !package::can_install() {
        bail!(
            "the tests need mosquitto, which is not installed and which only root on Debian or Ubuntu can install \
             from here: install the package mosquitto (apt-get install mosquitto, dnf install mosquitto, brew \
             install mosquitto), or leave out the tests with --skip setup --skip test"
        );
    }
    eprintln!("mosquitto is not there: installing it, without starting its service");
    let _no_services = NoServices::begin()?;
    package::install("mosquitto")?;
    folder().context("apt-get installed mosquitto, but it is not where programs are")?;
    // The package enables its service for the next boot; the tests start their own mosquitto on ports of their own.
    if succeeds(Command::new("systemctl").args(["disable", "--now", "mosquitto"])) {
        eprintln!("its service is disabled; systemctl enable --now mosquitto undoes that");
    }
    Ok(())
}

/// While this lives, packages do not start services.
struct NoServices {
    /// The policy was put there by us and goes with us.
    ours: bool,
}

impl NoServices {
    fn begin() -> anyhow::Result<NoServices> {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(POLICY);
        match file {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(NoServices { ours: false }),
            Err(error) => return Err(error).with_context(|| format!("cannot write {POLICY}")),
        }
        // From here on it is removed whatever happens.
        let policy = NoServices { ours: true };
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(Path::new(POLICY), fs::Permissions::from_mode(0o755))?;
        Ok(policy)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("cannot remove {POLICY}: {error}; remove it, or no service will start on this machine");
        }
    }
}
