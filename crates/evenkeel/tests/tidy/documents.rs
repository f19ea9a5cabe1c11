//! The documents against the tree: links and paths that exist, commands that are the ones in use, no dependency
//! without its reason.

use std::path::Path;

use crate::tree::{Source, files, none, read, root};

#[test]
fn links_lead_somewhere() {
    let documents = files(&["md"]);
    none(documents.iter().flat_map(|document| {
        let home = root().join(&document.path).parent().expect("a file lies in a directory").to_owned();
        let broken = links(&document.text).into_iter().filter(move |link| !resolves(link, &home, document));
        broken.map(|link| format!("{}: {link} leads nowhere", document.path))
    }));
}

#[test]
fn paths_in_documents_exist() {
    let documents = files(&["md"]);
    none(documents.iter().flat_map(|document| {
        let paths = document.text.split('`').skip(1).step_by(2).filter(|word| is_path(word));
        // `path::function` is a proof: promises.rs looks inside
        let gone = paths.filter(|path| !root().join(path.split("::").next().unwrap_or(path)).exists());
        gone.map(|path| format!("{}: {path} does not exist", document.path))
    }));
}

#[test]
fn the_readme_and_ci_run_the_same_tests() {
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    let ours = |line: &&str| line.starts_with("./test");
    assert!(readme.lines().any(|line| ours(&line)), "README.md has a line that begins with `./test`");
    assert!(ci.lines().any(|line| line.ends_with(" ./test")), ".ci/run does not run `./test`");
}

#[test]
fn every_dependency_has_its_reason() {
    let (manifest, map) = (read("Cargo.toml"), read("ARCHITECTURE.md"));
    let section = manifest.split_once("[workspace.dependencies]").expect("the section").1;
    let section = section.split("\n[").next().unwrap_or(section);
    let names = section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let foreign = names.filter(|name| !name.starts_with("evenkeel"));
    let silent = foreign.filter(|name| !map.contains(&format!("`{name}`")));
    none(silent.map(|name| format!("ARCHITECTURE.md does not say why there is {name}")));
}

/// Targets of `[text](target)` outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut prose = true;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            prose = !prose;
        }
        let parts = line.split("](").skip(1).filter(|_| prose);
        found.extend(parts.filter_map(|part| Some(part.split_once(')')?.0.to_owned())));
    }
    found
}

fn resolves(link: &str, home: &Path, document: &Source) -> bool {
    if link.starts_with("https://") || link.starts_with("http://") {
        return true;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let text = match path {
        "" => Some(document.text.clone()),
        _ if !home.join(path).exists() => return false,
        _ => std::fs::read_to_string(home.join(path)).ok(),
    };
    anchor.is_empty() || text.is_some_and(|text| headings(&text).any(|heading| heading == anchor))
}

/// The headings as the anchors that they get.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept =
            words.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
        kept.collect::<String>().replace(' ', "-")
    })
}

fn is_path(word: &str) -> bool {
    ["crates/", "docs/", ".ci/"].iter().any(|start| word.starts_with(start))
        && !word.contains([' ', '*', '<', '{', '…'])
}
