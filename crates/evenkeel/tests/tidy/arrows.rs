//! The arrows: which crate imports which, which room of core knows which, and what core and gateway never touch.

use crate::tree::{none, product, read};

/// What each crate may import of ours.
const CRATES: [(&str, &[&str]); 5] = [
    ("core", &[]),
    ("gateway", &["evenkeel-core"]),
    ("control", &["evenkeel-core"]),
    ("proof", &["evenkeel-core", "evenkeel-control"]),
    ("evenkeel", &["evenkeel-core", "evenkeel-gateway", "evenkeel-control", "evenkeel-proof"]),
];

/// The rooms of core, and what each may know.
const ROOMS: [(&str, &[&str]); 8] = [
    ("resp", &[]),
    ("metric", &[]),
    ("command", &["resp", "metric"]),
    ("topology", &["resp"]),
    ("proxy", &["resp", "metric", "command", "topology"]),
    ("config", &[]),
    ("growth", &[]),
    ("plan", &["config", "topology"]),
];

/// Everything that core depends on: nothing among it does I/O, reads a clock or is random.
const CORE: [&str; 5] = ["itoa", "memchr", "serde", "thiserror", "toml"];
/// The data path has no async runtime.
const ASYNC: [&str; 5] = ["tokio", "futures", "async", "smol", "axum"];

/// What must not be named in core, and why.
const BANNED: [(&str, &str); 14] = [
    ("std::fs", "core opens no files"),
    ("std::thread", "core starts no threads"),
    ("std::process", "core starts no processes"),
    ("std::env", "core has no surroundings"),
    ("std::os", "core has no system"),
    ("Instant", "core reads no clock"),
    ("SystemTime", "core reads no clock"),
    ("TcpStream", "core has no sockets"),
    ("TcpListener", "core has no sockets"),
    ("UdpSocket", "core has no sockets"),
    ("Mutex", "core is used by one thread at a time"),
    ("println", "core has no terminal"),
    ("eprintln", "core has no terminal"),
    ("unsafe", "core needs none"),
];

#[test]
fn crates_import_only_what_they_may() {
    none(CRATES.iter().flat_map(|(name, allowed)| {
        let ours = dependencies(name, Which::All).into_iter().filter(|one| one.starts_with("evenkeel"));
        let wrong = ours.filter(|one| !allowed.contains(&one.as_str()));
        wrong.map(move |one| format!("crates/{name}/Cargo.toml: {name} must not import {one}"))
    }));
}

#[test]
fn rooms_of_core_know_only_what_they_may() {
    let sources = product("crates/core/src/");
    none(sources.iter().flat_map(|source| {
        let room = room_of(&source.path);
        let known = ROOMS.iter().find(|(name, _)| *name == room).map(|(_, known)| *known);
        let named = ROOMS.iter().map(|(name, _)| *name).filter(|other| names(source.product(), other));
        named.filter_map(move |other| match known {
            _ if other == room => None,
            Some(known) if known.contains(&other) => None,
            Some(_) | None => Some(format!("{}: `{room}` must not know `{other}`", source.path)),
        })
    }));
}

#[test]
fn every_room_of_core_has_its_arrows() {
    let lib = read("crates/core/src/lib.rs");
    let rooms = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let unknown = rooms.filter(|room| ROOMS.iter().all(|(name, _)| name != room));
    none(unknown.map(|room| format!("core has the room `{room}`: give it its arrows in this test")));
}

#[test]
fn core_touches_nothing_outside() {
    let sources = product("crates/core/src/");
    none(sources.iter().flat_map(|source| {
        source.code().flat_map(move |(at, line)| {
            let named = BANNED.iter().filter(|(word, _)| has_word(line, word));
            named.map(move |(word, why)| format!("{}:{at}: {why}: `{word}`", source.path))
        })
    }));
    let strangers =
        dependencies("core", Which::Product).into_iter().filter(|one| !CORE.contains(&one.as_str()));
    none(
        strangers
            .map(|one| format!("crates/core/Cargo.toml: is {one} free of I/O? then name it in this test")),
    );
}

#[test]
fn the_data_path_has_no_async_runtime() {
    none(["core", "gateway"].iter().flat_map(|name| {
        let wrong = dependencies(name, Which::Product).into_iter();
        let wrong = wrong.filter(|one| ASYNC.iter().any(|banned| one.starts_with(banned)));
        wrong.map(move |one| format!("crates/{name}/Cargo.toml: {one} on the data path"))
    }));
}

#[test]
fn every_dependency_is_used() {
    none(CRATES.iter().flat_map(|(name, _)| {
        let sources = product(&format!("crates/{name}/src/"));
        let used = move |one: &String| {
            let word = one.replace('-', "_");
            sources.iter().any(|source| has_word(&source.text, &word))
        };
        let idle = dependencies(name, Which::Product).into_iter().filter(move |one| !used(one));
        idle.map(move |one| format!("crates/{name}/Cargo.toml: nothing uses {one}"))
    }));
}

/// Which sections of a manifest count.
#[derive(Clone, Copy)]
enum Which {
    Product,
    All,
}

fn dependencies(name: &str, which: Which) -> Vec<String> {
    let manifest = read(&format!("crates/{name}/Cargo.toml"));
    let (mut inside, mut found) = (false, Vec::new());
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = match which {
                Which::Product => section.ends_with("dependencies") && !section.starts_with("dev-"),
                Which::All => section.ends_with("dependencies"),
            };
        } else if inside && line.contains('=') {
            found.push(line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned());
        }
    }
    found
}

/// `crates/core/src/proxy/split.rs` → `proxy`
fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("crates/core/src/").unwrap_or(path);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

/// Whether the text names a room, by `crate::` or out of its own room by `super::`.
fn names(text: &str, room: &str) -> bool {
    let by_crate = format!("crate::{room}");
    let mut places = text.match_indices(&by_crate).map(|(at, found)| at + found.len());
    let ends = |at: usize| !text[at..].starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let grouped = text
        .split("use crate::{")
        .skip(1)
        .any(|rest| rest.split(';').next().is_some_and(|list| has_word(list, room)));
    places.any(ends) || grouped
}

/// Whether `word` stands in `text` as a word of its own.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}
