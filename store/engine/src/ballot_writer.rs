//! The ballot's writer: makes epoch and vote durable, apart from the log's writer and from the node, so that neither a
//! log that waits for its disk nor a ballot that does keeps the node from its work.
//!
//! Promises: [`Job::BallotSaved`] is said only after the ballot is on disk. Leaves out the outputs that wait for it
//! ([`crate::Node`]).

use std::sync::Arc;

use store_core::Ballot;
use store_log::{Ballots, Disk};

use crate::error::Error;
use crate::job::Job;

/// The ballot's writer.
pub struct BallotWriter<D: Disk> {
    ballots: Ballots<Arc<D>>,
}

impl<D: Disk> BallotWriter<D> {
    pub(crate) fn new(ballots: Ballots<Arc<D>>) -> BallotWriter<D> {
        BallotWriter { ballots }
    }

    /// Saves the last of these: nothing was built on those before it.
    ///
    /// # Errors
    /// The disk failed or is full; the process must end.
    pub fn poll(
        &mut self,
        ballots: impl IntoIterator<Item = Ballot>,
        outs: &mut Vec<Job>,
    ) -> Result<(), Error> {
        if let Some(ballot) = ballots.into_iter().last() {
            self.ballots.save(ballot)?;
            outs.push(Job::BallotSaved { ballot });
        }
        Ok(())
    }
}
