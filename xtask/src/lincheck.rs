//! `cargo xtask lincheck`: judges histories in files. The checker is the crate `feira-lincheck`.
//!
//! Promises: a line `FILE<tab>verdict` on standard output for each file that was judged, everything else on standard
//! error; exit code 0 if all are linearizable, 1 if some are not, 2 if some could not be judged (no history, or the
//! limits were too narrow), whatever the others are. One bad file does not keep the others from being judged.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use feira_lincheck::Limits;
use feira_lincheck::dialect::check::{FileReport, ModelName, check_lines};

/// What to judge, and how hard to try.
#[derive(Args)]
pub(crate) struct Lincheck {
    /// The model of the histories; without it, the one whose functions are in the file
    #[arg(long, value_parser = PossibleValuesParser::new(ModelName::NAMES).try_map(|name| name.parse::<ModelName>()))]
    model: Option<ModelName>,
    /// Steps for each key before it is left undecided
    #[arg(long, value_name = "N", default_value_t = Limits::default().steps_max,
          value_parser = clap::value_parser!(u64).range(1..=Limits::STEPS_MAX))]
    steps: u64,
    /// Seconds for each file before it is left undecided
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Say of each file how many operations it has, and how many steps and how long it took
    #[arg(long, short)]
    verbose: bool,
    /// Histories: a JSON object a line
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Some history is not linearizable.
const NOT_LINEARIZABLE: u8 = 1;
/// Some history could not be judged.
const NOT_CHECKED: u8 = 2;

/// Checks the files one after another.
pub(crate) fn run(asked: &Lincheck) -> ExitCode {
    let codes = asked.files.iter().map(|file| match check_file(asked, file) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}: {error:#}", file.display());
            NOT_CHECKED
        }
    });
    ExitCode::from(codes.fold(0, u8::max))
}

fn check_file(asked: &Lincheck, file: &Path) -> anyhow::Result<u8> {
    let begun = Instant::now();
    let input = File::open(file).context("cannot be opened")?;
    let limits = Limits { steps_max: asked.steps, time_max: Some(Duration::from_secs(asked.seconds)) };
    let FileReport { model, operations, word, why, steps } =
        check_lines(BufReader::new(input), asked.model, &limits)?;
    println!("{}\t{word}", file.display());
    if model.is_none() {
        eprintln!("{}: there is no operation in it", file.display());
    }
    if asked.verbose {
        let model = model.map_or_else(|| "any model".to_owned(), |model| model.to_string());
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!("{}: {model}, {operations} operations, {steps} steps, {seconds:.3} s", file.display());
    }
    for line in why {
        eprintln!("  {line}");
    }
    Ok(match word {
        "linearizable" => 0,
        "not-linearizable" => NOT_LINEARIZABLE,
        _ => NOT_CHECKED,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::root;

    fn asked(model: Option<ModelName>, steps: u64) -> Lincheck {
        Lincheck { model, steps, seconds: 60, verbose: true, files: Vec::new() }
    }

    fn history(name: &str) -> PathBuf {
        root().join("tests/lincheck/histories").join(name)
    }

    #[test]
    fn the_code_says_what_came_of_a_file() {
        let yes = history("linearizable/register-two-cas-one-wins.jsonl");
        let no = history("not-linearizable/register-stale-read.jsonl");
        let any = asked(None, 1_000);
        assert_eq!(check_file(&any, &yes).unwrap(), 0);
        assert_eq!(check_file(&any, &no).unwrap(), NOT_LINEARIZABLE);
        assert_eq!(check_file(&asked(None, 1), &yes).unwrap(), NOT_CHECKED);
        let other = check_file(&asked(Some(ModelName::KvAppend), 1_000), &no).unwrap_err();
        assert_eq!(format!("{other:#}"), "line 1: the model kv-append has no function \"write\"");
        let absent = check_file(&any, &history("no-such-history.jsonl")).unwrap_err();
        assert!(format!("{absent:#}").starts_with("cannot be opened: "), "{absent:#}");
    }

    #[test]
    fn the_worst_of_several_files_decides_and_all_are_checked() {
        let files = |names: &[&str]| {
            let files = names.iter().map(|name| history(name)).collect();
            format!("{:?}", run(&Lincheck { files, ..asked(None, 1_000) }))
        };
        let yes = "linearizable/append-keys-apart.jsonl";
        let no = "not-linearizable/append-lost.jsonl";
        let code = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(files(&[yes]), code(0));
        assert_eq!(files(&[yes, no, yes]), code(NOT_LINEARIZABLE));
        assert_eq!(files(&["no-such-history.jsonl", no, yes]), code(NOT_CHECKED));
    }
}
