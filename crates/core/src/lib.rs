//! The part of evenkeel that decides.
//!
//! Nothing in this crate opens a socket, reads a clock, starts a thread or draws a random number: time and
//! randomness come in as arguments, and what should happen goes out as values. See `ARCHITECTURE.md`.

pub mod command;
pub mod config;
pub mod growth;
pub mod metric;
pub mod plan;
pub mod proxy;
pub mod resp;
pub mod topology;
