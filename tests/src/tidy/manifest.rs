//! The parts of a `Cargo.toml` that the rules need: the package's name and what it depends on, with lines.
//!
//! Read line by line. Understood: `name = …`, `name.workspace = true` and `name = { package = "other", … }` below
//! `[dependencies]`, `[dev-dependencies]`, `[build-dependencies]`, their `[target.….…]` forms, and tables such as
//! `[dependencies.name]`. Not understood: a dependency in an inline table of several lines (rustfmt's TOML rules
//! of Cargo do not allow one either).

use super::tree::{File, Tree};

/// Which of the three tables a dependency is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[dependencies]`
    Normal,
    /// `[dev-dependencies]`
    Dev,
    /// `[build-dependencies]`
    Build,
}

/// One line that names a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The package.
    pub name: String,
    /// The table.
    pub kind: Kind,
    /// The line, from 1.
    pub line: usize,
}

/// One package of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The path of its `Cargo.toml`.
    pub manifest: String,
    /// Its folder, without a slash at the end.
    pub folder: String,
    /// Its name.
    pub name: String,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// It has `[lints] workspace = true`.
    pub workspace_lints: bool,
}

/// Every package in the tree.
#[must_use]
pub fn packages(tree: &Tree) -> Vec<Package> {
    tree.ending("/Cargo.toml").filter_map(package).collect()
}

fn package(file: &File) -> Option<Package> {
    let mut package = Package {
        manifest: file.path.clone(),
        folder: file.path.trim_end_matches("/Cargo.toml").to_owned(),
        name: String::new(),
        dependencies: Vec::new(),
        workspace_lints: false,
    };
    let mut table = String::new();
    for (line, text) in (1..).zip(file.text.lines()) {
        let text = text.trim();
        if let Some(header) = text.strip_prefix('[') {
            table = header.trim_end_matches(']').to_owned();
            if let Some((kind, Some(name))) = dependencies_of(&table) {
                package.dependencies.push(Dependency { name: name.to_owned(), kind, line });
            }
            continue;
        }
        let Some((key, value)) = text.split_once('=').filter(|_| !text.starts_with('#')) else { continue };
        let (key, value) = (key.trim(), value.trim());
        if table == "package" && key == "name" {
            package.name = value.trim_matches('"').to_owned();
        } else if table == "lints" && key == "workspace" {
            package.workspace_lints = value == "true";
        } else if let Some((kind, None)) = dependencies_of(&table) {
            let key = key.split('.').next().unwrap_or(key).trim_matches('"');
            let name = renamed(value).unwrap_or(key).to_owned();
            package.dependencies.push(Dependency { name, kind, line });
        }
    }
    (!package.name.is_empty()).then_some(package)
}

/// The kind of a dependency table, and the dependency if the table is of one alone.
fn dependencies_of(table: &str) -> Option<(Kind, Option<&str>)> {
    let table = match table.strip_prefix("target.") {
        Some(target) => {
            let at = ["dev-dependencies", "build-dependencies", "dependencies"]
                .iter()
                .find_map(|t| target.find(t))?;
            &target[at..]
        }
        None => table,
    };
    let (kind, name) = match table.split_once('.') {
        Some((kind, name)) => (kind, Some(name)),
        None => (table, None),
    };
    let kind = match kind {
        "dependencies" => Kind::Normal,
        "dev-dependencies" => Kind::Dev,
        "build-dependencies" => Kind::Build,
        _ => return None,
    };
    Some((kind, name))
}

/// The package that `{ package = "…" }` names.
fn renamed(value: &str) -> Option<&str> {
    let (_, after) = value.split_once("package")?;
    after.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_dependency_is_read() {
        let text = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n[dependencies]\n# c = \"1\"\nb.workspace = true\n\
                    c = { version = \"1\", package = \"real-c\" }\n[target.'cfg(unix)'.dev-dependencies]\nd = \"1\"\n\
                    [build-dependencies.e]\nversion = \"1\"\n[features]\nf = []\n";
        let tree = Tree::of(&[("x/a/Cargo.toml", text), ("Cargo.toml", "[workspace]\n")]);
        let all = packages(&tree);
        let package = &all[0];
        assert_eq!((all.len(), package.name.as_str(), package.folder.as_str()), (1, "a", "x/a"));
        assert!(package.workspace_lints);
        let brief: Vec<_> = package.dependencies.iter().map(|d| (d.name.as_str(), d.kind, d.line)).collect();
        let expected = [
            ("b", Kind::Normal, 7),
            ("real-c", Kind::Normal, 8),
            ("d", Kind::Dev, 10),
            ("e", Kind::Build, 11),
        ];
        assert_eq!(brief, expected);
    }
}
