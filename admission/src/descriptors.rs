//! The process's bound on open files, which connections count against.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that a system gives a process unless told otherwise.
const USUAL: usize = 1_024;

/// Raises the soft bound to the hard one, as every process may; what it is then.
pub fn raise() -> usize {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "the bound on open files cannot be raised");
    }
    soft_limit()
}

/// How many files the process may have open now.
#[must_use]
pub fn soft_limit() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_bound_is_raised_to_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a bound");
        // Where the two are the same from the start there would be nothing to raise.
        setrlimit(Resource::RLIMIT_NOFILE, hard - 1, hard).expect("a lower one is always allowed");
        assert_eq!(raise() as u64, hard);
        assert_eq!(soft_limit() as u64, hard);
    }
}
