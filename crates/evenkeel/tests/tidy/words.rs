//! Words that the repository does without.

use crate::arrows::has_word;
use crate::tree::{files, none, sources};

/// This file names them all.
const HERE: &str = "crates/evenkeel/tests/tidy/words.rs";

/// A word, and why it is not wanted.
const WORDS: [(&str, &str); 11] = [
    ("TODO", "an open end: finish it, or leave it out"),
    ("FIXME", "an open end: finish it, or leave it out"),
    ("todo!", "an open end: finish it, or leave it out"),
    ("unimplemented!", "an open end: finish it, or leave it out"),
    ("helper", "a name that says nothing"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    ("/home/", "a path of one machine"),
    ("../shared", "a path outside the repository"),
    (concat!("crates", ".io"), "a registry's address: its client knows it"),
    (concat!("pypi", ".org"), "a registry's address: its client knows it"),
    (concat!("registry", ".npmjs"), "a registry's address: its client knows it"),
];

/// Ends of names that say nothing.
const NAMES: [&str; 5] = ["Manager", "Handler", "Helper", "Util", "Utils"];

#[test]
fn unwanted_words_stay_out() {
    let texts = files(&["rs", "toml", "md", "js", "mjs", "py", "css", "json", "txt"]);
    let texts: Vec<_> = texts.into_iter().filter(|text| text.path != HERE).collect();
    none(texts.iter().flat_map(|text| {
        text.text.lines().enumerate().flat_map(move |(at, line)| {
            let found = WORDS.iter().filter(|(word, _)| line.contains(word));
            found.map(move |(word, why)| format!("{}:{}: `{word}` is {why}", text.path, at + 1))
        })
    }));
}

#[test]
fn names_say_what_a_thing_does() {
    let sources = sources();
    none(sources.iter().flat_map(|source| {
        source.code().filter_map(|(at, line)| {
            let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
            let kind = words.next().filter(|word| ["struct", "enum", "trait", "type", "mod"].contains(word));
            let name = kind.and(words.next())?.split(|letter: char| !letter.is_alphanumeric()).next()?;
            let vague = NAMES.iter().any(|end| name.ends_with(end) || name == end.to_lowercase());
            vague.then(|| format!("{}:{at}: {name} does not say what it does", source.path))
        })
    }));
}

#[test]
fn words_are_found_as_words() {
    assert!(has_word("std::fs::read", "std::fs") && has_word("x: Instant,", "Instant"));
    assert!(!has_word("std::fsync", "std::fs") && !has_word("Instantly", "Instant"));
}
