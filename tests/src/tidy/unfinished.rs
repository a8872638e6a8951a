//! Rules on what must not be left behind: fixed sleeps in tests, marks of unfinished work, tests not run.

use super::problem::Problem;
use super::text::Text;
use super::tokens::{inline_modules, split};
use super::tree::{File, Tree};

/// The files that may sleep, one for each workspace: they poll a condition until a deadline.
const WAITS: [&str; 2] = ["tests/src/wait.rs", "tests/peers/src/wait.rs"];

/// Macros that stand for work not done.
const MACROS: &[&str] = &["todo", "unimplemented", "dbg"];

/// Words in comments that say the same.
const MARKS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// Sentences in comments that say the same.
const SENTENCES: &[&str] = &["being written)", "to come:", "contract sketch"];

/// Whether all of a file is test code: it is `tests.rs`, or below a folder `tests`.
fn is_test_file(file: &File) -> bool {
    file.path.trim_end_matches(".rs").split('/').any(|name| name == "tests")
}

/// No test calls `sleep(` or `sleep_until(`: files that are all test code, and modules under `#[cfg(test)]`.
#[must_use]
pub fn sleeps(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (file, text) in tree.rust().filter(|(file, _)| !WAITS.contains(&file.path.as_str())) {
        let tokens = split(&text.code);
        let tests: Vec<_> = inline_modules(&tokens).into_iter().filter(|module| module.for_tests).collect();
        for pair in tokens.windows(2) {
            let in_test = is_test_file(file) || tests.iter().any(|module| module.span.contains(&pair[0].at));
            if in_test && matches!(pair[0].word, "sleep" | "sleep_until") && pair[1].word == "(" {
                let what = format!(
                    "a fixed sleep is too short or too long: wait for the condition, as {} does",
                    WAITS[0]
                );
                problems.push(Problem::new(&file.path, text.line(pair[0].at), what));
            }
        }
    }
    problems
}

/// No macro, comment or attribute says that something is still to be done.
#[must_use]
pub fn marks(tree: &Tree) -> Vec<Problem> {
    tree.rust()
        .flat_map(|(file, text)| in_code(file, text).into_iter().chain(in_comments(file, text)))
        .collect()
}

fn in_code(file: &File, text: &Text) -> Vec<Problem> {
    let tokens = split(&text.code);
    let mut problems = Vec::new();
    for triple in tokens.windows(3) {
        let words = (triple[0].word, triple[1].word, triple[2].word);
        let what = match words {
            (name, "!", _) if MACROS.contains(&name) => {
                format!("{name}! is work not done: do it, or leave it out")
            }
            ("#", "[", "ignore") => "a test that is not run shows nothing: run it, or remove it".to_owned(),
            _ => continue,
        };
        problems.push(Problem::new(&file.path, text.line(triple[0].at), what));
    }
    problems
}

fn in_comments(file: &File, text: &Text) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (line, comment) in (1..).zip(text.comments.lines()) {
        let word = comment.split(|c: char| !c.is_alphanumeric()).find(|word| MARKS.contains(word));
        if let Some(mark) = word.or_else(|| SENTENCES.iter().find(|s| comment.contains(**s)).copied()) {
            let what =
                format!("\"{mark}\" is a promise not kept: do it, or open an issue and remove the mark");
            problems.push(Problem::new(&file.path, line, what));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(found: &[Problem]) -> Vec<(&str, usize)> {
        found.iter().map(|p| (p.file.as_str(), p.line)).collect()
    }

    #[test]
    fn a_sleep_in_a_test_fails_and_one_in_the_product_does_not() {
        let product = "fn f() { sleep(x) }\n#[cfg(test)]\nmod tests {\n fn g() { thread::sleep(x) }\n}\n";
        let found = sleeps(&Tree::of(&[
            ("a/src/lib.rs", product),
            ("a/tests/one.rs", "fn f() {\n tokio::time::sleep_until(x) }\n// sleep(\n"),
            ("b/src/one/tests.rs", "fn f() { sleep(x) }"),
            ("tests/src/cluster.rs", "fn f() { sleep(x) }"),
            (WAITS[0], "fn f() { sleep(x) }"),
            (WAITS[1], "fn f() { sleep(x) }"),
        ]));
        assert_eq!(
            lines(&found),
            [
                ("a/src/lib.rs", 4),
                ("a/tests/one.rs", 2),
                ("b/src/one/tests.rs", 1),
                ("tests/src/cluster.rs", 1)
            ]
        );
    }

    #[test]
    fn what_is_left_unfinished_fails() {
        let source = "fn a() { todo!() }\n// TODO later\n#[ignore]\nfn b() { unimplemented!(\"x\") }\n\
                      #[ignore = \"slow\"]\n//! (being written)\nfn c() { dbg!(x); }\nlet todo = \"TODO todo!()\";\n";
        let found = marks(&Tree::of(&[("a.rs", source)]));
        let mut found: Vec<_> = lines(&found).into_iter().map(|(_, line)| line).collect();
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3, 4, 5, 6, 7]);
    }
}
