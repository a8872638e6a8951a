//! (being written)
pub mod admin;
pub mod ask;
pub mod config;
pub mod document;
pub mod failure;
pub mod reach;
pub mod import;
pub mod kv;
pub mod repl;
pub mod shop;
pub mod show;
pub mod verb;

/// Runs the tool.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
