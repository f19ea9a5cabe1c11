//! Does clusters: observes the nodes, plans, acts, and shows a person what it sees.

pub mod status;
pub mod web;
