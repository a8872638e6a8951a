//! Named places where a crash test can stop the process (crate `fail`, feature `failpoints`). Without the
//! feature a step is nothing. Promises that the names are those listed in the crate's documentation.

/// Passes the fail point `place.step`, for example `vote.synced`.
pub(crate) fn step(place: &str, step: &str) {
    if cfg!(feature = "failpoints") {
        let name = format!("{place}.{step}");
        fail::fail_point!(&name);
        drop(name);
    }
}
