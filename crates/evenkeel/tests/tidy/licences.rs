//! The licences of everything that is built in: the same list as `deny.toml`, without a tool to install.

use std::process::Command;

use serde_json::Value;

use crate::tree::{none, read, root};

#[test]
fn every_dependency_has_an_allowed_licence() {
    let allowed = allowed();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    // with a platform, cargo still lists what other platforms need: only what is resolved is built in
    let nodes = metadata["resolve"]["nodes"].as_array().expect("cargo resolves them");
    let built: Vec<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
    let built = packages.iter().filter(|package| built.contains(&package["id"].as_str().unwrap_or_default()));
    none(built.filter_map(|package| {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or("none"));
        (!satisfied(licence, &allowed)).then(|| format!("{name}: its licence {licence} is not in deny.toml"))
    }));
}

#[test]
fn licence_expressions_are_understood() {
    let allowed: Vec<String> =
        ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(String::from).into();
    for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-3.0) AND Apache-2.0"] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    assert!(satisfied("Apache-2.0 WITH LLVM-exception OR Zlib", &allowed));
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Zlib) AND GPL-3.0", "none", ""] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}

fn allowed() -> Vec<String> {
    let deny = read("deny.toml");
    let list = deny.split_once("allow = [").and_then(|(_, rest)| rest.split_once(']')).expect("a list").0;
    list.split(',')
        .map(|item| item.trim().trim_matches('"').to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

fn metadata() -> Value {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc says its version");
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let asked = ["metadata", "--format-version=1", "--locked", "--filter-platform", host];
    let told = Command::new(env!("CARGO")).args(asked).current_dir(root()).output().expect("cargo runs");
    assert!(told.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).expect("cargo writes JSON")
}

/// Whether an SPDX expression can be fulfilled with allowed licences. `AND` binds stronger than `OR`.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().collect::<Vec<_>>().into_iter().peekable();
    either(&mut words, allowed)
}

type Words<'a> = std::iter::Peekable<std::vec::IntoIter<&'a str>>;

fn either(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut fine = both(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        fine |= both(words, allowed);
    }
    fine
}

fn both(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut fine = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        fine &= one(words, allowed);
    }
    fine
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let Some(word) = words.next() else { return false };
    if word == "(" {
        let fine = either(words, allowed);
        words.next_if_eq(&")");
        return fine;
    }
    let name = match words.next_if_eq(&"WITH") {
        Some(_) => format!("{word} WITH {}", words.next().unwrap_or_default()),
        None => word.to_owned(),
    };
    allowed.contains(&name)
}
