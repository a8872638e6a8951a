//! The rule on docs/REQUIREMENTS.md: every clause of the specification has a row; each row names tests that exist,
//! or says which issue will bring them.
//!
//! A row is `| A1 | what is asked | evidence |`. Evidence is any number of `` `path/to/file.rs::test_name` `` and
//! `open: <issue>`; one of them at least. A test exists if the file has a function of that name with a test
//! attribute, in whatever module of the file.

use std::collections::BTreeMap;

use super::problem::Problem;
use super::tokens::functions;
use super::tree::Tree;

/// Where the rows are.
const REQUIREMENTS: &str = "docs/REQUIREMENTS.md";

/// The clauses of the specification: letter and last number.
const CLAUSES: &[(char, u32)] = &[('A', 10), ('B', 10), ('C', 9), ('D', 4), ('E', 4)];

/// The issues that a clause may wait for.
const ISSUES: &[&str] = &["First street", "Trusted store", "Whole portals", "The ring", "Fast"];

/// One row of the table.
struct Row<'a> {
    line: usize,
    clause: &'a str,
    evidence: &'a str,
}

fn rows(text: &str) -> Vec<Row<'_>> {
    (1..)
        .zip(text.lines())
        .filter_map(|(line, row)| {
            let mut cells = row.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim);
            let clause = cells.next()?;
            let evidence = cells.next_back().unwrap_or_default();
            let number = clause.strip_prefix(|c: char| c.is_ascii_uppercase())?;
            (!number.is_empty() && number.chars().all(|c| c.is_ascii_digit())).then_some(Row {
                line,
                clause,
                evidence,
            })
        })
        .collect()
}

/// Every clause has one row with evidence that holds.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Problem> {
    let Some(file) = tree.file(REQUIREMENTS) else {
        return vec![Problem::new(
            REQUIREMENTS,
            1,
            "the file is not there: it maps each clause to its tests",
        )];
    };
    let clauses: Vec<String> =
        CLAUSES.iter().flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}"))).collect();
    let mut problems = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows(&file.text) {
        if !clauses.iter().any(|clause| clause == row.clause) {
            let what = format!("{} is no clause of the specification: remove the row", row.clause);
            problems.push(Problem::new(REQUIREMENTS, row.line, what));
        }
        if let Some(first) = seen.insert(row.clause, row.line) {
            let what = format!("{} stands in line {first} already: put all its evidence there", row.clause);
            problems.push(Problem::new(REQUIREMENTS, row.line, what));
        }
        problems.extend(evidence(tree, &row));
    }
    for clause in clauses.iter().filter(|clause| !seen.contains_key(clause.as_str())) {
        let what = format!("{clause} has no row: name its tests, or write open: <issue>");
        problems.push(Problem::new(REQUIREMENTS, 1, what));
    }
    problems
}

/// What is wrong with the evidence of one row.
fn evidence(tree: &Tree, row: &Row<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |what: String| problems.push(Problem::new(REQUIREMENTS, row.line, what));
    let tests: Vec<&str> = row.evidence.split('`').skip(1).step_by(2).filter(|t| t.contains("::")).collect();
    for test in &tests {
        if let Err(what) = find(tree, test) {
            problem(format!("{}: {what}", row.clause));
        }
    }
    let open: Vec<&str> = row.evidence.split("open:").skip(1).map(str::trim_start).collect();
    for issue in &open {
        if !ISSUES.iter().any(|known| issue.starts_with(known)) {
            problem(format!("{}: after open: comes one of {}", row.clause, ISSUES.join(", ")));
        }
    }
    if tests.is_empty() && open.is_empty() {
        let what = "names no test: write `path/to/file.rs::test_name`, or open: <issue>";
        problem(format!("{} {what}", row.clause));
    }
    problems
}

/// Whether `path/to/file.rs::test_name` exists.
fn find(tree: &Tree, test: &str) -> Result<(), String> {
    let (path, name) = test.split_once(".rs::").unwrap_or((test, ""));
    let path = format!("{path}.rs");
    let name = name.rsplit("::").next().unwrap_or(name);
    let file = tree.file(&path).ok_or_else(|| format!("there is no file {path}"))?;
    let text = file.rust.as_ref().ok_or_else(|| format!("{path} is not Rust"))?;
    match functions(text).iter().find(|function| function.name == name) {
        Some(function) if function.is_test => Ok(()),
        Some(_) => Err(format!("{name} in {path} is a function, but no test")),
        None => Err(format!("{path} has no test {name}: correct the name, or mark the clause open")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<String> {
        let all = CLAUSES.iter().flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}")));
        all.map(|clause| format!("| {clause} | asked | open: The ring |")).collect()
    }

    fn problems(rows: &[String]) -> Vec<String> {
        let text = format!("| clause | asked | shown by |\n|---|---|---|\n{}\n", rows.join("\n"));
        let tests =
            "#[test]\nfn shows() {}\nfn no_test() {}\nmod inner {\n #[tokio::test]\n async fn deep() {}\n}";
        let found = check(&Tree::of(&[(REQUIREMENTS, &text), ("a/tests/t.rs", tests)]));
        found.into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn a_table_with_all_clauses_passes() {
        let mut rows = table();
        rows[0] =
            "| A1 | asked | `a/tests/t.rs::shows`, `a/tests/t.rs::inner::deep`; rest open: Trusted store |"
                .into();
        assert_eq!(problems(&rows), Vec::<String>::new());
    }

    #[test]
    fn a_missing_a_double_and_a_foreign_clause_fail() {
        let mut rows = table();
        rows[1] = "| A1 | again | open: Fast |".into();
        rows.push("| Z1 | nobody asked | open: Fast |".into());
        let found = problems(&rows);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("A1 stands")
                && found[1].starts_with("Z1 is no")
                && found[2].starts_with("A2 has no")
        );
    }

    #[test]
    fn evidence_that_does_not_hold_fails() {
        for (evidence, expected) in [
            ("`a/tests/t.rs::gone`", "has no test gone"),
            ("`a/tests/gone.rs::shows`", "there is no file"),
            ("`a/tests/t.rs::no_test`", "but no test"),
            ("open: Some day", "after open: comes one of"),
            ("", "names no test"),
            ("see `a/tests/t.rs`", "names no test"),
        ] {
            let mut rows = table();
            rows[3] = format!("| A4 | asked | {evidence} |");
            let found = problems(&rows);
            assert_eq!(found.len(), 1, "{evidence}: {found:?}");
            assert!(found[0].contains(expected), "{evidence}: {found:?}");
        }
    }
}
