//! `feira up`: a whole local cluster as child processes of this binary.
//!
//! ```text
//!   feira up ── supervisor ──► broker, node-1 … node-n, admin-portal-1 …, client-portal-1 …
//!      ▲            │             each with a log file; a pipe tells it when feira up is gone
//!   control.sock ◄──┴── feira node kill|restart|…, feira down
//! ```
//!
//! [`parts`] says what runs, [`bootstrap`] makes the folders once, which [`founded`] remembers, [`child`] and [`supervisor`] run it,
//! [`ready`] waits until it serves, [`control`] takes orders, [`view`] shows it, [`run`] is the command.

pub mod act;
pub mod bootstrap;
pub mod child;
pub mod control;
pub mod founded;
pub mod parts;
pub mod ready;
pub mod run;
pub mod supervisor;
pub mod view;
