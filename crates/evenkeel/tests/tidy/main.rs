//! The tree against its own rules: sizes, arrows, what core must not touch, words, licences, and documents that say
//! what is true.
//!
//! Fast and without servers: it reads files, and asks cargo once for the licences. Rules that clippy can hold
//! (functions of at most 70 lines, no `unwrap`, nothing left open) stand in the root `Cargo.toml` instead.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod arrows;
mod documents;
mod licences;
mod promises;
mod tree;
mod words;

use tree::{none, sources};

/// Most lines of a file, its tests at the bottom not counted.
const LINES: usize = 600;
/// Files that are one table, as long as what they list.
const TABLES: [&str; 1] = ["crates/core/src/command/table.rs"];

#[test]
fn files_stay_small() {
    let sources = sources();
    let long = sources.iter().filter(|source| !TABLES.contains(&source.path.as_str())).filter_map(|source| {
        let lines = source.product().lines().count();
        (lines > LINES)
            .then(|| format!("{}: {lines} lines, at most {LINES}: split it by concern", source.path))
    });
    none(long);
}

#[test]
fn every_file_says_first_what_it_owns() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none(silent.map(|source| format!("{}: its first line is no `//!`", source.path)));
}

#[test]
fn tables_that_are_exempt_exist() {
    none(TABLES.iter().filter(|table| !tree::root().join(table).exists()));
}
