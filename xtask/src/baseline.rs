//! The baseline of the instruction counts: a file of `name = value` lines, conditions first, then counts.
//!
//! Counts depend on the conditions under which a program was built and counted. Promises: counts are compared only under
//! the conditions of the baseline; the file is written by one atomic rename, sorted as the program lists its scenarios.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::callgrind;
use crate::command::output;

/// What stands at the top of the file.
const HEADING: &str =
    "# Instructions an operation, written by `cargo xtask bench-guard --write`, never by hand.\n";

/// The line that ends the conditions.
const COUNTS: &str = "[instructions]";

/// What was counted, and under which conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Baseline {
    /// Compiler, target, profile, flags, valgrind, C library and vector instructions, by name.
    pub(crate) conditions: Vec<(String, String)>,
    /// Instructions an operation, by scenario.
    pub(crate) counts: Vec<(String, u64)>,
}

/// The conditions here, for a program that is built in this profile.
pub(crate) fn conditions(profile: &str) -> anyhow::Result<Vec<(String, String)>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = output(Command::new(rustc).arg("-vV").current_dir(crate::command::root()))?;
    let target = said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("unknown");
    let flags = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"]
        .map(|name| std::env::var(name).unwrap_or_default())
        .join(" ");
    let library = output(Command::new("getconf").arg("GNU_LIBC_VERSION"));
    let library = library.unwrap_or_else(|_| "unknown".to_owned());
    let all = [
        ("rustc", said.lines().next().unwrap_or_default()),
        ("target", target),
        ("profile", profile),
        ("flags", flags.trim()),
        ("valgrind", &callgrind::version()?),
        ("library", library.trim()),
        ("vectors", vectors()),
    ];
    Ok(all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

/// The vector instructions by which the C library chooses how to copy bytes.
fn vectors() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    match () {
        () if std::is_x86_feature_detected!("avx2") => return "avx2",
        () if std::is_x86_feature_detected!("avx") => return "avx",
        () => {}
    }
    "basic"
}

impl Baseline {
    /// Reads a baseline.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Baseline> {
        let text = fs::read_to_string(path).with_context(|| {
            format!("cannot read {}; cargo xtask bench-guard --write makes it", path.display())
        })?;
        Baseline::parse(&text).with_context(|| format!("{} is no baseline", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Baseline> {
        let (mut baseline, mut in_counts) = (Baseline::default(), false);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line == COUNTS {
                in_counts = true;
                continue;
            }
            let Some((name, value)) = line.split_once('=') else {
                bail!("line {number}: {line:?} is not \"name = value\"");
            };
            let (name, value) = (name.trim().to_owned(), value.trim());
            if in_counts {
                let count = value.parse().ok().filter(|count| *count > 0);
                let count = count.with_context(|| format!("line {number}: {value:?} is no count"))?;
                baseline.counts.push((name, count));
            } else {
                baseline.conditions.push((name, value.trim_matches('"').to_owned()));
            }
        }
        Ok(baseline)
    }

    /// Replaces the file.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let new = path.with_extension("new");
        let renamed = fs::write(&new, self.text()).and_then(|()| fs::rename(&new, path));
        renamed.with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self) -> String {
        let mut text = HEADING.to_owned();
        for (name, value) in &self.conditions {
            let _ = writeln!(text, "{name} = \"{value}\"");
        }
        let _ = writeln!(text, "\n{COUNTS}");
        for (name, count) in &self.counts {
            let _ = writeln!(text, "{name} = {count}");
        }
        text
    }

    /// The count of a scenario.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        self.counts.iter().find(|(one, _)| one == name).map(|(_, count)| *count)
    }

    /// The conditions that are others here: name, in the baseline, here.
    pub(crate) fn differences<'a>(
        &'a self,
        here: &'a [(String, String)],
    ) -> Vec<(&'a str, &'a str, &'a str)> {
        let value = |of: &'a [(String, String)], name: &str| {
            of.iter().find(|(one, _)| one == name).map_or("", |(_, value)| value.as_str())
        };
        let names = here.iter().map(|(name, _)| name.as_str());
        let all = names.map(|name| (name, value(&self.conditions, name), value(here, name)));
        all.filter(|(_, then, now)| then != now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline() -> Baseline {
        let conditions = [("rustc", "rustc 1.95.0 (59807616e)"), ("flags", "")];
        let conditions = conditions.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Baseline { conditions: conditions.to_vec(), counts: vec![("core-leader".to_owned(), 1_234)] }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = baseline().text();
        assert_eq!(Baseline::parse(&text).unwrap(), baseline());
        assert_eq!((baseline().count("core-leader"), baseline().count("other")), (Some(1_234), None));
    }

    #[test]
    fn a_file_that_is_no_baseline_is_told_by_its_line() {
        let without = Baseline::parse("[instructions]\ncore-leader\n").unwrap_err().to_string();
        assert_eq!(without, "line 2: \"core-leader\" is not \"name = value\"");
        for value in ["many", "0", "-1"] {
            let text = format!("\n[instructions]\ncore-leader = {value}\n");
            let wrong = Baseline::parse(&text).unwrap_err().to_string();
            assert_eq!(wrong, format!("line 3: \"{value}\" is no count"));
        }
    }

    #[test]
    fn conditions_that_differ_are_named() {
        let mut here = baseline().conditions;
        assert_eq!(baseline().differences(&here), []);
        here[0].1 = "rustc 1.96.0".to_owned();
        here.push(("library".to_owned(), "glibc 2.36".to_owned()));
        let expected = [("rustc", "rustc 1.95.0 (59807616e)", "rustc 1.96.0"), ("library", "", "glibc 2.36")];
        assert_eq!(baseline().differences(&here), expected);
    }
}
