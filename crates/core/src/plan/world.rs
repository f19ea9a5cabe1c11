//! A simulated world of model nodes with faults, seeded: the planner must come to rest, with one owner per slot,
//! and no step may break a safety rule on the way.
//!
//! The model knows what matters here: views and epochs that spread by rumour, elections, data that a restart
//! without persistence loses and that a replica throws away when it follows an empty primary.

mod act;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{
    Answer, Desired, Disk, Duty, Facts, Link, Mark, NodeId, NodeName, Observed, Order, Own, Peer, PeerLink,
    PeerRole, Process, Progress, Request, Seen, Settings, Silence, Slots, State, Wanted, What, admit, judge,
    plan, progress,
};
use crate::config::{Millis, Persistence};

const TICK: u64 = 100;
const TIMEOUT: u64 = 1_000;

/// What a node knows of a node.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    at: usize,
    of: Option<u64>,
    epoch: u64,
    slots: Slots,
}

#[derive(Clone, Debug)]
struct Model {
    id: u64,
    process: Process,
    since: u64,
    hung_from: u64,
    hung_until: u64,
    /// It computes while it hangs.
    busy: bool,
    view: BTreeMap<u64, Known>,
    data: u64,
    disk: u64,
    blank: bool,
    /// Its id before it lost its directory.
    formerly: Option<u64>,
    unreadable: bool,
    offset: u64,
    link_down: Option<u64>,
    won_at: Option<u64>,
    yielded_at: Option<u64>,
    forced_at: Option<u64>,
}

struct World {
    desired: Desired,
    persistence: Persistence,
    nodes: Vec<Model>,
    now: u64,
    began: u64,
    random: u64,
    next_id: u64,
    /// Whether all was well once: from then on it is on record who kept data.
    recorded: bool,
    /// Since when somebody is asked about a loss.
    asked: u64,
    log: Vec<String>,
    seed: u64,
}

impl World {
    fn new(seed: u64, shards: usize, replicas: usize, persistence: Persistence) -> World {
        let count = shards * (1 + replicas);
        let nodes =
            (0..count).map(|at| Wanted { name: NodeName(format!("n{at:02}")), addr: addr(at) }).collect();
        let desired = Desired {
            nodes,
            shards,
            replicas,
            node_timeout: Millis(TIMEOUT),
            hang: Millis(400),
            persistence,
            orders: Vec::new(),
        };
        let model = |at: usize| Model {
            id: at as u64 + 1,
            process: Process::Absent,
            since: 0,
            hung_from: 0,
            hung_until: 0,
            busy: false,
            view: BTreeMap::from([(at as u64 + 1, Known { at, of: None, epoch: 0, slots: Slots::none() })]),
            data: 0,
            disk: 0,
            blank: true,
            formerly: None,
            unreadable: false,
            offset: 0,
            link_down: None,
            won_at: None,
            yielded_at: None,
            forced_at: None,
        };
        World {
            desired,
            persistence,
            nodes: (0..count).map(model).collect(),
            now: 1_000_000,
            began: 1_000_000,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            next_id: 1_000,
            recorded: false,
            asked: 0,
            log: Vec::new(),
            seed,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % limit
    }

    fn say(&mut self, what: String) {
        self.log.push(format!("{:>6} {what}", self.now - self.began));
    }

    fn check(&self, holds: bool, what: &str) {
        assert!(holds, "seed {}: {what}\n{}", self.seed, self.log.join("\n"));
    }

    fn up(&self, at: usize) -> bool {
        matches!(self.nodes[at].process, Process::Running { .. })
    }

    /// Runs and is not hung.
    fn lively(&self, at: usize) -> bool {
        self.up(at) && self.nodes[at].hung_until <= self.now && self.nodes[at].since + 50 <= self.now
    }

    fn own(&self, at: usize) -> &Known {
        &self.nodes[at].view[&self.nodes[at].id]
    }

    fn observe(&self) -> Observed {
        let seen = |at: usize| {
            let node = &self.nodes[at];
            let answer = if !self.lively(at) {
                Answer::Silent { because: "timed out".into() }
            } else if node.since + 200 > self.now {
                Answer::Loading
            } else {
                Answer::Facts(Box::new(self.facts(at)))
            };
            let fails = matches!(node.process, Process::Exited { failures: 3.., .. });
            let disk = match (node.blank || self.persistence == Persistence::None, node.unreadable && fails) {
                (true, _) if self.recorded && self.persistence != Persistence::None => Disk::Lost,
                (true, _) => Disk::Blank,
                (false, true) => Disk::Unreadable,
                (false, false) => Disk::Kept,
            };
            Seen {
                process: node.process.clone(),
                disk,
                answer,
                silence: self.silence(at),
                started_at: node.since,
                past: None,
                settings: Settings::InForce,
                won_at: node.won_at,
                yielded_at: node.yielded_at,
                forced_at: node.forced_at,
            }
        };
        let nodes = (0..self.nodes.len()).map(|at| (self.desired.nodes[at].name.clone(), seen(at))).collect();
        Observed { since: self.began, nodes }
    }

    fn silence(&self, at: usize) -> Option<Silence> {
        let node = &self.nodes[at];
        let owed = self.now.saturating_sub(node.hung_from);
        let hangs = self.up(at) && node.hung_until > self.now && owed > 0;
        hangs.then_some(Silence { pings: owed as u32 / 80, owed, still: if node.busy { 0 } else { owed } })
    }

    fn facts(&self, at: usize) -> Facts {
        let node = &self.nodes[at];
        let own = self.own(at);
        let peer = |(id, known): (&u64, &Known)| Peer {
            id: name(*id),
            addr: Some(addr(known.at)),
            own: if *id == node.id { Own::Myself } else { Own::Other },
            role: known.of.map_or(PeerRole::Primary, |of| PeerRole::Replica(name(of))),
            mark: Mark::Fine,
            epoch: known.epoch,
            link: if self.up(known.at) && self.nodes[known.at].id == *id {
                PeerLink::Up
            } else {
                PeerLink::Down
            },
            slots: known.slots.clone(),
        };
        let link = match node.link_down {
            None => Link::Up,
            Some(_) if node.offset == 0 => Link::Never,
            Some(since) => Link::Down { since_s: (self.now - since) / 1_000 },
        };
        Facts {
            id: name(node.id),
            state: if node.since + 2_000 > self.now && node.view.len() > 1 { State::Fail } else { State::Ok },
            duty: own.of.map_or(Duty::Primary, |of| Duty::Replica { of: name(of), link }),
            offset: node.offset,
            keys: node.data,
            view: node.view.iter().map(peer).collect(),
        }
    }

    /// One tick; whether the planner had nothing to do.
    fn turn(&mut self) -> bool {
        self.now += TICK;
        for at in 0..self.nodes.len() {
            self.live(at);
        }
        self.follow_orders();
        let plan = plan(&self.desired, &self.observe(), self.now);
        let idle = plan.steps.is_empty() && self.desired.orders.is_empty();
        self.recorded |= idle && self.quiet();
        match plan.losses.is_empty() {
            true => self.asked = self.now,
            false if self.now > self.asked + 10_000 && self.desired.orders.is_empty() => {
                self.accept(&plan.losses);
            }
            false => {}
        }
        for planned in plan.steps {
            self.say(format!("{} {}: {}", planned.step.node(), planned.step, planned.because));
            if self.below(20) > 0 {
                self.act(&planned.step);
            }
        }
        idle
    }

    /// Takes orders that are done off the list.
    fn follow_orders(&mut self) {
        let observed = self.observe();
        let orders = std::mem::take(&mut self.desired.orders);
        for order in orders {
            match progress(&self.desired, &observed, &order, self.now) {
                Progress::Open => self.desired.orders.push(order),
                Progress::Done(what) => self.say(format!("order {} is done: {what}", order.id)),
                Progress::Failed(why) => {
                    self.check(!matches!(order.what, What::Restart { .. }), "a restart is given up");
                    self.say(format!("order {} is given up: {why}", order.id));
                }
            }
        }
    }

    /// A person gives data up, which nobody may have then.
    fn accept(&mut self, losses: &[NodeName]) {
        for lost in losses.iter().map(|lost| self.at(lost)) {
            let ids = [Some(self.nodes[lost].id), self.nodes[lost].formerly];
            let copy = (0..self.nodes.len()).find(|at| {
                let node = &self.nodes[*at];
                let data = if self.up(*at) { node.data } else { node.disk };
                *at != lost && data > 0 && !node.unreadable && ids.contains(&self.own(*at).of)
            });
            self.check(copy.is_none(), &format!("n{lost:02} is given up, but {copy:?} has its data"));
        }
        self.order(&Request::AcceptLoss { node: "all".to_owned() });
    }

    fn order(&mut self, request: &Request) {
        let (id, at) = (self.next_id, self.now);
        self.next_id += 1;
        match admit(&self.desired, &self.observe(), request, at) {
            Ok(what) => {
                self.say(format!("order {id}: {what:?}"));
                self.desired.orders.push(Order { id, at, what });
            }
            Err(why) => self.say(format!("{request:?} is refused: {why}")),
        }
    }

    /// One tick of a node's own life: replication, writes, rumours, elections.
    fn live(&mut self, at: usize) {
        if !self.lively(at) {
            return;
        }
        match self.own(at).of {
            Some(of) => {
                // as in real life: whoever answers at the address of the primary is copied, empty or not
                let place = self.nodes[at].view.get(&of).map(|known| known.at);
                match place.filter(|p| *p != at && self.lively(*p) && self.own(*p).of.is_none()) {
                    Some(primary) => {
                        let (data, offset) = (self.nodes[primary].data, self.nodes[primary].offset);
                        let shard = &self.nodes[at].view[&of].slots;
                        let heir = (0..self.nodes.len()).any(|heir| {
                            self.up(heir) && self.nodes[heir].data > 0 && self.own(heir).slots.meets(shard)
                        });
                        let wipes = data == 0 && self.nodes[at].data > 5 && !heir;
                        self.check(
                            !wipes,
                            &format!("n{at:02} throws its data away for the empty n{primary:02}"),
                        );
                        let node = &mut self.nodes[at];
                        (node.data, node.offset, node.link_down) = (data, offset.max(1), None);
                    }
                    None => {
                        let now = self.now;
                        let _ = self.nodes[at].link_down.get_or_insert(now);
                        self.elect_by_itself(at, of);
                    }
                }
            }
            None if !self.own(at).slots.is_empty() && self.nodes[at].since + 2_000 <= self.now => {
                self.nodes[at].data += 1;
                self.nodes[at].offset += 1;
            }
            None => {}
        }
        self.nodes[at].disk = self.nodes[at].data.saturating_sub(1);
        for other in 0..self.nodes.len() {
            if other != at && self.lively(other) && self.below(10) < 6 {
                self.rumour(at, other);
            }
        }
    }

    /// `from` tells `to` about itself, and a little about others.
    fn rumour(&mut self, from: usize, to: usize) {
        let (id, told) = (self.nodes[from].id, self.own(from).clone());
        if !self.nodes[to].view.contains_key(&id) {
            return;
        }
        let strangers: Vec<(u64, Known)> = self.nodes[from]
            .view
            .iter()
            .filter(|(id, known)| !self.nodes[to].view.contains_key(id) && self.nodes[known.at].id == **id)
            .map(|(id, known)| (*id, Known { slots: Slots::none(), of: None, ..known.clone() }))
            .collect();
        self.nodes[to].view.extend(strangers);
        self.learn(to, id, &told);
        // the receiver knows better: the sender is told
        let better: Vec<(u64, Known)> = self.nodes[to]
            .view
            .iter()
            .filter(|(other, known)| {
                **other != id && known.epoch > told.epoch && known.slots.meets(&told.slots)
            })
            .map(|(id, known)| (*id, known.clone()))
            .collect();
        for (id, known) in better {
            self.learn(from, id, &known);
        }
        let (mine, theirs) = (self.own(to).clone(), self.own(from).epoch);
        if mine.of.is_none() && told.of.is_none() && mine.epoch == theirs && self.nodes[to].id < id {
            let top = self.nodes[to].view.values().map(|known| known.epoch).max().unwrap_or(0);
            let own = self.nodes[to].id;
            self.nodes[to].view.get_mut(&own).unwrap().epoch = top + 1;
        }
    }

    fn learn(&mut self, at: usize, id: u64, told: &Known) {
        let own = self.nodes[at].id;
        if id == own {
            return;
        }
        let mut gained = told.slots.clone();
        for (other, known) in &self.nodes[at].view {
            if *other != id && known.epoch >= told.epoch {
                gained = gained.minus(&known.slots);
            }
        }
        let (before, now) = (self.own(at).clone(), self.now);
        let leader = before.of.unwrap_or(own);
        let node = &mut self.nodes[at];
        let led = node.view.get(&leader).map(|known| known.slots.clone()).unwrap_or_default();
        for known in node.view.values_mut() {
            known.slots = known.slots.minus(&gained);
        }
        node.view.insert(id, Known { slots: gained.clone(), ..told.clone() });
        let left = node.view.get(&leader).map(|known| known.slots.clone()).unwrap_or_default();
        // the shard that this node serves or copies has gone to `id`: follow it
        if !led.is_empty() && left.is_empty() && gained.meets(&led) {
            if node.view[&own].of.is_none() {
                node.yielded_at = Some(now);
            }
            node.view.get_mut(&own).unwrap().of = Some(id);
        }
    }

    /// What the servers do without us, long after a death.
    fn elect_by_itself(&mut self, at: usize, of: u64) {
        let long = self.nodes[at].link_down.is_some_and(|since| self.now > since + 3 * TIMEOUT);
        if long && self.nodes[at].offset > 0 && self.majority(at) && self.below(10) == 0 {
            self.say(format!("n{at:02} is elected by gossip in place of {of}"));
            self.promote(at);
        }
    }

    fn majority(&self, at: usize) -> bool {
        let owners: Vec<(&u64, &Known)> =
            self.nodes[at].view.iter().filter(|(_, known)| !known.slots.is_empty()).collect();
        let living =
            owners.iter().filter(|(id, known)| self.lively(known.at) && self.nodes[known.at].id == **id);
        living.count() > owners.len() / 2
    }

    fn promote(&mut self, at: usize) {
        let own = self.nodes[at].id;
        let Some(of) = self.own(at).of else { return };
        let top = self.nodes[at].view.values().map(|known| known.epoch).max().unwrap_or(0);
        let slots = self.nodes[at].view.get(&of).map(|known| known.slots.clone()).unwrap_or_default();
        let (now, node) = (self.now, &mut self.nodes[at]);
        if let Some(old) = node.view.get_mut(&of) {
            old.slots = Slots::none();
        }
        *node.view.get_mut(&own).unwrap() = Known { at, of: None, epoch: top + 1, slots };
        (node.won_at, node.link_down) = (Some(now), None);
        for other in 0..self.nodes.len() {
            if other != at && self.lively(other) && self.below(10) > 0 {
                self.rumour(at, other);
            }
        }
    }

    fn fault(&mut self) {
        let at = self.below(self.nodes.len() as u64) as usize;
        let now = self.now;
        match self.below(18) {
            0..=5 => self.kill(at),
            6 => (0..3).for_each(|_| {
                let at = self.below(self.nodes.len() as u64) as usize;
                self.kill(at);
            }),
            7 | 8 => {
                let until = now + 200 + self.below(4_000);
                (self.nodes[at].hung_from, self.nodes[at].hung_until) = (now, until);
                self.nodes[at].busy = self.below(3) == 0;
                let how = if self.nodes[at].busy { "computes" } else { "hangs" };
                self.say(format!("n{at:02} {how} until {}", until - self.began));
            }
            9 => {
                self.say("control starts again".into());
                self.began = self.began.max(now);
                for node in &mut self.nodes {
                    if matches!(node.process, Process::Exited { .. }) {
                        node.process = Process::Absent;
                    }
                    node.won_at = node.won_at.map(|_| now);
                }
            }
            10 => (0..self.nodes.len())
                .filter(|at| self.own(*at).of.is_none())
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|at| self.kill(at)),
            11 => (0..self.nodes.len()).for_each(|at| self.kill(at)),
            12 if self.persistence == Persistence::Aof && self.own(at).of.is_some() && self.quiet() => {
                self.kill(at);
                self.say(format!("n{at:02} cannot read its data any more"));
                self.nodes[at].unreadable = true;
            }
            13 => {
                let target = if self.below(2) == 0 { "all".to_owned() } else { format!("n{at:02}") };
                self.order(&Request::Restart { target });
            }
            14 | 15 => self.order(&Request::Failover { target: format!("n{at:02}") }),
            _ if self.quiet() => {
                if self.below(3) == 0 {
                    (0..self.nodes.len()).for_each(|at| self.kill(at));
                }
                self.kill(at);
                self.say(format!("n{at:02} loses its directory"));
                self.next_id += 1;
                let id = self.next_id;
                self.nodes[at].formerly = Some(self.nodes[at].id);
                self.nodes[at].id = id;
                self.nodes[at].view =
                    BTreeMap::from([(id, Known { at, of: None, epoch: 0, slots: Slots::none() })]);
                self.nodes[at].disk = 0;
                self.nodes[at].blank = true;
            }
            _ => {}
        }
    }

    fn kill(&mut self, at: usize) {
        if self.up(at) {
            self.say(format!("n{at:02} is killed"));
            self.nodes[at].hung_until = 0;
            self.nodes[at].process =
                Process::Exited { at: self.now, how: "was killed by signal 9".into(), failures: 0 };
        }
    }

    fn quiet(&self) -> bool {
        judge(&self.desired, &self.observe()).at_rest()
    }

    fn rest(&mut self, seconds: u64) {
        for _ in 0..seconds * 1_000 / TICK {
            if self.turn() && self.quiet() {
                return;
            }
        }
        let judgement = judge(&self.desired, &self.observe());
        let plan = plan(&self.desired, &self.observe(), self.now);
        self.check(false, &format!("no rest: {judgement:?} {plan:?}"));
    }
}

fn addr(at: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_001 + at as u16))
}

fn name(id: u64) -> NodeId {
    NodeId(id.to_string())
}

fn run(seed: u64, shards: usize, replicas: usize, persistence: Persistence) {
    let mut world = World::new(seed, shards, replicas, persistence);
    world.rest(60);
    for _ in 0..world.below(6) + 1 {
        for _ in 0..world.below(40) {
            world.turn();
        }
        world.fault();
    }
    world.rest(120);
    let owned: u32 = (0..world.nodes.len()).map(|at| world.own(at).slots.count()).sum();
    world.check(owned == u32::from(super::SLOTS), "at rest, each slot has one owner");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how many worlds are tried is said from outside")]
fn the_planner_comes_to_rest_without_breaking_a_rule() {
    let seeds = std::env::var("EVENKEEL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    for seed in 1..=seeds {
        let persistence = if seed % 2 == 0 { Persistence::None } else { Persistence::Aof };
        let (shards, replicas) = [(3, 1), (3, 1), (3, 2), (5, 1), (3, 0)][(seed % 5) as usize];
        run(seed, shards, replicas, persistence);
    }
}
