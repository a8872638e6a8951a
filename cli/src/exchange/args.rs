//! The command lines of `feira export` and `feira import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::collection::Collection;
use super::encoding::Encoding;
use super::number::Decimal;
use super::table::Separator;
use crate::failure::Failure;

/// How `feira import` is called.
pub const IMPORT_USAGE: &str = "feira import [OPTIONS] [clients|products|stock|orders] <FILE>";
/// Help below the options of `feira import`.
pub const IMPORT: &str = "A shop: clients, then products, then orders, then stock. Such as: feira import products catalogue.csv \
                          --dry-run. Given again, an import changes nothing that is done. Columns: docs/OPERATIONS.md.";
/// Help below the options of `feira export`.
pub const EXPORT: &str = "Such as: feira export products --out products.csv. What is sold meanwhile may be in one file and not yet \
                          in another: feira backup is one consistent view.";

/// Formats that import understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// The UCI Online Retail file, either edition, as CSV
    OnlineRetail,
    /// Comma-separated values: the first line names the columns
    Csv,
    /// JSON lines: one object a line
    Jsonl,
}

/// Formats of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated values: the first line names the columns
    Csv,
    /// JSON lines: one object a line
    Jsonl,
}

/// Export.
#[derive(Args, Debug, Clone)]
pub struct Export {
    /// What to export
    #[arg(value_enum)]
    pub what: Collection,
    /// The form of the file
    #[arg(long, value_enum, default_value = "csv")]
    pub format: ExportFormat,
    /// The file to write, in the place of one that is there; standard output, if left out or -
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Import.
#[derive(Args, Debug, Clone)]
pub struct Import {
    /// The file to import, and before it what is in it: clients, products, stock or orders; without that, Online Retail
    #[arg(value_name = "FILE", num_args = 1..=2, required = true)]
    pub words: Vec<PathBuf>,
    /// The form of the file; if left out, JSON lines if its name ends in .jsonl, else CSV
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The encoding of the file; if left out, UTF-16 if it begins with the mark of that, else UTF-8
    #[arg(long, value_enum)]
    pub encoding: Option<Encoding>,
    /// What parts the cells of a CSV file; if left out, what the first line has
    #[arg(long, value_enum)]
    pub separator: Option<Separator>,
    /// What is before the decimals of numbers in a CSV file
    #[arg(long, value_enum, default_value = "point")]
    pub decimal: Decimal,
    /// Clients and products that are there and differ become as the file has them; else they are refused
    #[arg(long)]
    pub update: bool,
    /// Begin at this line of the file: those before it are done
    #[arg(long, value_name = "LINE")]
    pub from_line: Option<u64>,
    /// Where refused lines are listed; FILE's name with .refused.csv (of --from-line N: .refused-from-N.csv) here, if left out
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
    /// Requests on their way at once, 1 to 1024
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub in_flight: u64,
    /// Online Retail: part of every request id: the same label resumes, another imports again; online-retail, if left out
    #[arg(long)]
    pub label: Option<String>,
    /// Online Retail: do not compare stock with the totals at the end
    #[arg(long)]
    pub no_check: bool,
    /// Only read and count: send nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What a command line of `feira import` asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A file of sales.
    OnlineRetail(PathBuf),
    /// A file of the shop's own records; as JSON lines, or as CSV.
    Records(Collection, PathBuf, ExportFormat),
}

impl Import {
    /// Which file of what.
    ///
    /// # Errors
    /// The words or flags exclude each other.
    pub fn asked(&self) -> Result<Asked, Failure> {
        let asked = match (&self.words[..], self.format) {
            ([file], None | Some(Format::OnlineRetail)) => Asked::OnlineRetail(file.clone()),
            ([file], Some(Format::Csv | Format::Jsonl)) => {
                return Err(Failure::usage(format!("what is in {} is not said", file.display()))
                    .next("say it: feira import clients, products, stock or orders FILE"));
            }
            ([_, _], Some(Format::OnlineRetail)) => {
                return Err(Failure::usage("a file of Online Retail has all of it: name the file alone"));
            }
            ([what, file], format) => {
                let word = what.to_string_lossy();
                let collection = Collection::from_str(&word, false).map_err(|_| {
                    Failure::usage(format!("{word:?} is nothing that can be imported"))
                        .next("say clients, products, stock or orders, then the file")
                })?;
                let is_lines = file.extension().is_some_and(|extension| extension == "jsonl");
                let form = match format {
                    Some(Format::Jsonl) => ExportFormat::Jsonl,
                    None if is_lines => ExportFormat::Jsonl,
                    _ => ExportFormat::Csv,
                };
                Asked::Records(collection, file.clone(), form)
            }
            _ => unreachable!("clap lets one or two words through"),
        };
        self.fits(&asked)?;
        Ok(asked)
    }

    /// Refuses flags of which the other kind of file knows nothing: who gave one expects something of it.
    fn fits(&self, asked: &Asked) -> Result<(), Failure> {
        let comma = self.decimal == Decimal::Comma;
        let given = match asked {
            Asked::OnlineRetail(_) => [
                ("--separator", self.separator.is_some()),
                ("--decimal", comma),
                ("--update", self.update),
                ("--from-line", self.from_line.is_some()),
            ],
            Asked::Records(collection, _, form) => {
                let is_lines = *form == ExportFormat::Jsonl;
                let keeps = !matches!(collection, Collection::Clients | Collection::Products);
                [
                    ("--label", self.label.is_some()),
                    ("--no-check", self.no_check),
                    ("--update", self.update && keeps),
                    ("--separator or --decimal", is_lines && (comma || self.separator.is_some())),
                ]
            }
        };
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Failure::usage(format!("{flag} means nothing for such a file"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        import: Import,
    }

    fn asked(line: &str) -> Result<Asked, Failure> {
        Line::try_parse_from(["import"].into_iter().chain(line.split(' '))).unwrap().import.asked()
    }

    #[test]
    fn a_file_is_sales_unless_it_is_said_to_be_something_else() {
        let sales = Asked::OnlineRetail("x.csv".into());
        assert_eq!(asked("--format online-retail x.csv").unwrap(), sales);
        assert_eq!(asked("x.csv").unwrap(), sales);
        let records = |file: &str, form| Asked::Records(Collection::Clients, file.into(), form);
        assert_eq!(asked("clients x.csv").unwrap(), records("x.csv", ExportFormat::Csv));
        assert_eq!(asked("clients x.jsonl").unwrap(), records("x.jsonl", ExportFormat::Jsonl));
        assert_eq!(asked("clients x.jsonl --format csv").unwrap(), records("x.jsonl", ExportFormat::Csv));
        assert_eq!(asked("--format jsonl clients x.csv").unwrap(), records("x.csv", ExportFormat::Jsonl));
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for line in [
            "people x.csv",
            "x.csv --format csv",
            "clients x.csv --format online-retail",
            "x.csv --decimal comma",
            "clients x.csv --label again",
            "stock x.csv --update",
            "orders x.jsonl --decimal comma",
        ] {
            assert_eq!(asked(line).expect_err(line).kind, crate::failure::Kind::Usage, "{line}");
        }
    }
}
