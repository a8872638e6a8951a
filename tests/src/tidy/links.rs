//! The rule on links: a relative link in a Markdown file leads to a file or folder of the tree, and its `#part`
//! to a heading there.
//!
//! Read: inline links and images `[text](target)` and reference definitions `[name]: target` outside of code.
//! Anchors are made from headings as GitHub does for letters, digits, spaces, `-` and `_`. Links with a scheme
//! are not followed.

use super::problem::Problem;
use super::tree::{File, Tree};

/// Every relative link leads somewhere.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.ending(".md") {
        for (line, text) in prose(&file.text) {
            for target in targets(&text) {
                if let Err(what) = follow(tree, file, &target) {
                    problems.push(Problem::new(&file.path, line, what));
                }
            }
        }
    }
    problems
}

/// The lines outside of fenced code, numbered, with inline code blanked.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            // Every second piece between backticks is code.
            let kept = line.split('`').enumerate().map(|(i, piece)| if i % 2 == 0 { piece } else { "" });
            lines.push((number, kept.collect::<Vec<_>>().join("`")));
        }
    }
    lines
}

fn targets(line: &str) -> Vec<String> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let definition = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    let all = inline.chain(definition.map(|(_, target)| target));
    all.filter_map(|target| target.split_whitespace().next()).map(str::to_owned).collect()
}

/// Checks one link from `file`.
fn follow(tree: &Tree, file: &File, target: &str) -> Result<(), String> {
    let scheme = target.split(['/', '#']).next().is_some_and(|first| first.contains(':'));
    if scheme {
        return Ok(());
    }
    let (path, part) = target.split_once('#').map_or((target, None), |(path, part)| (path, Some(part)));
    let path = if path.is_empty() { file.path.clone() } else { resolve(&file.path, path)? };
    let folder = path.trim_end_matches('/');
    let there = folder.is_empty() || tree.file(folder).is_some() || tree.folders().contains(folder);
    if !there {
        return Err(format!("the link {target} leads to {path}, which is not there: correct or remove it"));
    }
    let Some(part) = part else { return Ok(()) };
    let Some(linked) = tree.file(folder).filter(|file| file.path.ends_with(".md")) else { return Ok(()) };
    let headings = prose(&linked.text);
    let mut anchors = headings.iter().filter(|(_, line)| line.starts_with('#')).map(|(number, _)| {
        let line = linked.text.lines().nth(number - 1).unwrap_or_default();
        anchor(line.trim_start_matches('#').trim())
    });
    if anchors.any(|anchor| anchor == part) {
        Ok(())
    } else {
        Err(format!("the link {target} names a heading that {path} does not have: correct or remove it"))
    }
}

/// The path that `target` means in the file at `from`.
fn resolve(from: &str, target: &str) -> Result<String, String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for step in target.split('/') {
        match step {
            "." | "" => {}
            ".." => {
                parts.pop().ok_or_else(|| format!("the link {target} leads out of the repository"))?;
            }
            step => parts.push(step),
        }
    }
    Ok(parts.join("/"))
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        let tree = Tree::of(&[
            ("docs/a.md", text),
            ("docs/sub/b.md", "# The log, and `push`\n```\n# no heading\n```\n"),
            ("README.md", ""),
        ]);
        check(&tree).iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn links_that_lead_nowhere_fail() {
        assert_eq!(
            found("[a](gone.md)\n\n![b](sub/gone.png)\n[c]: ../gone.md\n[d](../../outside.md)"),
            [1, 3, 4, 5]
        );
        assert_eq!(found("[a](sub/b.md#no-heading) and [b](#nothing)"), [1, 1]);
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "# Here\n[a](sub/b.md) [b](../README.md \"title\") [c](sub/) [d](sub/b.md#the-log-and-push) [e](#here)\n\
                    [f](https://example.org/x) [g](mailto:a@b.c)\n`[code](gone.md)`\n```\n[code](gone.md)\n```\n";
        assert_eq!(found(text), Vec::<usize>::new());
    }
}
