//! The ground of the end-to-end tests: real processes, real mosquitto, waiting with deadlines; and the rules of the
//! house ([`tidy`]). The tests themselves are in `tests/tests/`, one file for each part of the promises.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

pub mod broker_faults;
pub mod caller;
pub mod chaos;
pub mod cluster;
pub mod exchange;
pub mod generate;
pub mod http1;
pub mod machines;
pub mod mesh;
pub mod mosquitto;
pub mod peer;
pub mod place;
pub mod port;
pub mod preload;
pub mod process;
pub mod shop;
pub mod shopper;
pub mod tidy;
pub mod wait;
pub mod writers;
