//! An answer on its way to a caller: handed to HTTP/2 in pieces, and charged for until the socket has taken it.
//!
//! HTTP/2 asks for the next piece when the caller's window and its own buffer have room for at least a byte. The last byte
//! of a message is a piece of its own: so a caller with tiny windows cannot make HTTP/2 hold a whole answer that nobody
//! is charged for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::limits::{PIECE_BYTES, SHORT_BYTES};
use crate::place::{Charge, Class, Place, Side, StreamOpen};

/// What a stream asks room for before its first message.
const FIRST_GUESS_BYTES: usize = 64 << 10;

/// What an answer keeps while it is on its way.
pub(crate) enum Held {
    /// Nothing: it is small, and quickly made.
    Nothing,
    /// An answer of one message, its charge made when it was.
    Call(Charge),
    /// A stream, which is charged for message by message.
    Stream { _open: StreamOpen },
}

/// See the module.
pub struct Outgoing<B> {
    /// `None`: there is only the head of an answer.
    inner: Option<B>,
    place: Option<Place>,
    held: Held,
    /// What of the current message was not handed over yet.
    left: Bytes,
    /// For the current message of a stream.
    charge: Option<Charge>,
    room: Option<Pin<Box<dyn Future<Output = Charge> + Send>>>,
    guess: usize,
}

impl<B> Outgoing<B> {
    pub(crate) fn new(inner: Option<B>, place: Option<Place>, held: Held, first: Bytes) -> Outgoing<B> {
        Outgoing { inner, place, held, left: first, charge: None, room: None, guess: FIRST_GUESS_BYTES }
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let size = match self.left.len() {
            0 => return None,
            len @ ..SHORT_BYTES => len,
            len if len > PIECE_BYTES => PIECE_BYTES,
            len => len - 1,
        };
        let piece = self.left.split_to(size);
        if let Some(place) = &self.place {
            place.touch();
            if self.left.is_empty()
                && let Some(charge) = self.charge.take()
            {
                place.tail(charge);
            }
        }
        Some(piece)
    }

    /// Room for the next message of a stream, before it is made.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (Held::Stream { .. }, Some(place)) = (&self.held, &self.place) else { return Poll::Ready(()) };
        if self.charge.is_some() || place.class() == Class::Member {
            return Poll::Ready(());
        }
        let waits = self.room.is_some();
        if !waits && let Some(charge) = place.try_charge(Side::Answers, self.guess) {
            self.charge = Some(charge);
            return Poll::Ready(());
        }
        let (place, guess) = (place.clone(), self.guess);
        let room = self.room.get_or_insert_with(|| {
            Box::pin(async move { place.charge_some_time(Side::Answers, guess).await })
        });
        let charge = ready!(room.as_mut().poll(context));
        self.room = None;
        self.charge = Some(charge);
        Poll::Ready(())
    }

    fn made(&mut self, message: Bytes) {
        if let Some(charge) = &mut self.charge {
            charge.resize(message.len());
            charge.wait_for_caller();
            self.guess = message.len().max(self.guess / 2).max(PIECE_BYTES);
        }
        self.left = message;
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Outgoing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.next_piece() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if this.inner.is_none() {
                return Poll::Ready(None);
            }
            ready!(this.poll_room(context));
            let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
            match Pin::new(inner).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(message) => this.made(message),
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Poll::Pending => {
                    // Whoever has nothing to send keeps no room.
                    this.charge = None;
                    return Poll::Pending;
                }
                ended => return ended,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl<B> Drop for Outgoing<B> {
    fn drop(&mut self) {
        let whole = self.left.is_empty();
        if let Held::Call(charge) = std::mem::replace(&mut self.held, Held::Nothing)
            && whole
            && let Some(place) = &self.place
        {
            place.tail(charge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use http_body_util::{BodyExt as _, Empty};

    /// The pieces in which an answer of so many bytes is handed over.
    fn pieces(bytes: usize) -> Vec<usize> {
        let mut body =
            Outgoing::new(Some(Empty::<Bytes>::new()), None, Held::Nothing, vec![b'x'; bytes].into());
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().now_or_never().expect("all is there") {
            pieces.push(frame.expect("nothing fails").into_data().expect("no trailers").len());
        }
        pieces
    }

    #[test]
    fn a_short_answer_is_one_piece_and_the_last_byte_of_another_is_a_piece_of_its_own() {
        assert_eq!(pieces(SHORT_BYTES - 1), [SHORT_BYTES - 1]);
        assert_eq!(pieces(SHORT_BYTES), [SHORT_BYTES - 1, 1]);
        assert_eq!(pieces(PIECE_BYTES + SHORT_BYTES), [PIECE_BYTES, SHORT_BYTES - 1, 1]);
    }
}
