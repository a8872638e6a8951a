//! Logs of a role: to standard error, which `feira up` turns into a file; colours only on a terminal.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::show::out::wants_color;

/// Starts logging by a filter.
///
/// # Errors
/// The filter is none.
pub fn start(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|e| {
        Failure::usage(format!("configuration: log is {filter:?}: {e}"))
            .next("write error, warn, info, debug, trace, or such as info,store_engine=debug")
    })?;
    let color = wants_color() && std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color).init();
    Ok(())
}
