//! The binary that end-to-end tests run: built with them, so never stale.
fn main() -> std::process::ExitCode {
    feira::main()
}
