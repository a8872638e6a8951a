//! Every bound of a guarded socket, and how they relate.

use crate::descriptors;

/// Connections of one process at most, however many file descriptors it may have.
pub const CONNECTIONS_MAX: usize = 512;
/// And at least: with fewer nobody could be served.
pub const CONNECTIONS_MIN: usize = 16;
/// Places of users that members leave them.
pub const USERS_MIN: usize = 2;
/// The first bytes of a connection must have come within this, milliseconds.
pub const SILENT_MS_MAX: u64 = 5_000;
/// A connection that did nothing for this long may lose its place to a newcomer, milliseconds.
pub const IDLE_MS: u64 = 1_000;
/// How long a newcomer waits for the end of the connection that was closed for it, milliseconds.
pub const PLACE_MS_MAX: u64 = 1_000;
/// The first pause after the system has refused a connection, milliseconds.
pub const PAUSE_MS_MIN: u64 = 20;
/// The longest; each refusal in a row doubles it.
pub const PAUSE_MS_MAX: u64 = 640;

/// Bytes of answers not taken that one connection may make the process hold, and as many of requests under way.
pub const CONNECTION_BYTES_MAX: usize = 8 << 20;
/// Bytes that all connections together may.
pub const PROCESS_BYTES_MAX: usize = 64 << 20;
/// How long a request waits for room in these budgets before it is refused, milliseconds.
pub const ROOM_MS_MAX: u64 = 5_000;
/// A request that is no stream must have come whole within this, milliseconds; it is refused otherwise.
pub const REQUEST_MS_MAX: u64 = 20_000;
/// While others wait for room, so often the longest holder is looked for, milliseconds.
pub const RELIEF_MS: u64 = 100;
/// Whoever has not taken an answer for this long is cut if others need the room, milliseconds.
pub const HOLD_MS_MAX: u64 = 1_000;
/// Bytes of an answer handed to HTTP/2 at a time: what it may hold beyond the caller's window.
pub const PIECE_BYTES: usize = 16 << 10;
/// A message of an answer that is shorter is handed over in one piece, and nobody is charged for it any more: so much HTTP/2 may hold
/// of each request for a caller who takes nothing.
pub const SHORT_BYTES: usize = 1 << 10;
/// Bytes of a request's message that need no room of their own.
pub const REQUEST_BYTES_FREE: usize = 16 << 10;
/// Streams that one connection may have open: pipelines, change feeds, audits.
pub const STREAMS_MAX: usize = 64;
/// Flow-control window of a connection: what HTTP/2 may hold of requests that are not read.
pub const WINDOW_BYTES: u32 = 512 << 10;
/// And of each of its streams. From 0.4.16 on h2 ends a connection on which too many small DATA frames lie unread: each is
/// counted as what it lacks of [`FRAME_BYTES`], all together at most as half of the connection's window. This window holds a
/// stream of the smallest requests back before that.
pub const STREAM_WINDOW_BYTES: u32 = 24 << 10;
/// See [`STREAM_WINDOW_BYTES`].
const FRAME_BYTES: u32 = 256;
/// The smallest request that names a group and a key, in a frame of its own.
const REQUEST_BYTES_MIN: u32 = 24;
/// Requests of one connection that HTTP/2 lets run at once.
pub const REQUESTS_MAX: u32 = 256;
/// Bytes of the headers of one request over HTTP/2.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;
/// And over HTTP/1.1: hyper's own bound of what it reads ahead on a connection, which tonic 0.14 gives nobody to set. The head of a
/// request has to come within 30 s there.
pub const HTTP1_HEAD_BYTES_MAX: usize = 417_792;
/// Between pings to a caller who is silent, seconds; so long he may also take to answer one.
pub const PING_S: u64 = 5;

const _: () = assert!(CONNECTION_BYTES_MAX < PROCESS_BYTES_MAX, "one connection never takes all");
const _: () = assert!(
    CONNECTIONS_MAX * HTTP1_HEAD_BYTES_MAX <= 256 << 20,
    "what all may send of heads that do not end"
);
const _: () = assert!(CONNECTIONS_MIN <= CONNECTIONS_MAX);
const _: () =
    assert!(CONNECTIONS_MIN / 2 > USERS_MIN, "half of the places at least are users' if members need none");
const _: () =
    assert!(CONNECTIONS_MAX * (WINDOW_BYTES as usize) <= 256 << 20, "unread requests stay below 256 MiB");
const _: () = assert!(
    STREAM_WINDOW_BYTES / REQUEST_BYTES_MIN * (FRAME_BYTES - REQUEST_BYTES_MIN) <= WINDOW_BYTES / 2,
    "a stream of small requests is held back and not ended"
);
const _: () =
    assert!(REQUESTS_MAX as usize * PIECE_BYTES <= CONNECTION_BYTES_MAX, "what HTTP/2 holds is small");
const _: () = assert!(
    CONNECTIONS_MAX * REQUESTS_MAX as usize * SHORT_BYTES <= 128 << 20,
    "short answers that nobody takes stay below 128 MiB"
);
const _: () = assert!(HOLD_MS_MAX < ROOM_MS_MAX, "a holder is cut before those that wait are refused");

/// The places of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have not asked for anything yet.
    pub newcomers_max: usize,
    /// Connections that have.
    pub users_max: usize,
    /// Places that only members of the group have; whoever works elsewhere has none.
    pub members_kept: usize,
    /// Connections of members: those beyond the places that are kept take users' places.
    pub members_max: usize,
    /// Bytes of answers that one connection may make the process hold, and as many of requests.
    pub connection_bytes_max: usize,
    /// Bytes that all may.
    pub process_bytes_max: usize,
}

impl Limits {
    /// As many places as the process's file descriptors allow when `reserved` are kept for files and own connections. A
    /// quarter is for newcomers; up to a quarter is kept for members of the group. `members` places they have if they need
    /// them, or all but a few.
    #[must_use]
    pub fn of_process(reserved: usize, members: usize) -> Limits {
        Limits::of(descriptors::soft_limit(), reserved, members)
    }

    /// The same, when a process may have so many descriptors.
    #[must_use]
    pub fn of(descriptors: usize, reserved: usize, members: usize) -> Limits {
        let all = descriptors.saturating_sub(reserved).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
        let newcomers_max = all / 4;
        let members_kept = members.min(all / 4);
        let users_max = all - newcomers_max - members_kept;
        Limits {
            newcomers_max,
            users_max,
            members_kept,
            members_max: members.min(members_kept + users_max - USERS_MIN),
            connection_bytes_max: CONNECTION_BYTES_MAX,
            process_bytes_max: PROCESS_BYTES_MAX,
        }
    }

    /// Connections in all.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.newcomers_max + self.users_max + self.members_kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_within_the_descriptors_and_leave_what_is_reserved() {
        for (descriptors, reserved, members) in
            [(1_024, 64, 16), (64, 32, 8), (1 << 20, 64, 0), (256, 48, 16)]
        {
            let limits = Limits::of(descriptors, reserved, members);
            assert!(limits.connections_max() + reserved <= descriptors.max(CONNECTIONS_MAX + reserved));
            assert!(limits.connections_max() <= descriptors - reserved, "{limits:?}");
            assert!(limits.newcomers_max >= 4 && limits.users_max >= 8, "{limits:?}");
        }
        // Four other members of a group of five, with two connections each, at a node of 64 files.
        let small = Limits::of(64, 48, 30);
        assert!(small.members_max >= 8 && small.connections_max() == CONNECTIONS_MIN, "{small:?}");
        let few = Limits::of(10, 32, 8);
        assert_eq!(few.connections_max(), CONNECTIONS_MIN, "never none");
    }
}
