//! The rung *create*: nodes that answer become one cluster, and each shard gets its replicas.
//!
//! Owns the forming of a cluster and the joining of fresh nodes. Never touches a node that holds keys or slots of
//! anything else.
//!
//! ```text
//! SET-CONFIG-EPOCH, ADDSLOTS on the primaries ─► MEET everyone ─► REPLICATE ─► (judged: every view agrees)
//! ```

use super::picture::Picture;
use super::{Duty, Facts, NodeId, NodeName, Peer, PeerRole, Plan, Slots, Step, Wanted};

/// Up to so many nodes, each is introduced to each: they agree within a moment instead of by rumour.
const MESH: usize = 16;

pub(super) fn create(picture: &Picture<'_>, plan: &mut Plan) {
    let mut ours = Vec::new();
    for (wanted, facts) in picture.answering() {
        match stranger(picture, wanted, facts) {
            Some(because) => plan.wait(&wanted.name, because),
            None => ours.push((wanted, facts)),
        }
    }
    let missing = Slots::all().minus(&picture.assigned());
    if !missing.is_empty() {
        if !picture.all_answer() {
            return plan.wait_all("the cluster can be formed when every node answers");
        }
        if ours.len() < picture.desired.nodes.len() {
            return plan.wait_all("the cluster cannot be formed while a node is not empty");
        }
    }
    let numbered = number(plan, &ours, &missing);
    found(picture, plan, &ours, &missing);
    if numbered {
        return;
    }
    meet(plan, &ours);
    if plan.steps.is_empty() {
        replicate(picture, plan, &ours);
    }
    if plan.steps.is_empty() && picture.all_answer() {
        even_out(picture, plan);
    }
}

/// Why a node must not be touched; `None` when it belongs to us or is fresh.
fn stranger(picture: &Picture<'_>, wanted: &Wanted, facts: &Facts) -> Option<String> {
    if picture
        .answering()
        .any(|(_, other)| other.id != facts.id && (facts.knows(&other.id) || other.knows(&facts.id)))
    {
        return None;
    }
    let what = "forms no cluster with the others, but";
    let todo = "evenkeel touches nothing that it did not make: move its directory away, or use another --dir";
    let foreign = facts.view.iter().find(|peer| peer.addr.is_some_and(|addr| picture.at(addr).is_none()));
    let shards = picture.desired.shards;
    let at = picture.place(wanted);
    let own_share = if at < shards { Slots::share(at, shards) } else { Slots::none() };
    // a node that knows others of ours is one of a cluster whose other nodes are down
    let fresh = facts.view.len() == 1;
    if let Some(peer) = foreign {
        let addr = peer.addr.map(|addr| addr.to_string()).unwrap_or_default();
        return Some(format!("{} {what} knows a node at {addr}; {todo}", wanted.name));
    }
    if facts.keys > 0 && fresh {
        return Some(format!("{} {what} holds {} keys; {todo}", wanted.name, facts.keys));
    }
    if fresh && !facts.own_slots().within(&own_share) {
        return Some(format!("{} {what} owns slots {}; {todo}", wanted.name, facts.own_slots()));
    }
    None
}

/// Slots of a new cluster.
fn found(picture: &Picture<'_>, plan: &mut Plan, ours: &[(&Wanted, &Facts)], missing: &Slots) {
    let shards = picture.desired.shards;
    let because = format!("slots {missing} have no owner");
    let primaries: Vec<_> = ours.iter().filter(|(_, facts)| facts.duty == Duty::Primary).collect();
    for at in 0..shards {
        let share = missing.minus(&Slots::all().minus(&Slots::share(at, shards)));
        let Some(designated) = ours.get(at) else { continue };
        let heir =
            if designated.1.duty == Duty::Primary { Some(designated) } else { primaries.first().copied() };
        if let (false, Some((wanted, _))) = (share.is_empty(), heir) {
            plan.step(Step::AddSlots { node: wanted.name.clone(), slots: share }, because.clone());
        }
    }
}

/// Epochs of a new cluster. They can be set only while a node knows nobody, so it is introduced to the others when it has its own:
/// without, it would take the next free one once it meets its like, at a moment when others may not hear of that, and one that
/// takes over from it then is not above it.
fn number(plan: &mut Plan, ours: &[(&Wanted, &Facts)], missing: &Slots) -> bool {
    let mut some = false;
    for (at, (wanted, facts)) in ours.iter().enumerate() {
        let fresh = facts.view.len() == 1 && facts.own().is_some_and(|own| own.epoch == 0);
        if fresh && (!missing.is_empty() || !facts.own_slots().is_empty()) {
            some = true;
            plan.step(
                Step::SetEpoch { node: wanted.name.clone(), epoch: at as u64 + 1 },
                "a new node needs its own epoch",
            );
        }
    }
    some
}

/// Introduces every pair that does not know each other.
fn meet(plan: &mut Plan, ours: &[(&Wanted, &Facts)]) {
    let speakers = if ours.len() > MESH { 1 } else { ours.len() };
    let mut lists: Vec<Vec<NodeName>> = vec![Vec::new(); ours.len()];
    for a in 0..speakers {
        for b in a + 1..ours.len() {
            let (here, there) = (acquaintance(ours[a].1, ours[b]), acquaintance(ours[b].1, ours[a]));
            match (here, there) {
                (Acquaintance::Knows, Acquaintance::Knows) => {}
                (Acquaintance::Shakes, _) | (_, Acquaintance::Shakes) => {}
                (Acquaintance::Stranger, _) => lists[a].push(ours[b].0.name.clone()),
                (Acquaintance::Knows, Acquaintance::Stranger) => lists[b].push(ours[a].0.name.clone()),
            }
        }
    }
    for ((wanted, _), peers) in ours.iter().zip(lists).filter(|(_, peers)| !peers.is_empty()) {
        let because = format!("{} does not know {} of {} others", wanted.name, peers.len(), ours.len() - 1);
        plan.step(Step::Meet { node: wanted.name.clone(), peers }, because);
    }
}

/// How well one node knows another.
#[derive(Clone, Copy)]
enum Acquaintance {
    Stranger,
    Shakes,
    Knows,
}

fn acquaintance(facts: &Facts, (wanted, theirs): (&Wanted, &Facts)) -> Acquaintance {
    let shakes = |peer: &Peer| peer.addr == Some(wanted.addr) && peer.role == PeerRole::Handshake;
    if facts.knows(&theirs.id) {
        Acquaintance::Knows
    } else if facts.view.iter().any(shakes) {
        Acquaintance::Shakes
    } else {
        Acquaintance::Stranger
    }
}

/// Gives nodes that neither own nor copy slots to the shards that lack replicas.
fn replicate(picture: &Picture<'_>, plan: &mut Plan, ours: &[(&Wanted, &Facts)]) {
    let mut shards: Vec<(&Wanted, &NodeId, usize)> =
        picture.owners().map(|(wanted, facts)| (wanted, &facts.id, copies(picture, &facts.id))).collect();
    for (wanted, facts) in ours.iter().filter(|(_, facts)| is_idle(picture, facts)) {
        // others may still show it as the owner of slots; then it is heal's, or a moment's, business
        if owns_for_someone(picture, &facts.id) {
            plan.wait(&wanted.name, "it has lost its slots and the others have yet to learn it");
            continue;
        }
        let known = |id: &NodeId| facts.line(id).is_some_and(|peer| peer.role == PeerRole::Primary);
        let place = picture.place(wanted);
        let turn = |at: usize| (at + shards.len() - place % shards.len()) % shards.len();
        let short = shards
            .iter()
            .enumerate()
            .filter(|(_, (_, _, copies))| *copies < picture.desired.replicas)
            .min_by_key(|(at, (_, _, copies))| (*copies, turn(*at)))
            .map(|(at, _)| at);
        match short {
            None => plan.wait(&wanted.name, "it owns no slots and no shard lacks a replica"),
            Some(at) if !known(shards[at].1) => {
                shards[at].2 += 1;
                plan.wait(&wanted.name, format!("it does not know {} as a primary yet", shards[at].0.name));
            }
            Some(_) if facts.keys > 0 && facts.duty == Duty::Primary => {
                plan.wait(
                    &wanted.name,
                    format!("it owns no slots but holds {} keys: move its directory away", facts.keys),
                );
            }
            Some(at) => {
                let (primary, id, copies) = &mut shards[at];
                *copies += 1;
                let because = format!(
                    "{} owns slots and has {} of {} replicas",
                    primary.name,
                    *copies - 1,
                    picture.desired.replicas
                );
                let (node, primary) = (wanted.name.clone(), primary.name.clone());
                plan.step(Step::Replicate { node, primary, id: (*id).clone() }, because);
            }
        }
    }
}

/// Owns no slots and copies nobody who does. A replica can be left behind so when its primary became a replica.
fn is_idle(picture: &Picture<'_>, facts: &Facts) -> bool {
    match &facts.duty {
        Duty::Primary => facts.own_slots().is_empty(),
        Duty::Replica { of, .. } => !owns_for_someone(picture, of),
    }
}

fn owns_for_someone(picture: &Picture<'_>, id: &NodeId) -> bool {
    picture.answering().any(|(_, facts)| facts.line(id).is_some_and(|peer| !peer.slots.is_empty()))
}

/// Moves a replica from a shard that has too many to one that has too few.
fn even_out(picture: &Picture<'_>, plan: &mut Plan) {
    let wanted = picture.desired.replicas;
    let count = |facts: &Facts| picture.replicas_of(&facts.id).count();
    let Some((short, facts)) = picture.owners().find(|(_, facts)| count(facts) < wanted) else { return };
    let Some((rich, theirs)) = picture.owners().find(|(_, facts)| count(facts) > wanted) else { return };
    let Some((spare, _)) = picture.replicas_of(&theirs.id).min_by_key(|(_, replica)| replica.offset) else {
        return;
    };
    let because = format!(
        "{} has {} of {wanted} replicas and {} has {}",
        short.name,
        count(facts),
        rich.name,
        count(theirs)
    );
    let (node, primary) = (spare.name.clone(), short.name.clone());
    plan.step(Step::Replicate { node, primary, id: facts.id.clone() }, because);
}

/// Replicas of a primary, counting those that do not answer now.
fn copies(picture: &Picture<'_>, id: &NodeId) -> usize {
    let counts = |(wanted, seen): &(&Wanted, &super::Seen)| match seen.facts() {
        Some(facts) => matches!(&facts.duty, Duty::Replica { of, .. } if of == id),
        None => picture.believed_replica(wanted.addr, id),
    };
    picture.nodes().filter(counts).count()
}
