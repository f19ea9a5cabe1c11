//! The files of the tree, as text. Never looks into build output or installed libraries.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

/// Directories that hold nothing of ours.
const FOREIGN: [&str; 5] = ["target", "node_modules", "__pycache__", ".git", ".venv"];

/// One text file.
pub(crate) struct Source {
    /// Its path from the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// The text without the tests at its bottom.
    pub(crate) fn product(&self) -> &str {
        let tests = self.text.find("\n#[cfg(test)]\nmod tests {");
        tests.map_or(self.text.as_str(), |at| &self.text[..at])
    }

    /// Lines of code of the product with their numbers: no tests, no whole-line comments.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.product().lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two below the root").to_owned()
}

/// Every Rust file.
pub(crate) fn sources() -> Vec<Source> {
    let sources = files(&["rs"]);
    assert!(sources.len() > 50, "found only {} Rust files", sources.len());
    sources
}

/// Rust files under `dir` that are part of the product: no tests.
pub(crate) fn product(dir: &str) -> Vec<Source> {
    let all = sources();
    let only_tests: Vec<String> = all.iter().flat_map(test_modules).collect();
    let is_test = |path: &str| only_tests.iter().any(|module| path.starts_with(module.as_str()));
    all.into_iter().filter(|source| source.path.starts_with(dir) && !is_test(&source.path)).collect()
}

/// Every file with one of these extensions.
pub(crate) fn files(extensions: &[&str]) -> Vec<Source> {
    let (root, mut found) = (root(), Vec::new());
    walk(&root, &mut |path| {
        if !path.extension().is_some_and(|end| extensions.iter().any(|wanted| end == *wanted)) {
            return;
        }
        let name = path.strip_prefix(&root).unwrap().to_str().expect("paths are UTF-8").to_owned();
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        found.push(Source { path: name, text });
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// One file of the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with every complaint in a line of its own.
pub(crate) fn none(complaints: impl IntoIterator<Item = impl Display>) {
    let complaints: Vec<String> = complaints.into_iter().map(|one| one.to_string()).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn walk(dir: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match (path.is_dir(), FOREIGN.contains(&name)) {
            (true, false) => walk(&path, visit),
            (true, true) => {}
            (false, _) => visit(&path),
        }
    }
}

/// Paths (beginnings of them) of the modules that this file declares for tests only.
fn test_modules(source: &Source) -> Vec<String> {
    let (dir, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let home = match name {
        "mod.rs" | "lib.rs" | "main.rs" => dir.to_owned(),
        _ => source.path.trim_end_matches(".rs").to_owned(),
    };
    let declared = source.text.match_indices("#[cfg(test)]\nmod ").filter_map(|(at, start)| {
        let rest = &source.text[at + start.len()..];
        rest.split_once(';').map(|(name, _)| name).filter(|name| !name.contains(['{', ' ']))
    });
    declared.flat_map(|name| [format!("{home}/{name}.rs"), format!("{home}/{name}/")]).collect()
}
