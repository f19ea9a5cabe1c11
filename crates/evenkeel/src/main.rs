//! The binary: reads the command line, starts and stops roles.
fn main() {}
