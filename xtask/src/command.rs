//! Running other programs: always from the root of the repository, always said aloud before.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The root of the repository, wherever the caller stands.
pub(crate) fn root() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap_or(root)
}

/// The cargo that runs this, at the root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The folder into which cargo builds: this program is in it, in a folder of its profile.
pub(crate) fn target() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("this program does not know its path")?;
    let target = this.parent().and_then(Path::parent).context("this program is in no target folder")?;
    Ok(target.to_owned())
}

/// What a command looks like on a command line.
fn spoken(command: &Command) -> String {
    let settings = command
        .get_envs()
        .filter(|(name, _)| *name != "PATH")
        .filter_map(|(name, value)| Some(format!("{}='{}'", name.display(), value?.display())));
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program()).display().to_string();
    let arguments = command.get_args().map(|argument| argument.display().to_string());
    settings.chain(std::iter::once(program)).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Runs a command with its output shown; fails if it does.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let spoken = spoken(command);
    eprintln!("$ {spoken}");
    let status = command.status().with_context(|| format!("cannot run {spoken}"))?;
    if !status.success() {
        bail!("{spoken}: {status}");
    }
    Ok(())
}

/// Runs a command, and shows its output when it has ended; fails if it does.
pub(crate) fn run_quietly(command: &mut Command) -> anyhow::Result<()> {
    let spoken = spoken(command);
    let output = command.output().with_context(|| format!("cannot run {spoken}"))?;
    eprint!("$ {spoken}\n{}", String::from_utf8_lossy(&output.stderr));
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        bail!("{spoken}: {}", output.status);
    }
    Ok(())
}

/// Runs a command and returns what it wrote to standard output; fails if it does.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let spoken = spoken(command);
    eprintln!("$ {spoken}");
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {spoken}"))?;
    if !output.status.success() {
        bail!("{spoken}: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{spoken}: the output is not UTF-8"))
}

/// Whether a command can be run and succeeds; its output is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_said_as_it_would_be_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").env("PATH", "/x");
        assert_eq!(spoken(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn a_command_that_fails_or_is_not_there_is_an_error_that_names_it() {
        let failed = run(&mut Command::new("false")).expect_err("it fails").to_string();
        assert!(failed.contains("false: exit status: 1"), "{failed}");
        let absent = run(&mut Command::new("no-such-program-here")).expect_err("it is not there").to_string();
        assert!(absent.contains("no-such-program-here"), "{absent}");
        assert!(!succeeds(&mut Command::new("no-such-program-here")));
        let failed = run_quietly(&mut Command::new("false")).expect_err("it fails").to_string();
        assert!(failed.contains("false: exit status: 1"), "{failed}");
    }
}
