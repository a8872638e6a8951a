//! The tools' output: tables on standard output, or with `--json` one document a result; everything else on standard
//! error.

pub mod answer;
pub mod document;
pub mod moment;
pub mod out;
pub mod screen;
pub mod table;
pub mod waiting;
pub mod wrap;
pub mod written;

#[cfg(test)]
mod tests;
