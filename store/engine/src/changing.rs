//! A change of members that was asked for at this leader, from its beginning until it is committed.

use proto::store as wire;
use store_core::Offset;

use crate::job::RequestId;

/// See the module.
#[derive(Debug)]
pub(crate) struct Changing {
    /// The request.
    pub(crate) request_id: RequestId,
    /// The member that it brings, with its address.
    pub(crate) newcomer: Option<wire::Member>,
    /// The membership that it leads to stands here: done when that is committed.
    pub(crate) done_at: Option<Offset>,
}
