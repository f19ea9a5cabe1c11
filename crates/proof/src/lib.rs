//! The part of evenkeel that doubts: it loads a service through its address and checks every answer.
//!
//! [`bench`] measures and writes the reports of `evenkeel bench`; [`load`] is a verifying load for tests and
//! drills that break or reshard a cluster meanwhile. Nothing here knows how the service works inside: it
//! only speaks the Redis protocol to an address. See `ARCHITECTURE.md`.

pub mod bench;
mod link;
pub mod load;
mod noise;
mod wire;
