//! The binary that end-to-end tests run: built with them, so never stale. It alone, of all binaries, lets the environment
//! set fail points: the one that is shipped is built without them, and would not ask.
fn main() -> std::process::ExitCode {
    store_log::fault::from_environment();
    feira::main()
}
