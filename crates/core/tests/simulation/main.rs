//! Seeded, deterministic simulations of the real core among model nodes, on virtual time and with faults. A seed that
//! breaks a rule prints what happened last; CONTRIBUTING.md says how to run more of them.
//!
//! ```text
//!  gateway.rs   clients ── front.rs: the proxy ── moves.rs: slots migrate, primaries die
//!  whole.rs     clients ── front.rs: the proxy ── servers/: processes, disks, rumours, replication ── the planner
//!  planner.rs                                     servers/ ────────────────────────────────────────── the planner
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "how many worlds is asked of the surroundings, and they run on every core; core itself has neither"
)]

mod client;
mod dice;
mod front;
mod gateway;
mod line;
mod moves;
mod planner;
mod seeds;
mod servers;
mod trace;
mod whole;

#[test]
fn the_gateway_keeps_its_promises_in_every_world() {
    seeds::run(4_000, gateway::play);
}

#[test]
fn the_planner_comes_to_rest_without_breaking_a_rule() {
    seeds::run(4_000, planner::play);
}

#[test]
fn gateway_and_planner_together_keep_what_is_promised() {
    seeds::run(3_000, whole::play);
}
