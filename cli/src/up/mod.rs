//! `feira up`: a whole local cluster as child processes of this binary.
//!
//! ```text
//!   feira up ── supervisor ──► broker, node-1 … node-n, admin-portal-1 …, client-portal-1 …
//!      ▲            │             each with a log file; a pipe tells it when feira up is gone
//!   control.sock ◄──┴── feira node kill|restart|…, feira down
//! ```
//!
//! [`parts`] says what runs, [`bootstrap`] makes the folders once, which [`founded`] remembers, [`child`] and [`supervisor`] run it,
//! [`ready`] waits until it serves, [`control`] takes orders, [`view`] shows it, [`again`] says when a part that ended is started
//! once more, [`terminal`] reads what is typed, [`voice`] says what happens, [`run`] is the command and [`detach`] its start in
//! the background.

pub mod act;
pub mod again;
pub mod bootstrap;
pub mod child;
pub mod control;
pub mod detach;
pub mod founded;
pub mod parts;
pub mod prepare;
pub mod ready;
pub mod run;
pub mod supervisor;
pub mod terminal;
pub mod view;
pub mod voice;
