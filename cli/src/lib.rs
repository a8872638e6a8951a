//! (being written)
/// Runs the tool.
#[must_use]
pub fn main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
