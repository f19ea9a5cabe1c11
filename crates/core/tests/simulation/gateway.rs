//! The gateway alone: slots migrate key by key, primaries die and their replicas take over with everything that they
//! acknowledged, nodes refuse for a while.

use super::client::Hold;
use super::front::Front;
use super::moves::Cluster;
use super::seeds::Tally;
use super::trace::Trace;
use evenkeel_core::metric::Metric;
use evenkeel_core::proxy::Settings;
use evenkeel_core::topology::slot;

const STEPS: usize = 2_500;

pub(crate) fn play(seed: u64, trace: &Trace) -> Tally {
    let hold = if seed % 4 == 3 { Hold::Short } else { Hold::Long };
    let company = if seed % 2 == 1 { 1_000 } else { 0 };
    let mut settings = Settings { ordinary: 300, company, ..Settings::default() };
    if hold == Hold::Short {
        (settings.hold, settings.hold_bytes) = (60_000, 700);
    }
    let mut front = Front::new(seed, Cluster::new(trace.clone()), settings, hold, trace);
    let calm = front.dice.below(3);
    for _ in 0..STEPS {
        let time = front.dice.below(600) as u64;
        front.pass(time);
        front.nodes.tick(front.now);
        front.step();
        trouble(&mut front, calm);
    }
    rest(&mut front);
    front.check_end();
    let mut tally = Tally::default();
    front.ledger.count(&mut tally);
    tally.add("merged reads", front.proxy.counts()[Metric::MergedReads as usize]);
    tally
}

fn trouble(front: &mut Front<Cluster>, calm: usize) {
    match front.dice.below(2000 >> calm) {
        0 => front.break_one(),
        1 => {
            if let Some(node) = front.nodes.kill(&mut front.dice) {
                front.break_node(node);
            }
        }
        2 | 3 => front.nodes.refuse(&mut front.dice),
        4 => front.lose_client(),
        5..10 => front.nodes.waver(&mut front.dice),
        10..60 => {
            let keys = front.clients.iter().flat_map(|client| client.keys().iter().step_by(3));
            let slots: Vec<u16> = keys.map(|key| slot(key)).collect();
            front.nodes.shift(&slots, &mut front.dice);
        }
        _ => {}
    }
}

/// All faults end; so must all waiting.
fn rest(front: &mut Front<Cluster>) {
    front.nodes.heal(&mut front.dice);
    front.look();
    for _ in 0..4_000 {
        front.pass(2_000);
        if !front.flow() {
            return;
        }
    }
}
