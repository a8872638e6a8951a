#!/usr/bin/env bash
# rolling-file 0.2.0 keeps what is written in a buffer of 8 KiB until it is full, flushed or dropped. As the writer of a log that
# means: a process that is killed has logged nothing of its last lines, and a quiet one shows nothing for hours. Its README shows
# it as an appender to be used directly; standard error, which it replaces there, is not buffered.
#
# Seen: after three lines and SIGKILL the file has 0 bytes; with a flush after each line it has all three. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
rolling-file = "=0.2.0"
TOML
mkdir src
cat > src/main.rs <<'RUST'
use std::io::Write;

use rolling_file::{BasicRollingFileAppender, RollingConditionBasic};

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let flushes = std::env::args().nth(2).is_some();
    let by_size = RollingConditionBasic::new().max_size(1 << 20);
    let mut log = BasicRollingFileAppender::new(path, by_size, 2).unwrap();
    for line in 1..=3 {
        writeln!(log, "line {line}").unwrap();
        if flushes {
            log.flush().unwrap();
        }
    }
    println!("written");
    std::thread::sleep(std::time::Duration::from_secs(60));
}
RUST
cargo build --quiet
lines_after_kill() {
  target/debug/finding "$@" > said & local process=$!
  until grep -q written said; do sleep 0.05; done
  kill -9 "$process"
  wait "$process" 2> /dev/null || true
  wc -l < "$1"
}
buffered=$(lines_after_kill one.log)
flushed=$(lines_after_kill two.log flush)
echo "rolling-file 0.2.0: $buffered lines of 3 are in the file after SIGKILL, $flushed of 3 with a flush after each"
[ "$buffered" -eq 0 ] && [ "$flushed" -eq 3 ]
