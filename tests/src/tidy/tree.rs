//! The files of the repository, read once: what every rule looks at.
//!
//! The tree is what lies on the disk, without `.git`, without what the root `.gitignore` names by `/folder` or
//! `*.ending`, and without `proto/generated`, which a program writes; so a file counts before it is added to git. Texts of other formats than ours are not read.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::text::Text;

/// One file.
#[derive(Debug)]
pub struct File {
    /// Its path from the root, with `/`.
    pub path: String,
    /// What is in it; empty if it is not one of [`READ`].
    pub text: String,
    /// The same with comments and literals apart; only of `.rs` files.
    pub rust: Option<Text>,
}

/// The endings whose texts are read.
const READ: &[&str] = &["rs", "md", "toml"];

/// A folder's files, sorted by path.
#[derive(Debug, Default)]
pub struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// Reads the repository at `root`.
    ///
    /// # Errors
    /// If a file cannot be read, or one of ours is not UTF-8.
    pub fn read(root: &Path) -> io::Result<Tree> {
        let ignored = Ignored::parse(&fs::read_to_string(root.join(".gitignore")).unwrap_or_default());
        let mut texts = Vec::new();
        collect(root, "", &ignored, &mut texts)?;
        Ok(Tree::from_texts(texts))
    }

    /// A tree of given texts, for tests of the rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Tree {
        Tree::from_texts(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    fn from_texts(mut texts: Vec<(String, String)>) -> Tree {
        texts.sort();
        let files = texts
            .into_iter()
            .map(|(path, text)| {
                let rust = path.ends_with(".rs").then(|| Text::of(&text));
                File { path, text, rust }
            })
            .collect();
        Tree { files }
    }

    /// The files that end so.
    pub fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.ends_with(end))
    }

    /// All Rust files, with comments and literals apart.
    pub fn rust(&self) -> impl Iterator<Item = (&File, &Text)> {
        self.files.iter().filter_map(|file| file.rust.as_ref().map(|rust| (file, rust)))
    }

    /// The file at this path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| &self.files[at])
    }

    /// Every folder that holds files, without a slash at the end; the root is not among them.
    #[must_use]
    pub fn folders(&self) -> BTreeSet<&str> {
        let parents = |path: &'_ str| path.match_indices('/').map(|(at, _)| at).collect::<Vec<_>>();
        self.files
            .iter()
            .flat_map(|file| parents(&file.path).into_iter().map(|at| &file.path[..at]))
            .collect()
    }
}

/// The part of `.gitignore` that is understood: `/name` at the root and `*.ending` everywhere.
#[derive(Debug, Default)]
struct Ignored {
    at_root: Vec<String>,
    endings: Vec<String>,
}

impl Ignored {
    fn parse(text: &str) -> Ignored {
        let mut ignored = Ignored { at_root: vec![".git".to_owned()], endings: Vec::new() };
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('/') {
                ignored.at_root.push(name.trim_end_matches('/').to_owned());
            } else if let Some(ending) = line.strip_prefix('*') {
                ignored.endings.push(ending.to_owned());
            }
        }
        ignored
    }

    fn skips(&self, path: &str) -> bool {
        self.at_root.iter().any(|name| name == path)
            || path == "proto/generated"
            || self.endings.iter().any(|end| path.ends_with(end.as_str()))
    }
}

fn collect(root: &Path, below: &str, ignored: &Ignored, texts: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if ignored.skips(&path) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(root, &path, ignored, texts)?;
            continue;
        }
        let read = READ.iter().any(|end| path.rsplit_once('.').is_some_and(|(_, e)| e == *end));
        let text = if read { fs::read_to_string(root.join(&path))? } else { String::new() };
        texts.push((path, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_those_with_files_below_them() {
        let tree = Tree::of(&[("a/b/c.rs", ""), ("a/d.md", ""), ("top.md", "")]);
        assert_eq!(tree.folders().into_iter().collect::<Vec<_>>(), ["a", "a/b"]);
        assert!(tree.file("a/d.md").is_some() && tree.file("a").is_none());
    }

    #[test]
    fn what_git_ignores_is_no_part_of_the_tree() {
        let ignored = Ignored::parse("/target\n/data/\n*.log\n");
        for path in [".git", "target", "data", "store/out.log"] {
            assert!(ignored.skips(path), "{path}");
        }
        for path in ["store/target", "data.rs", ".ci"] {
            assert!(!ignored.skips(path), "{path}");
        }
    }
}
