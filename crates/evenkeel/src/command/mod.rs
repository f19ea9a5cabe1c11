//! The commands, one file each.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod down;
pub(crate) mod drill;
pub(crate) mod order;
pub(crate) mod role;
pub(crate) mod status;
pub(crate) mod up;

/// How a command ends: its exit code, or an error to print.
pub(crate) type Outcome = Result<std::process::ExitCode, Box<dyn std::error::Error>>;
