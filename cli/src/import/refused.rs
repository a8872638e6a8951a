//! The file of refused lines: number and reason of each, in the order of the input.

use std::path::Path;

use super::classify::Reason;
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

/// Writes the file whole, replacing one that is there.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, entries: &[Entry]) -> Result<(), Failure> {
    let failed = |error: csv::Error| Failure::refused(format!("cannot write {}: {error}", path.display()));
    let mut file = csv::Writer::from_path(path).map_err(failed)?;
    file.write_record(["line", "reason", "detail"]).map_err(failed)?;
    for entry in entries {
        file.write_record([entry.number.to_string().as_str(), entry.reason.words(), &entry.detail])
            .map_err(failed)?;
    }
    file.flush().map_err(|error| Failure::file("write", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refused_line_is_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("refused.csv");
        let entry = |number, detail: &str| Entry { number, reason: Reason::ByPortal, detail: detail.into() };
        write(&path, &[entry(2, "a, \"b\""), entry(9, "")]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "line,reason,detail\n2,refused by the portal,\"a, \"\"b\"\"\"\n9,refused by the portal,\n"
        );
    }
}
