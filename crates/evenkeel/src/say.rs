//! Words for a person, on standard output and standard error.
//!
//! Owns that nobody dies of a reader who went away or of a log on a full disk: what cannot be said is dropped.

use std::fmt::Display;
use std::io::Write as _;

/// A line on standard output.
pub(crate) fn say(words: impl Display) {
    let _ = writeln!(std::io::stdout(), "{words}");
}

/// A line on standard error.
pub(crate) fn complain(words: impl Display) {
    let _ = writeln!(std::io::stderr(), "evenkeel: {words}");
}
