//! Everything together: the real proxy serves clients while the real planner heals what breaks among the servers, on the
//! same clock.
//!
//! Besides what holds for each alone: with durability `replicated` nothing acknowledged is lost by any one fault; with
//! `async` nothing is lost that no fault explains; in the end the gateway's map is the servers' own.

use super::client::Hold;
use super::front::Front;
use super::line::Nodes;
use super::seeds::Tally;
use super::servers::Servers;
use super::trace::Trace;
use evenkeel_core::config::Persistence;
use evenkeel_core::proxy::{Durability, Settings};
use evenkeel_core::topology::slot;

const STEPS: usize = 1_500;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faults {
    /// One thing after the other, the next one when all is well again.
    Single,
    Many,
}

/// How long a world lasts: the more moments are looked at within a second, the fewer seconds there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Two seconds, in which replies come in pieces while control acts.
    Close,
    /// Ten: servers hear nothing of each other for so long that they elect.
    Far,
}

struct World {
    front: Front<Servers>,
    faults: Faults,
    /// When servers tick and control looks next, in milliseconds, and when the nodes are looked at for the gateway.
    tick: u64,
    control: u64,
    watch: u64,
    /// Replicas get something once in so many moments.
    lag: usize,
    pace: Pace,
    struck: u64,
}

pub(crate) fn play(seed: u64, trace: &Trace) -> Tally {
    let durability = if seed.is_multiple_of(3) { Durability::Async } else { Durability::Replicated };
    let faults =
        if durability == Durability::Async && seed.is_multiple_of(2) { Faults::Many } else { Faults::Single };
    let persistence = if seed % 4 < 2 { Persistence::None } else { Persistence::Aof };
    let shape = if seed % 5 == 4 { (3, 2) } else { (3, 1) };
    let hold = if seed % 7 == 6 { Hold::Short } else { Hold::Long };
    let company = if seed % 11 < 5 { 1_000 } else { 0 };
    let mut settings =
        Settings { durability, ordinary: 300, hold: 600_000_000, company, ..Settings::default() };
    if seed % 2 == 1 {
        settings.durability_wait = 8_000_000; // so long that the servers elect meanwhile
    }
    if hold == Hold::Short {
        (settings.hold, settings.hold_bytes) = (60_000, 700);
    }
    let servers = Servers::new(seed, shape, persistence, trace).formed();
    let mut front = Front::new(seed, servers, settings, hold, trace);
    let lag = front.dice.pick(&[2, 6, 20]);
    let pace = front.dice.pick(&[Pace::Close, Pace::Far]);
    let mut world = World { front, faults, tick: 0, control: 0, watch: 0, lag, pace, struck: 0 };
    world.run();
    world.rest();
    let mut tally = world.check_end();
    tally.add("faults", world.struck);
    world.front.ledger.count(&mut tally);
    tally
}

impl World {
    fn run(&mut self) {
        let calm = 100 + self.front.dice.below(300);
        for _ in 0..STEPS {
            let most = match (self.front.dice.below(40), self.pace) {
                (0, _) => 60_000,
                (1..=12, Pace::Close) => 4_000,
                (1..=20, Pace::Far) => 20_000,
                (_, Pace::Close) => 200,
                (_, Pace::Far) => 2_000,
            };
            let time = self.front.dice.below(most) as u64;
            self.pass(time);
            self.front.step();
            match self.front.dice.below(1_000) {
                0 => self.front.break_one(),
                1 => self.front.lose_client(),
                _ => {}
            }
            if self.front.dice.once_in(calm) {
                self.strike();
            }
        }
    }

    fn strike(&mut self) {
        match self.faults {
            Faults::Single if !self.front.nodes.is_whole() => return,
            Faults::Single => self.front.nodes.single_fault(),
            Faults::Many if self.front.dice.once_in(2) => self.front.nodes.single_fault(),
            Faults::Many => self.front.nodes.fault(),
        }
        self.struck += 1;
        self.bury();
    }

    /// Time passes for everyone.
    fn pass(&mut self, time: u64) {
        self.front.pass(time);
        let now = self.front.now / 1_000;
        self.front.nodes.clock(now);
        if self.tick <= now {
            self.tick = now + self.front.nodes.tick;
            self.front.nodes.live();
        }
        if self.control <= now {
            let idle = self.front.nodes.turn();
            self.control = now + if idle { 100 } else { 5 } + self.front.dice.below(50) as u64;
            self.bury();
        }
        if self.watch <= now {
            self.watch = now + 1_000;
            self.front.look();
        }
        if self.front.dice.once_in(self.lag) {
            self.front.nodes.replicate();
        }
    }

    /// Connections to processes that ended break; control hears of it at once.
    fn bury(&mut self) {
        for node in std::mem::take(&mut self.front.nodes.died) {
            self.front.break_node(node);
            self.control = self.control.min(self.front.now / 1_000 + 1 + self.front.dice.below(10) as u64);
        }
    }

    /// All faults end; so must all waiting.
    fn rest(&mut self) {
        self.front.nodes.mend();
        let (mut quiet, mut waits) = (false, true);
        for turn in 0..20_000 {
            self.pass(if quiet { 2_000 } else { 10_000 });
            for _ in 0..4 {
                self.front.nodes.replicate();
            }
            waits = self.front.flow();
            if turn % 10 == 0 || !waits {
                quiet = self.front.nodes.desired.orders.is_empty() && self.front.nodes.is_whole();
                if quiet && !waits && self.is_agreed() {
                    return;
                }
            }
        }
        if !waits {
            assert!(quiet, "no rest: {}", self.front.nodes.trouble());
        }
    }

    /// Whether the gateway goes by what the servers say.
    fn is_agreed(&self) -> bool {
        let map = self.front.proxy.topology();
        self.front.keys().all(|key| {
            let owner = map.owner(slot(key)).map(|node| map.node(node).addr);
            owner == self.front.nodes.owner(slot(key))
        })
    }

    fn check_end(&self) -> Tally {
        let nodes = &self.front.nodes;
        nodes.check_end();
        self.front.check_end();
        assert!(self.is_agreed(), "the gateway goes by another map than the servers");
        let (ledger, kept) = (&self.front.ledger, nodes.kept());
        let gone: Vec<_> = ledger.acknowledged().iter().filter(|id| !kept.contains(id)).collect();
        let mut tally = Tally::default();
        if ledger.confirmed {
            assert!(gone.is_empty(), "acknowledged and confirmed writes are lost: {gone:?}");
            tally.add(
                "lossy keys where confirmed",
                self.front.keys().filter(|key| nodes.has_lost(key)).count() as u64,
            );
        } else {
            let odd: Vec<_> = gone.iter().filter(|id| !nodes.lost.contains(id)).collect();
            assert!(odd.is_empty(), "acknowledged writes are lost, and nobody threw them away: {odd:?}");
            tally.add("acknowledged writes lost by async", gone.len() as u64);
        }
        tally
    }
}
