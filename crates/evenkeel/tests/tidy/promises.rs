//! `PROMISES.md`: every row of a table with a column *proof* names a test or program that is in the tree.

use crate::tree::{none, read, root};

/// What the column *measured* says of a promise that nobody has measured yet; such a row needs no proof.
const OPEN: &str = "not measured yet";

#[test]
fn every_promise_has_a_proof() {
    let text = read("PROMISES.md");
    let rows = rows(&text);
    assert!(rows.len() > 5, "found only {} promises", rows.len());
    none(rows.iter().filter_map(|row| {
        let proofs: Vec<&str> = row.proof.split('`').skip(1).step_by(2).collect();
        let wrong = proofs.iter().find(|proof| !exists(proof));
        match (wrong, proofs.len(), row.measured.trim()) {
            (Some(wrong), ..) => Some(format!("{}: its proof {wrong} does not exist", row.promise.trim())),
            (None, 0, measured) if measured != OPEN => Some(format!("{}: has no proof", row.promise.trim())),
            (None, ..) => None,
        }
    }));
}

#[test]
fn every_drill_has_its_promise() {
    let text = read("PROMISES.md");
    let rows = rows(&text);
    let cases = std::fs::read_dir(root().join("crates/proof/src/drill/case")).expect("the cases");
    let files = cases.map(|case| case.expect("a case").file_name().into_string().expect("its name"));
    none(files.filter(|file| file != "mod.rs").filter_map(|file| {
        let path = format!("`crates/proof/src/drill/case/{file}`");
        let shown = rows.iter().any(|row| row.proof.contains(&path));
        (!shown).then(|| format!("{path} is no proof of any promise: give it its row"))
    }));
}

/// promise | measured | how | proof
struct Row<'a> {
    promise: &'a str,
    measured: &'a str,
    proof: &'a str,
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let (mut rows, mut inside) = (Vec::new(), false);
    for line in text.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').collect();
        match cells.as_slice() {
            [first, .., last] if last.trim() == "proof" && first.trim() == "promise" => inside = true,
            [first, ..] if first.trim().starts_with("--") => {}
            [promise, measured, _, proof] if inside && line.starts_with('|') => {
                rows.push(Row { promise, measured, proof });
            }
            _ if inside && line.starts_with('|') => panic!("a promise has four cells: {line}"),
            _ => inside = false,
        }
    }
    rows
}

/// `path` is a file; `path::function` is a function in it.
fn exists(proof: &str) -> bool {
    let (path, function) = proof.split_once("::").unwrap_or((proof, ""));
    let Ok(text) = std::fs::read_to_string(root().join(path)) else { return false };
    function.is_empty() || text.contains(&format!("fn {function}("))
}
