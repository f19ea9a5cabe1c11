//! The part of evenkeel that doubts: it loads a service through its address and checks every answer.
//!
//! [`bench`] measures and writes the reports of `evenkeel bench`; [`drill`] breaks things under a verifying
//! [`load`] and judges what clients saw. Nothing here knows how the service works inside: it speaks the Redis
//! protocol to addresses, and to a deployment by its command line and its status. See `ARCHITECTURE.md`.

pub mod bench;
pub mod drill;
mod link;
pub mod load;
mod machine;
mod noise;
mod units;
mod wire;
