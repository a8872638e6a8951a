//! The portals that a call may ask, and the facts about the call itself.

use std::time::Duration;

use super::named_channel::NamedChannel;
use crate::show::out::Out;
use proto::portal::RequestId;

/// The portals of one kind, and how insistently they are asked.
pub struct Places {
    /// Such as `admin portal`.
    pub kind: &'static str,
    /// Addresses, with the connections that are made when needed.
    pub all: Vec<(String, NamedChannel)>,
    /// How long a call is retried.
    pub patience: Duration,
    /// Told when an answer is lost and when that is settled.
    pub notices: Option<Out>,
}

/// What is known of a call, for retrying it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The request id of a write; `None`: it changes nothing.
    pub request: Option<&'a RequestId>,
    /// Whether "others kept changing it" is tried again too.
    pub insistent: bool,
}

/// A read.
pub const READ: Call<'static> = Call { request: None, insistent: false };

impl Call<'_> {
    /// A write under this request id.
    #[must_use]
    pub fn write(request: &RequestId) -> Call<'_> {
        Call { request: Some(request), insistent: false }
    }
}
