//! The requests that wait: request ids of writes that are in the log but not committed, and of reads whose barrier has not
//! come. Promises that each request id leaves exactly once, and that their number is bounded: a write keeps its place until
//! it is applied, so that an applier that stands still fills memory no further than admission lets it.

use std::collections::VecDeque;

use store_core::{Offset, ReadId};

use crate::job::{RequestId, Shortage};
use crate::limits::{READS_WAITING_MAX, WRITE_BYTES_WAITING_MAX, WRITES_WAITING_MAX};

/// Writes appended by this leader and not applied, by offset.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// Not committed, in the order of the log.
    waiting: VecDeque<Write>,
    /// Committed and not applied. The applier has the request ids, too.
    applying: VecDeque<Write>,
    /// Bytes of the commands of both.
    bytes: usize,
    /// Where the appends end of which some are not committed.
    appends: VecDeque<Offset>,
}

#[derive(Debug)]
struct Write {
    offset: Offset,
    request_id: RequestId,
    bytes: usize,
}

impl Writes {
    /// Whether a command of `bytes` may join, if so many more are about to.
    pub(crate) fn admit(&self, more: usize, more_bytes: usize, bytes: usize) -> Result<(), Shortage> {
        if self.len() + more >= WRITES_WAITING_MAX {
            return Err(Shortage::Places);
        }
        if self.bytes + more_bytes + bytes > WRITE_BYTES_WAITING_MAX {
            return Err(Shortage::Bytes);
        }
        Ok(())
    }

    /// The command of `request_id` stands at `offset`.
    pub(crate) fn push(&mut self, offset: Offset, request_id: RequestId, bytes: usize) {
        assert!(self.waiting.back().is_none_or(|last| last.offset < offset), "offsets rise");
        self.bytes += bytes;
        self.waiting.push_back(Write { offset, request_id, bytes });
    }

    /// An append ends with what was pushed last.
    pub(crate) fn end_append(&mut self) {
        self.appends.extend(self.waiting.back().map(|last| last.offset));
    }

    /// Appends that are not committed.
    pub(crate) fn appends(&self) -> usize {
        self.appends.len()
    }

    /// Takes those that are committed. They keep their places until they are applied.
    pub(crate) fn take_up_to(&mut self, up_to: Offset) -> Vec<(Offset, RequestId)> {
        while self.appends.pop_front_if(|end| *end <= up_to).is_some() {}
        let count = self.waiting.partition_point(|write| write.offset <= up_to);
        let applying = &mut self.applying;
        let committed = self.waiting.drain(..count);
        committed
            .map(|write| {
                let taken = (write.offset, write.request_id);
                applying.push_back(write);
                taken
            })
            .collect()
    }

    /// Everything up to here is applied.
    pub(crate) fn applied(&mut self, up_to: Offset) {
        while let Some(write) = self.applying.pop_front_if(|write| write.offset <= up_to) {
            self.bytes -= write.bytes;
        }
    }

    /// Takes all that are not committed: nobody here will learn what becomes of them.
    pub(crate) fn take_all(&mut self) -> Vec<(Offset, RequestId)> {
        self.appends.clear();
        let lost = self.waiting.drain(..);
        let bytes = &mut self.bytes;
        lost.map(|write| {
            *bytes -= write.bytes;
            (write.offset, write.request_id)
        })
        .collect()
    }

    /// The request ids of those that are committed and not applied, after `answered`. They keep their places.
    pub(crate) fn applying(&self, answered: Offset) -> impl Iterator<Item = RequestId> {
        let open = self.applying.iter().filter(move |write| write.offset > answered);
        open.map(|write| write.request_id)
    }

    /// The last one that is committed and not applied.
    pub(crate) fn last_applying(&self) -> Option<Offset> {
        self.applying.back().map(|write| write.offset)
    }

    /// How many wait to be committed or applied.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.applying.len()
    }
}

/// Reads that wait. All that arrive in one poll share one barrier.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// The last number given to the core.
    last: ReadId,
    /// Those that wait for the core, by number.
    unconfirmed: VecDeque<(ReadId, Vec<RequestId>)>,
    /// Those that wait for an offset to be applied; offsets rise.
    ready: VecDeque<(Offset, Vec<RequestId>)>,
    /// How many wait in all.
    count: usize,
}

impl Reads {
    /// Whether one more may join `more` that are about to.
    pub(crate) fn admit(&self, more: usize) -> Result<(), Shortage> {
        if self.count + more >= READS_WAITING_MAX { Err(Shortage::Places) } else { Ok(()) }
    }

    /// Gives them a number.
    pub(crate) fn ask(&mut self, request_ids: Vec<RequestId>) -> ReadId {
        self.last.0 += 1;
        self.count += request_ids.len();
        self.unconfirmed.push_back((self.last, request_ids));
        self.last
    }

    /// The core says when those up to `up_to` may go.
    pub(crate) fn ready(&mut self, up_to: ReadId, at: Offset) {
        let at = self.ready.back().map_or(at, |(last, _)| at.max(*last));
        while let Some((_, request_ids)) = self.unconfirmed.pop_front_if(|(number, _)| *number <= up_to) {
            self.ready.push_back((at, request_ids));
        }
    }

    /// The core says that those up to `up_to` will not be answered here.
    pub(crate) fn take_failed(&mut self, up_to: ReadId) -> Vec<RequestId> {
        let mut failed = Vec::new();
        while let Some((_, request_ids)) = self.unconfirmed.pop_front_if(|(number, _)| *number <= up_to) {
            failed.extend(request_ids);
        }
        self.count -= failed.len();
        failed
    }

    /// Takes those that wait for something to be applied.
    pub(crate) fn take_unapplied(&mut self) -> Vec<RequestId> {
        let taken: Vec<RequestId> = self.ready.drain(..).flat_map(|(_, request_ids)| request_ids).collect();
        self.count -= taken.len();
        taken
    }

    /// Takes the next that may go now that `applied` is applied.
    pub(crate) fn take_ready(&mut self, applied: Offset) -> Option<(Offset, Vec<RequestId>)> {
        let (at, request_ids) = self.ready.pop_front_if(|(at, _)| *at <= applied)?;
        self.count -= request_ids.len();
        Some((at, request_ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_leave_once_and_give_their_bytes_back() {
        let mut writes = Writes::default();
        for i in 1..=3 {
            writes.push(Offset(i), RequestId(10 + i), 100);
        }
        assert_eq!(writes.take_up_to(Offset(2)), [(Offset(1), RequestId(11)), (Offset(2), RequestId(12))]);
        assert_eq!(writes.take_up_to(Offset(2)), []);
        writes.applied(Offset(1));
        assert_eq!((writes.bytes, writes.len()), (200, 2));
        assert_eq!(writes.applying(Offset(0)).collect::<Vec<_>>(), [RequestId(12)]);
        assert_eq!((writes.applying(Offset(2)).count(), writes.last_applying()), (0, Some(Offset(2))));
        assert_eq!(writes.take_all(), [(Offset(3), RequestId(13))]);
        assert_eq!((writes.bytes, writes.len()), (100, 1));
        writes.applied(Offset(9));
        assert_eq!((writes.bytes, writes.len()), (0, 0));
    }

    #[test]
    fn the_committed_and_not_applied_entries_are_bounded() {
        let mut writes = Writes::default();
        for i in 1..=WRITES_WAITING_MAX as u64 {
            writes.push(Offset(i), RequestId(i), 1);
        }
        assert_eq!(writes.take_up_to(Offset(u64::MAX)).len(), WRITES_WAITING_MAX);
        assert_eq!(writes.admit(0, 0, 1), Err(Shortage::Places), "the applier stands still");
        writes.applied(Offset(1));
        assert_eq!(writes.admit(0, 0, 1), Ok(()));
        writes.push(Offset(u64::MAX), RequestId(0), WRITE_BYTES_WAITING_MAX - WRITES_WAITING_MAX);
        assert_eq!(writes.take_up_to(Offset(u64::MAX)).len(), 1);
        writes.applied(Offset(2));
        assert_eq!(writes.admit(0, 0, 3), Err(Shortage::Bytes));
    }

    #[test]
    fn writes_are_bounded_by_slots_and_by_bytes() {
        let mut writes = Writes::default();
        assert_eq!(writes.admit(WRITES_WAITING_MAX - 1, 0, 1), Ok(()));
        assert_eq!(writes.admit(WRITES_WAITING_MAX, 0, 1), Err(Shortage::Places));
        writes.push(Offset(1), RequestId(1), WRITE_BYTES_WAITING_MAX - 10);
        assert_eq!(writes.admit(1, 4, 6), Ok(()));
        assert_eq!(writes.admit(1, 5, 6), Err(Shortage::Bytes));
    }

    #[test]
    fn reads_go_when_their_offset_is_applied_and_not_before() {
        let mut reads = Reads::default();
        let first = reads.ask(vec![RequestId(1), RequestId(2)]);
        let second = reads.ask(vec![RequestId(3)]);
        let third = reads.ask(vec![RequestId(4)]);
        reads.ready(first, Offset(5));
        reads.ready(second, Offset(9));
        assert_eq!(reads.take_ready(Offset(4)), None);
        assert_eq!(reads.take_ready(Offset(8)), Some((Offset(5), vec![RequestId(1), RequestId(2)])));
        assert_eq!(reads.take_ready(Offset(8)), None);
        assert_eq!(reads.take_failed(third), [RequestId(4)]);
        assert_eq!(reads.take_ready(Offset(9)), Some((Offset(9), vec![RequestId(3)])));
        assert_eq!(reads.count, 0);
    }
}
