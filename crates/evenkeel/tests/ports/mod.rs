//! Ports for the servers of a test, in the part of the range that this lane of `./test` has: `EVENKEEL_LANE`, 1 or 2.
//!
//! Tests kill servers and start them again, and nobody else may take the port in between.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes ports of outgoing connections, with the buses 10000 above.
const FIRST: u16 = 10_000;
const LANE: u16 = 5_440;
/// As many are asked for at a time at most. The same for all, so that those of one test never meet where the range begins anew.
const MOST: u16 = 64;

/// The first of `count` ports in a row that are free, and whose bus ports are.
pub(crate) fn free(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let (first, size) = match std::env::var("EVENKEEL_LANE").as_deref() {
        Ok("1") => (FIRST, LANE),
        Ok("2") => (FIRST + LANE, LANE),
        Ok(lane) => panic!("EVENKEEL_LANE is {lane}, expected 1 or 2"),
        Err(_) => (FIRST, 2 * LANE),
    };
    assert!(count <= MOST, "{count} ports are asked for, at most {MOST} at a time");
    let start = (std::process::id() as u16).wrapping_mul(37);
    for _ in 0..2000 {
        let at = first + start.wrapping_add(NEXT.fetch_add(count, Ordering::Relaxed)) % (size - MOST);
        if (at..at + count).all(|port| is_free(port) && is_free(port + 10_000)) {
            return at;
        }
    }
    panic!("there are no {count} free ports in a row from {first} to {}", first + size);
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
