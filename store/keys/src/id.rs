//! The random identity of a cluster: two clusters may have one name, and never one id.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// A cluster's random identity; sixteen hexadecimal digits to people. On the wire 0 stands for "none".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(NonZeroU64);

impl ClusterId {
    /// The id of a wire's number; `None`: 0, no id.
    #[must_use]
    pub fn new(id: u64) -> Option<ClusterId> {
        NonZeroU64::new(id).map(ClusterId)
    }

    /// The number, never 0.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// Text that is no cluster id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cluster id is 16 hexadecimal digits, not all of them 0")]
pub struct NotAnId;

impl FromStr for ClusterId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<ClusterId, NotAnId> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        id.and_then(ClusterId::new).ok_or(NotAnId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown_and_nothing_else_is_one() {
        let id = ClusterId::new(0xABC).unwrap();
        assert_eq!(id.to_string(), "0000000000000abc");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in
            ["", "abc", "0000000000000000", "+000000000000abc", "0000000000000abcd", "000000000000ábc"]
        {
            assert_eq!(wrong.parse::<ClusterId>(), Err(NotAnId), "{wrong}");
        }
    }
}
