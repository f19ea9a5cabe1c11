//! Which of what the nodes say is believed.
//!
//! Each slot goes to the owner that is claimed with the greatest configuration epoch: a failover and a finished
//! move both raise it, so the newest claim wins everywhere in the end (cluster specification, "hash slots
//! configuration propagation"). A slot goes to a claim of a lower epoch, or to nobody, only when a majority of the
//! primaries that we know spoke and the owner that we go by gave it up: it says so itself, or nobody knows it any
//! more. So neither a cut-off minority nor those who have not heard of a failover yet turn the map back.

use super::{Node, NodeIndex, Own, Peer, PeerRole, SLOTS, Topology, View};
use std::collections::HashMap;

/// The map to use after hearing `views`; `None` when nothing changes. Pass each node's newest view once.
pub fn adopt(current: &Topology, views: &[View]) -> Option<Topology> {
    let claims = Claims::of(views);
    let majority = majority_heard(current, views);
    let mut owners: Vec<Option<&str>> = vec![None; usize::from(SLOTS)];
    for (slot, owner) in owners.iter_mut().enumerate() {
        let old = current.owner(slot as u16).map(|index| current.node(index));
        *owner = match (old, claims.best[slot]) {
            (None, claim) => claim.map(|claim| claim.id),
            (Some(old), Some(claim)) if claim.id == old.id => Some(&old.id), // as nearly always
            (Some(old), Some(claim)) if claim.epoch > old.epoch => Some(claim.id),
            (Some(old), claim) if majority && claims.gave_up(&old.id, slot as u16) => {
                claim.map(|claim| claim.id)
            }
            (Some(old), _) => Some(&old.id),
        };
    }
    let next = build(current, &claims, &owners);
    (next != *current).then_some(next)
}

/// Whether a majority of the primaries of `current` spoke. Before anything is known, any voice will do.
fn majority_heard(current: &Topology, views: &[View]) -> bool {
    let primaries = current.primaries();
    let heard = primaries
        .iter()
        .filter(|(index, _)| views.iter().any(|view| view.me().id.0 == current.node(*index).id))
        .count();
    heard * 2 > primaries.len() || primaries.is_empty()
}

#[derive(Clone, Copy)]
struct Claim<'a> {
    id: &'a str,
    epoch: u64,
    /// Claimed by the owner itself: decides between equal epochs.
    own: bool,
}

struct Claims<'a> {
    best: Vec<Option<Claim<'a>>>,
    nodes: HashMap<&'a str, &'a Peer>,
}

impl<'a> Claims<'a> {
    fn of(views: &'a [View]) -> Self {
        let mut claims = Claims { best: vec![None; usize::from(SLOTS)], nodes: HashMap::new() };
        for view in views {
            for peer in view.peers.iter().filter(|peer| peer.role != PeerRole::Handshake) {
                let known = claims.nodes.entry(&peer.id.0).or_insert(peer);
                // A node knows best what it is itself; of the others' words the newer epoch counts.
                if peer.own == Own::Myself || (known.own == Own::Other && peer.epoch > known.epoch) {
                    *known = peer;
                }
                if peer.role == PeerRole::Primary {
                    claims.claim(peer);
                }
            }
        }
        claims
    }

    fn claim(&mut self, peer: &'a Peer) {
        let claim = Claim { id: &peer.id.0, epoch: peer.epoch, own: peer.own == Own::Myself };
        for slot in peer.slots.ranges().iter().flat_map(|(from, to)| *from..=(*to).min(SLOTS - 1)) {
            let best = &mut self.best[usize::from(slot)];
            if best.is_none_or(|best| (claim.epoch, claim.own) > (best.epoch, best.own)) {
                *best = Some(claim);
            }
        }
    }

    /// Whether an owner says itself that a slot is not its own, or is known to nobody.
    fn gave_up(&self, id: &str, slot: u16) -> bool {
        self.nodes.get(id).is_none_or(|peer| {
            let owns = peer.slots.ranges().iter().any(|(from, to)| (*from..=*to).contains(&slot));
            peer.own == Own::Myself && !owns
        })
    }
}

fn build(current: &Topology, claims: &Claims<'_>, owners: &[Option<&str>]) -> Topology {
    let known = |id: &str| current.nodes().iter().find(|node| node.id == id);
    let node = |peer: &&Peer| {
        let replica_of = match &peer.role {
            PeerRole::Replica(of) => Some(of.0.clone()),
            PeerRole::Primary | PeerRole::Handshake => None,
        };
        // Others may not have heard of a node's last epoch yet; what it says itself counts.
        let heard = known(&peer.id.0).map_or(0, |node| node.epoch);
        let epoch = if peer.own == Own::Myself { peer.epoch } else { peer.epoch.max(heard) };
        Some(Node { id: peer.id.0.clone(), addr: peer.addr?, replica_of, epoch })
    };
    let mut nodes: Vec<Node> = claims.nodes.values().filter_map(node).collect();
    // Owners that nobody spoke of this time, but that we still go by.
    for old in current.nodes() {
        if owners.contains(&Some(old.id.as_str())) && !nodes.iter().any(|node| node.id == old.id) {
            nodes.push(old.clone());
        }
    }
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    nodes.truncate(usize::from(u16::MAX) - 1);
    let index: HashMap<String, u16> =
        nodes.iter().enumerate().map(|(at, node)| (node.id.clone(), at as u16)).collect();
    // Slots beside each other mostly have the same owner, which need not be looked up again.
    let mut last = ("", None);
    let places: Vec<Option<NodeIndex>> = owners
        .iter()
        .map(|owner| {
            let id = (*owner)?;
            if id != last.0 {
                last = (id, index.get(id).map(|at| NodeIndex(*at)));
            }
            last.1
        })
        .collect();
    Topology::new(nodes, |slot| places[usize::from(slot)])
}

#[cfg(test)]
mod tests {
    use super::{Topology, View, adopt};

    fn view(me: &str, lines: &[&str]) -> View {
        let text: Vec<String> = lines
            .iter()
            .map(|line| {
                let (id, rest) = line.split_once(' ').expect("id and rest");
                let (epoch, slots) = rest.split_once(' ').unwrap_or((rest, ""));
                let flags = if id == me { "myself,master" } else { "master" };
                let port = 7000 + id.bytes().map(u32::from).sum::<u32>();
                format!("{id} 127.0.0.1:{port}@1 {flags} - 0 0 {epoch} connected {slots}")
                    .trim_end()
                    .to_owned()
            })
            .collect();
        View::parse(&text.join("\n"), "127.0.0.1:1".parse().expect("an address")).expect("good text")
    }

    fn owner(map: &Topology, slot: u16) -> Option<&str> {
        map.owner(slot).map(|index| map.node(index).id.as_str())
    }

    fn three() -> Topology {
        let lines = ["a 1 0-5460", "b 2 5461-10922", "c 3 10923-16383"];
        adopt(&Topology::empty(), &[view("a", &lines)]).expect("something new")
    }

    #[test]
    fn the_first_voice_is_believed() {
        let map = three();
        assert_eq!((owner(&map, 0), owner(&map, 16383), map.covered()), (Some("a"), Some("c"), 16384));
        assert_eq!(map.primaries().iter().map(|(_, slot)| *slot).collect::<Vec<_>>(), [0, 5461, 10923]);
        assert_eq!(map.next_primary(0), Some(5461));
        assert_eq!(map.next_primary(10923), None);
    }

    #[test]
    fn nothing_new_is_no_change() {
        let lines = ["a 1 0-5460", "b 2 5461-10922", "c 3 10923-16383"];
        assert_eq!(adopt(&three(), &[view("b", &lines)]), None);
    }

    #[test]
    fn a_greater_epoch_wins_from_a_single_voice() {
        let map = adopt(&three(), &[view("d", &["d 4 0-5460", "a 1"])]).expect("a change");
        assert_eq!((owner(&map, 7), owner(&map, 6000)), (Some("d"), Some("b")));
    }

    #[test]
    fn a_minority_with_old_epochs_changes_nothing() {
        let stale = view("x", &["x 0 0-5460", "a 1"]);
        let map = adopt(&three(), &[stale]);
        assert!(map.is_none_or(|map| owner(&map, 0) == Some("a")));
    }

    #[test]
    fn an_owner_may_give_slots_away() {
        let lines = ["a 1 0-5000", "b 2 5461-10922", "c 3 10923-16383"];
        let map = adopt(&three(), &[view("a", &lines), view("b", &lines)]).expect("a change");
        assert_eq!(owner(&map, 5001), None);
        let others = adopt(&three(), &[view("b", &lines), view("c", &lines)]);
        assert!(others.is_none_or(|map| owner(&map, 5001) == Some("a")));
    }

    #[test]
    fn a_node_that_nobody_knows_any_more_owns_nothing() {
        let lines = ["d 1 0-5460", "b 2 5461-10922", "c 3 10923-16383"];
        let map = adopt(&three(), &[view("b", &lines), view("c", &lines)]).expect("a change");
        assert_eq!(owner(&map, 0), Some("d"));
    }

    #[test]
    fn those_who_have_not_heard_yet_do_not_turn_it_back() {
        let map = adopt(&three(), &[view("d", &["d 4 0-5460", "a 1"])]).expect("a change");
        let late = ["a 1 0-5460", "b 2 5461-10922", "c 3 10923-16383", "d 1"];
        for _ in 0..3 {
            let again = adopt(&map, &[view("b", &late), view("c", &late)]);
            assert!(again.is_none_or(|map| owner(&map, 0) == Some("d")));
        }
    }
}
