//! The chains of events that come while A stands still: each event names the one before it.

/// An unbroken chain that came while a barrier read was under way: all events after `from`, up to `to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) log_id: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Joins what follows to the chain, or begins it anew there.
pub(super) fn chain(span: &mut Option<Span>, next: Span) {
    match span {
        Some(span) if span.log_id == next.log_id && next.to <= span.to => {}
        Some(span) if span.log_id == next.log_id && next.from <= span.to => span.to = next.to,
        _ => *span = Some(next),
    }
}
