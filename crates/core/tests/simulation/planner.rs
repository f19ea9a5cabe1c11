//! The planner alone: clusters of any shape are formed, broken in every way, and healed. It must come to rest, with one
//! owner for every slot, and no step may break a safety rule on the way.

use super::seeds::Tally;
use super::servers::Servers;
use super::trace::Trace;
use evenkeel_core::config::Persistence;

pub(crate) fn play(seed: u64, trace: &Trace) -> Tally {
    let persistence = if seed.is_multiple_of(2) { Persistence::None } else { Persistence::Aof };
    let shape = [(3, 1), (3, 1), (3, 2), (5, 1), (3, 0)][(seed % 5) as usize];
    let mut servers = Servers::new(seed, shape, persistence, trace);
    rest(&mut servers, trace, 60);
    let mut tally = Tally::default();
    for _ in 0..servers.below(6) + 1 {
        for _ in 0..servers.below(40) {
            turn(&mut servers, trace);
        }
        if servers.below(6) == 0 {
            let at = servers.below(servers.desired.nodes.len() as u64);
            servers.cut(at as usize);
        } else {
            servers.fault();
        }
        tally.add("faults", 1);
    }
    rest(&mut servers, trace, 120);
    servers.check_end();
    tally
}

/// A tenth of a second; whether the planner had nothing to do.
fn turn(servers: &mut Servers, trace: &Trace) -> bool {
    servers.clock(servers.now + servers.tick);
    trace.clock(servers.now * 1_000);
    servers.live();
    servers.turn()
}

fn rest(servers: &mut Servers, trace: &Trace, seconds: u64) {
    for _ in 0..seconds * 1_000 / servers.tick {
        if turn(servers, trace) && servers.is_quiet() {
            return;
        }
    }
    panic!("no rest: {}", servers.trouble());
}
