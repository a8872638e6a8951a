//! Rules on the shape of files: how long they are, how long their functions are, how they open.

use super::problem::Problem;
use super::tokens::functions;
use super::tree::Tree;

/// Lines of a file, tests included.
const FILE_LINES_MAX: usize = 600;

/// Lines of a function, from the word `fn` to the brace that closes it, blank lines and comments included.
const FUNCTION_LINES_MAX: usize = 60;

/// A function that is one `match` over a closed enum may be as long as its arms, if each has at most so many lines: divided,
/// it would end in an arm that is never taken, and a new variant would be found by a panic.
const ARM_LINES_MAX: usize = 12;

/// And if so many lines at most stand beside the `match`.
const BESIDE_MATCH_LINES_MAX: usize = 12;

/// Letters of what a file says of itself: one short sentence.
const OPENING_MIN: usize = 20;

/// No Rust file is longer than [`FILE_LINES_MAX`].
#[must_use]
pub fn files_too_long(tree: &Tree) -> Vec<Problem> {
    let long = tree.rust().map(|(file, _)| (file, file.text.lines().count()));
    long.filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(file, lines)| {
            let what = format!(
                "{lines} lines, at most {FILE_LINES_MAX}: find the second thing in it and give that a file"
            );
            Problem::new(&file.path, FILE_LINES_MAX + 1, what)
        })
        .collect()
}

/// No function is longer than [`FUNCTION_LINES_MAX`], but one flat `match` ([`ARM_LINES_MAX`]). A nested function counts by itself and in its outer one.
#[must_use]
pub fn functions_too_long(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (file, text) in tree.rust() {
        for function in functions(text) {
            let lines = function.last_line - function.line + 1;
            let is_flat = function.flat.is_some_and(|flat| {
                flat.arm_lines_max <= ARM_LINES_MAX && lines - flat.lines <= BESIDE_MATCH_LINES_MAX
            });
            if lines > FUNCTION_LINES_MAX && !is_flat {
                let what = format!(
                    "fn {} has {lines} lines, at most {FUNCTION_LINES_MAX}: keep the decisions, move the work into \
                     functions named after what they do",
                    function.name
                );
                problems.push(Problem::new(&file.path, function.line, what));
            }
        }
    }
    problems
}

/// Words that ask for the file's name instead of giving it.
const QUESTIONS: &[&str] =
    &["What", "Who", "Whom", "Whose", "Which", "Where", "When", "Why", "How", "Whether"];

/// Each Rust file begins with `//!` and says there what it is, with a noun phrase.
#[must_use]
pub fn openings(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (file, _) in tree.rust() {
        let opening = opening(&file.text);
        if opening.is_empty() {
            let what = "begin the file with //!: what it is, what it promises, what it leaves out";
            problems.push(Problem::new(&file.path, 1, what));
        } else if opening.chars().filter(|c| c.is_alphabetic()).count() < OPENING_MIN {
            let what = format!("\"{opening}\" does not say what the file is: write a sentence");
            problems.push(Problem::new(&file.path, 1, what));
        } else if let Some(word) =
            QUESTIONS.iter().find(|word| opening.split([' ', ',']).next() == Some(word))
        {
            let what = format!(
                "the file begins with \"{word}\": name it with a noun phrase (\"The leader's view of …\")"
            );
            problems.push(Problem::new(&file.path, 1, what));
        }
    }
    problems
}

/// The `//!` lines that a text begins with, joined.
#[must_use]
pub fn opening(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_one_line_too_many_fails() {
        let (fits, long) = ("x\n".repeat(600), "x\n".repeat(601));
        let found = files_too_long(&Tree::of(&[("fits.rs", &fits), ("long.rs", &long), ("long.md", &long)]));
        assert_eq!(found.iter().map(|p| (p.file.as_str(), p.line)).collect::<Vec<_>>(), [("long.rs", 601)]);
    }

    #[test]
    fn a_function_of_one_line_too_many_fails() {
        let fits = format!("\nfn fits() {{\n{}}}\n", "x;\n".repeat(58));
        let long = format!("impl X {{\nfn long() {{\n{}}}\n}}\n", "x;\n".repeat(59));
        let found = functions_too_long(&Tree::of(&[("a.rs", &format!("{fits}{long}"))]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.starts_with("fn long has 61 lines"));
        assert_eq!(found[0].line, 63);
    }

    #[test]
    fn one_flat_match_may_be_as_long_as_its_arms() {
        let arms = |count: usize, arm: &str| {
            format!("fn f(x: X) {{\n    let y = x;\n    match y {{\n{}}}\n}}\n", arm.repeat(count))
        };
        let long = |source: &str| functions_too_long(&Tree::of(&[("a.rs", source)])).len();
        assert_eq!(long(&arms(100, "X::A { b } => b(),\n")), 0);
        assert_eq!(long(&arms(20, &format!("X::A => {{\n{}}}\n", "b();\n".repeat(10)))), 0);
        assert_eq!(long(&arms(20, &format!("X::A => {{\n{}}}\n", "b();\n".repeat(11)))), 1, "an arm is work");
        let beside =
            format!("fn f() {{\n{}match y {{\n{}}}\n}}\n", "b();\n".repeat(12), "A => b(),\n".repeat(60));
        assert_eq!(long(&beside), 1, "there is more beside the match");
    }

    #[test]
    fn braces_in_literals_and_comments_are_not_counted() {
        let source = format!("fn f() {{ let x = \"{{\"; // {{\n}}\n{}", "x\n".repeat(70));
        assert_eq!(functions_too_long(&Tree::of(&[("a.rs", &source)])), []);
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_fails() {
        let found = openings(&Tree::of(&[
            ("attribute_first.rs", "#![no_std]\n//! The core of everything, told in one sentence.\n"),
            ("good.rs", "//! The core of everything, told in one sentence.\n"),
            ("question.rs", "//! What the core of everything is, told in one sentence.\n"),
            ("late.rs", "\nfn f() {}\n//! Too late to be an opening, which comes first.\n"),
            ("short.rs", "//! Chores.\n"),
        ]));
        let named: Vec<_> = found.iter().map(|p| p.file.as_str()).collect();
        assert_eq!(named, ["attribute_first.rs", "late.rs", "question.rs", "short.rs"]);
    }
}
