//! The names of the files in a group folder (listed in [`crate::format`]). Leaves every other name alone.

/// The file whose lock says that the folder is in use.
pub(crate) const LOCK_FILE: &str = "lock";
/// The replica's identity.
pub(crate) const META: &str = "meta";
/// Epoch and vote.
pub(crate) const VOTE: &str = "vote";
/// Boot id and suspicion.
pub(crate) const BOOT: &str = "boot";
/// A bootstrap is under way.
pub(crate) const BOOTSTRAP: &str = "bootstrap";

/// The table is known to be wrong.
pub(crate) const QUARANTINE: &str = "fence";

/// The name of log file `number`.
pub(crate) fn log_file(number: u64) -> String {
    format!("log.{number}")
}

/// The name of snapshot `number`.
pub(crate) fn snapshot_file(number: u64) -> String {
    format!("snap.{number}")
}

/// The name of the transfer of another replica's snapshot `number`.
pub(crate) fn incoming_file(number: u64) -> String {
    format!("snap.{number}.incoming")
}

/// The name under which `name` is written until it is whole.
pub(crate) fn part(name: &str) -> String {
    format!("{name}.part")
}

/// Whether this is an unfinished write of one of our files.
pub(crate) fn is_part(name: &str) -> bool {
    name.strip_suffix(".part").is_some_and(|whole| {
        [META, VOTE, BOOT, BOOTSTRAP, QUARANTINE].contains(&whole)
            || log_number(whole).is_some()
            || snapshot_number(whole).is_some()
    })
}

/// X of `log.X`.
pub(crate) fn log_number(name: &str) -> Option<u64> {
    number(name.strip_prefix("log.")?)
}

/// X of `snap.X`.
pub(crate) fn snapshot_number(name: &str) -> Option<u64> {
    number(name.strip_prefix("snap.")?)
}

/// X of `snap.X.incoming`.
pub(crate) fn incoming_number(name: &str) -> Option<u64> {
    number(name.strip_prefix("snap.")?.strip_suffix(".incoming")?)
}

/// A decimal number as we write it: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_as_we_write_them_count() {
        assert_eq!(log_number("log.0"), Some(0));
        assert_eq!(log_number("log.01"), None);
        assert_eq!(log_number("log.+1"), None);
        assert_eq!(log_number("log.7.part"), None);
        assert_eq!(snapshot_number("snap.12"), Some(12));
        assert_eq!(snapshot_number("snap.12.incoming"), None);
        assert_eq!(incoming_number("snap.12.incoming"), Some(12));
        assert!(is_part("vote.part") && is_part("log.3.part") && is_part("snap.3.part"));
        assert!(!is_part("notes.part") && !is_part("snap.3.incoming"));
    }
}
