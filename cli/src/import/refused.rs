//! The file of refused lines: number and reason of each, in the order of the input.
//!
//! Promises: it is opened before anything is sent, so that one that cannot be written stops an import that has done
//! nothing yet; it is never the input, by whatever name; a regular file has its new contents whole or the old ones.

use std::io::Write;
use std::path::Path;

use super::classify::Reason;
use crate::exchange::target::{Target, is_another};
use crate::failure::Failure;

/// A refused line with what the portal said, if it was the portal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// Its number in the file.
    pub number: u64,
    /// Why.
    pub reason: Reason,
    /// In the portal's words.
    pub detail: String,
}

/// The file, opened.
#[derive(Debug)]
pub struct RefusedFile {
    to: Target,
}

impl RefusedFile {
    /// Opens it for the refused lines of `input`.
    ///
    /// # Errors
    /// It is the input itself, a folder, or cannot be written.
    pub fn open(path: &Path, input: &Path) -> Result<RefusedFile, Failure> {
        is_another(path, input)?;
        Ok(RefusedFile { to: Target::open(path)? })
    }

    /// Writes it whole, replacing one that is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(mut self, entries: &[Entry]) -> Result<(), Failure> {
        let written = rows(&mut self.to, entries);
        written.map_err(|error| self.to.failure(&error))?;
        self.to.publish()
    }
}

fn rows(to: &mut impl Write, entries: &[Entry]) -> Result<(), csv::Error> {
    let mut file = csv::Writer::from_writer(to);
    file.write_record(["line", "reason", "detail"])?;
    for entry in entries {
        file.write_record([entry.number.to_string().as_str(), entry.reason.words(), &entry.detail])?;
    }
    Ok(file.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refused_line_is_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let (path, input) = (folder.path().join("refused.csv"), folder.path().join("input.csv"));
        std::fs::write(&input, "x").unwrap();
        let entry = |number, detail: &str| Entry { number, reason: Reason::ByPortal, detail: detail.into() };
        let file = RefusedFile::open(&path, &input).unwrap();
        assert!(!path.exists(), "nothing is there before there is something to say");
        file.write(&[entry(2, "a, \"b\""), entry(9, "")]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "line,reason,detail\n2,refused by the portal,\"a, \"\"b\"\"\"\n9,refused by the portal,\n"
        );
        RefusedFile::open(Path::new("/dev/null"), &input).unwrap().write(&[entry(2, "")]).unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn the_list_of_refused_lines_is_never_written_over_the_input() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("input.csv");
        std::fs::write(&input, "the only copy").unwrap();
        let (hard, soft) = (folder.path().join("hard"), folder.path().join("soft"));
        std::fs::hard_link(&input, &hard).unwrap();
        std::os::unix::fs::symlink(&input, &soft).unwrap();
        for path in [&input, &hard, &soft, &folder.path().join("./input.csv")] {
            let failure = RefusedFile::open(path, &input).unwrap_err();
            assert!(failure.message.contains("is the file that is imported"), "{failure}");
        }
        assert_eq!(std::fs::read_to_string(&input).unwrap(), "the only copy");
        let nowhere = RefusedFile::open(&folder.path().join("no/refused.csv"), &input).unwrap_err();
        assert!(nowhere.message.contains("cannot write"), "{nowhere}");
        assert!(RefusedFile::open(folder.path(), &input).unwrap_err().message.contains("is a folder"));
    }
}
