//! The router of answers: every ticket names a *recipient* (a pipeline stream, the unary calls, the house itself) and a
//! number that is the recipient's own. One batch of answers is one delivery, and one wake, for each recipient.
//!
//! ```text
//!   ticket = recipient (32 bits) ∘ number (32 bits)
//! ```
//!
//! Answers for a recipient that is gone are dropped: its caller has gone too.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use store_engine::{Answer, Reply, Ticket};
use tokio::sync::oneshot;

/// What a recipient is told about a number of its own.
#[derive(Debug)]
pub(crate) enum Told {
    /// By the node.
    Answer(Answer),
    /// By the applier.
    Reply(Reply),
}

/// Gets answers.
pub(crate) trait Recipient: Send + Sync {
    /// Takes all of `told`, in order; called by the node's thread and by the applier's.
    fn deliver(&self, told: &mut Vec<(u32, Told)>);

    /// Whether its requests must not be executed any more, because an earlier one was not.
    fn is_broken(&self) -> bool {
        false
    }

    /// No answer will ever come any more.
    fn close(&self);
}

/// The recipients by number.
#[derive(Default)]
pub(crate) struct Desk {
    recipients: Mutex<HashMap<u32, Arc<dyn Recipient>>>,
    /// The last number given out; never used twice in the life of a process.
    last: AtomicU32,
}

impl Desk {
    /// A new recipient, made with its number.
    pub(crate) fn register<R: Recipient + 'static>(&self, make: impl FnOnce(u32) -> R) -> Arc<R> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(number < u32::MAX, "a process does not serve four billion streams");
        let recipient = Arc::new(make(number));
        self.recipients.lock().insert(number, Arc::clone(&recipient) as Arc<dyn Recipient>);
        recipient
    }

    /// Forgets a recipient.
    pub(crate) fn leave(&self, number: u32) {
        self.recipients.lock().remove(&number);
    }

    /// Tells every recipient that no answer will ever come.
    pub(crate) fn close(&self) {
        let all: Vec<_> = self.recipients.lock().drain().map(|(_, recipient)| recipient).collect();
        for recipient in all {
            recipient.close();
        }
    }

    /// The ticket for `number` of a recipient.
    pub(crate) fn ticket(recipient: u32, number: u32) -> Ticket {
        Ticket(u64::from(recipient) << 32 | u64::from(number))
    }

    /// Delivers what `sorter` has collected.
    pub(crate) fn deliver(&self, sorter: &mut Sorter) {
        for (number, told) in &mut sorter.by_recipient {
            if told.is_empty() {
                continue;
            }
            let recipient = self.recipients.lock().get(number).cloned();
            match recipient {
                Some(recipient) => recipient.deliver(told),
                None => told.clear(),
            }
        }
        if sorter.by_recipient.len() > RECIPIENTS_KEPT {
            sorter.by_recipient.clear();
        }
    }
}

/// Recipients whose empty vectors are kept from batch to batch.
const RECIPIENTS_KEPT: usize = 64;

/// Sorts the answers of one batch by recipient, keeping their order. One for each thread.
#[derive(Default)]
pub(crate) struct Sorter {
    by_recipient: HashMap<u32, Vec<(u32, Told)>>,
}

impl Sorter {
    pub(crate) fn add(&mut self, ticket: Ticket, told: Told) {
        let (recipient, number) = parts(ticket);
        self.by_recipient.entry(recipient).or_default().push((number, told));
    }
}

/// Recipient and number of a ticket.
pub(crate) fn parts(ticket: Ticket) -> (u32, u32) {
    let number = u32::try_from(ticket.0 & u64::from(u32::MAX)).expect("masked to 32 bits");
    (u32::try_from(ticket.0 >> 32).expect("shifted to 32 bits"), number)
}

/// Calls that wait for one answer each: the unary operations, and what the house itself asks.
pub(crate) struct Calls {
    recipient: u32,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u32,
    answers: HashMap<u32, oneshot::Sender<Told>>,
}

impl Calls {
    pub(crate) fn new(recipient: u32) -> Calls {
        Calls { recipient, waiting: Mutex::default() }
    }

    /// A place for one call.
    pub(crate) fn open(&self) -> (Ticket, oneshot::Receiver<Told>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.last = waiting.last.wrapping_add(1);
        // After four billion calls the numbers begin again; those of calls still open are passed over.
        while waiting.answers.contains_key(&waiting.last) {
            waiting.last = waiting.last.wrapping_add(1);
        }
        let number = waiting.last;
        waiting.answers.insert(number, sender);
        (Desk::ticket(self.recipient, number), receiver)
    }
}

impl Recipient for Calls {
    fn deliver(&self, told: &mut Vec<(u32, Told)>) {
        let mut waiting = self.waiting.lock();
        for (number, told) in told.drain(..) {
            if let Some(answer) = waiting.answers.remove(&number) {
                // The caller may have given up.
                let _ = answer.send(told);
            }
        }
    }

    fn close(&self) {
        self.waiting.lock().answers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recipient_gets_its_answers_in_order() {
        let desk = Desk::default();
        let (a, b) = (desk.register(Calls::new), desk.register(Calls::new));
        let (mut first, mut second, mut other) = (a.open(), a.open(), b.open());
        let mut sorter = Sorter::default();
        for (ticket, bytes) in [(second.0, 2), (other.0, 3), (first.0, 1)] {
            sorter.add(ticket, Told::Answer(Answer::BadSize { bytes }));
        }
        desk.deliver(&mut sorter);
        for (receiver, expected) in [(&mut first.1, 1), (&mut second.1, 2), (&mut other.1, 3)] {
            let Ok(Told::Answer(Answer::BadSize { bytes })) = receiver.try_recv() else { panic!("told") };
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn what_is_for_somebody_gone_is_dropped() {
        let desk = Desk::default();
        let calls = desk.register(Calls::new);
        let (ticket, mut answer) = calls.open();
        desk.leave(parts(ticket).0);
        let mut sorter = Sorter::default();
        sorter.add(ticket, Told::Answer(Answer::Unknown));
        desk.deliver(&mut sorter);
        assert!(answer.try_recv().is_err());
    }
}
