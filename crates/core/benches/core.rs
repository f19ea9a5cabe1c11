//! Nanoseconds per request of the parts of the data path, one thread, no sockets: `cargo bench -p evenkeel-core`.
//!
//! Each row is the fastest of several rounds, so that what else the machine does counts as little as possible.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench reads the clock; the crate that it measures does not"
)]

mod world;

use evenkeel_core::command::{Args, Lookup, keys, lookup};
use evenkeel_core::resp::{Limits, ReplyScan, RequestReader};
use evenkeel_core::topology::{NodeIndex, Topology, slot};
use std::hint::black_box;
use std::time::{Duration, Instant};
use world::{CLIENTS, Kind, World, map, reply, request};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(60);

fn main() {
    println!("{:<46} {:>12} {:>14}", "", "ns/request", "requests/s");
    let (get, set) =
        (request(&[b"GET", b"key:000000000042"]), request(&[b"SET", b"key:000000000042", &[b'v'; 64]]));
    let mut spans = Vec::new();
    for (name, frame) in [("read GET", &get), ("read SET of 64 bytes", &set)] {
        row(name, 1, || {
            let read = RequestReader::default().read(black_box(frame), &mut spans, &Limits::SERVER);
            black_box(read.is_ok());
        });
    }
    let value = reply(64);
    row("pass over a reply of 64 bytes", 1, || {
        black_box(ReplyScan::default().advance(black_box(&value)).is_ok());
    });
    row("look a command up", 1, || {
        black_box(lookup(black_box(b"GET"), None));
    });
    row("slot of a key of 16 bytes", 1, || {
        black_box(slot(black_box(b"key:000000000042")));
    });
    let map = map();
    let read = RequestReader::default().read(&get, &mut spans, &Limits::SERVER);
    assert!(read.is_ok());
    row("route GET (look up, find key, slot, owner)", 1, || {
        let args = Args::new(black_box(&get), &spans);
        black_box(route(&args, &map));
    });
    for depth in [1, 16, 128] {
        for (name, kind, bytes) in [
            ("GET of 64 bytes", Kind::Get, 64),
            ("SET of 64 bytes", Kind::Set, 64),
            ("GET of 4 KiB", Kind::Get, 4096),
        ] {
            let mut world = World::new(depth, kind, bytes);
            row(&format!("whole way of {name}, pipeline {depth}"), CLIENTS * depth, || world.turn());
        }
    }
}

/// Measures `work`, which does so many requests, and prints a row.
fn row(name: &str, requests: usize, mut work: impl FnMut()) {
    let mut calls = 1u32;
    let mut best = f64::MAX;
    for round in 0..ROUNDS + 3 {
        let begin = Instant::now();
        (0..calls).for_each(|_| work());
        let spent = begin.elapsed();
        // The first rounds warm up and find out how many calls fill a round.
        if round < 3 {
            calls = (f64::from(calls) * ROUND.as_secs_f64() / spent.as_secs_f64().max(1e-7)).clamp(1.0, 1e8)
                as u32;
        } else {
            best = best.min(spent.as_nanos() as f64 / f64::from(calls) / requests as f64);
        }
    }
    println!("{name:<46} {best:>12.1} {:>14.0}", 1e9 / best);
}

fn route(args: &Args<'_>, map: &Topology) -> Option<NodeIndex> {
    let Lookup::Found(command) = lookup(args.get(0), Some(args.get(1))) else { return None };
    let key = keys(command, args).ok()?.next()?;
    map.owner(slot(args.get(key)))
}
