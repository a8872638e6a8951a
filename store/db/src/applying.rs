//! One entry on its way into the table.

use bytes::Bytes;
use proto::store::{AppliedState, Position};

use crate::changes;
use crate::effects::{self, Effect, RowChange};
use crate::error::Error;
use crate::limits::{VERSION_OF_PLACED_APPENDS, VERSION_OF_TIMES};
use crate::recent::Recent;
use crate::table::Write;

/// The table, where it stands, and the entry's position.
pub(crate) struct Applying<'a, W> {
    pub(crate) write: &'a mut W,
    pub(crate) recent: &'a mut Recent,
    pub(crate) state: &'a mut AppliedState,
    pub(crate) at: Position,
}

impl<W> Applying<'_, W> {
    /// The log time that transactions of this entry see; none before the version that has it.
    pub(crate) fn log_time_ms(&self) -> Option<i64> {
        (self.state.state_machine_version >= VERSION_OF_TIMES).then_some(self.state.log_time_ms)
    }

    /// Whether appends have their offsets where they ask for them.
    pub(crate) fn places_appends(&self) -> bool {
        self.state.state_machine_version >= VERSION_OF_PLACED_APPENDS
    }
}

impl<W: Write> Applying<'_, W> {
    /// Writes records, which are in key order; their keys.
    pub(crate) fn store(&mut self, effects: Vec<Effect>) -> Result<Vec<Bytes>, Error> {
        effects::store(self.write, self.state, effects)
    }

    /// Writes rows of transactions over several groups.
    pub(crate) fn store_rows(&mut self, rows: &[RowChange]) -> Result<(), Error> {
        effects::store_rows(self.write, self.state, rows)
    }

    /// Tells of keys in the change feed; once an entry, in their order.
    pub(crate) fn tell_of(&mut self, keys: Vec<Bytes>) -> Result<(), Error> {
        changes::add(self.write, self.recent, self.state, self.at, keys)
    }
}
