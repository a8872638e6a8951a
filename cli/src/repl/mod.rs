//! Reading commands: from a terminal with completion, hints and history; from a script; from `-c`.
//!
//! [`lines`] gives one line after another whatever their source; [`drive`] understands and runs them;
//! [`ids`] knows live ids; [`complete`], [`hint`], [`highlight`] and [`editor`] are the terminal; [`mode`] is the terminal
//! between lines, [`ask`] asks for what a line left out, and [`unanswered`] tells of requests of earlier sessions.

pub mod ask;
pub mod complete;
pub mod drive;
pub mod editor;
pub mod highlight;
pub mod hint;
pub mod ids;
pub mod lines;
pub mod meant;
pub mod mode;
pub mod unanswered;
