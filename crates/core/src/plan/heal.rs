//! The rung *heal*: a dead primary is first replaced by its best replica and then restarted; a dead replica is
//! restarted; an id that no longer exists is forgotten.
//!
//! Owns the safety rules of a failover. Never restarts a primary that would come back empty while a replica holds
//! its data; never promotes without proof that the old primary is dead.
//!
//! ```text
//! dead node ─► owner of slots in the eyes of the living? ── no ──► start (a blank one: after those that kept data)
//!                │ yes
//!                ├─ a living node claims the slots ──────────────► wait until the others know
//!                ├─ a replica that was in sync until the end, and
//!                │  has the stream that the dead one wrote ──────► promote the one with the greatest offset
//!                ├─ a replica whose snapshot is newer ───────────► start that one first, and promote it
//!                ├─ a replica that may hold data does not answer ► wait (bounded where the disk holds the data)
//!                ├─ no log of its own, and a replica that has all
//!                │  from before the dead one's promotion ────────► promote
//!                ├─ the disk holds the data ─────────────────────► start in place; if that fails and fails,
//!                │                                                 promote a replica with what its own disk held
//!                ├─ a replica that was not in sync ──────────────► promote: old data is better than none
//!                ├─ nothing, and its disk should hold data ──────► ask a person; start empty once that is accepted
//!                └─ nothing ─────────────────────────────────────► start in place
//! ```

use super::hang::end_hung;
use super::picture::{Picture, Standing};
use super::{
    Disk, Duty, Facts, Link, Mark, NodeId, NodeName, Peer, PeerLink, PeerRole, Plan, Process, Promotion,
    Seen, Slots, Step, Wanted,
};
use crate::config::Persistence;

/// How long a replica that does not answer may keep its primary from being started in place, in milliseconds.
const SILENCE: u64 = 2_000;
/// An election that has no result by then is overruled, in milliseconds.
const RESULT: u64 = 250;
/// How long the winner of an election must not stand again at least, in milliseconds.
pub(super) const STALE: u64 = 4_000;
/// After so many starts in vain a node's disk counts as lost, as long as it fails.
const IN_VAIN: u32 = 3;
/// First and longest pause before a server that ended without ever answering is started again, in milliseconds.
const PAUSES: (u64, u64) = (500, 30_000);

pub(super) fn heal(picture: &Picture<'_>, plan: &mut Plan) {
    end_hung(picture, plan);
    for (wanted, seen) in picture.nodes().filter(|(_, seen)| seen.is_dead()) {
        if seen.disk == Disk::Nameless {
            let because = "its directory holds its data, but not who it is: that is on record";
            plan.step(Step::Identify { node: wanted.name.clone() }, because);
            continue;
        }
        match picture.standing(wanted.addr, None) {
            Standing::Owner { id, slots } => {
                replace(picture, plan, &Lost { wanted, seen, id: &id, slots: &slots });
            }
            Standing::Idle => rejoin(picture, plan, wanted, seen),
            Standing::Unknown => start_unknown(picture, plan, wanted, seen),
        }
    }
    for (wanted, facts) in picture.answering() {
        forget(picture, plan, wanted, facts);
    }
    replace_ghosts(picture, plan);
}

/// An owner of slots that is gone: its process is dead, or its address answers with another id.
struct Lost<'a> {
    wanted: &'a Wanted,
    seen: &'a Seen,
    id: &'a NodeId,
    slots: &'a Slots,
}

/// How much a replica has of its dead primary's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    Nothing,
    OldData,
    /// What its own disk held when it was started.
    FromDisk,
    /// Of what its dead primary wrote since its promotion it has nothing, for all that is known.
    HandedOver,
    AllSent,
}

fn replace(picture: &Picture<'_>, plan: &mut Plan, lost: &Lost<'_>) {
    let Lost { wanted, seen, id, slots } = *lost;
    if let Some((heir, facts)) = picture.owners().find(|(_, facts)| facts.own_slots().meets(slots)) {
        spread(picture, plan, lost, heir, facts);
        return plan
            .wait(&wanted.name, format!("{} has taken over, the others have yet to learn it", heir.name));
    }
    let best = picture
        .replicas_of(id)
        .map(|(replica, facts)| (holds(picture, lost, facts), facts.offset, replica, facts))
        .max_by(|a, b| (a.0, a.1, &b.2.name).cmp(&(b.0, b.1, &a.2.name)));
    // a node whose address answers with another id has lost its disk
    let kept = seen.is_dead() && seen.disk == Disk::Kept;
    let hidden = hidden_copy(picture, lost, kept);
    let newer = newer_copy(picture, seen);
    match (best, hidden) {
        (Some((Holds::AllSent, _, replica, facts)), _) => promote(picture, plan, lost, replica, facts),
        (Some((Holds::HandedOver | Holds::FromDisk | Holds::OldData, _, replica, facts)), _)
            if newer == Some(replica) =>
        {
            promote(picture, plan, lost, replica, facts);
        }
        _ if newer.is_some_and(|newer| !picture.answers(newer)) => wait_for_newer(plan, wanted, newer),
        (_, Some(hidden)) if !kept || picture.is_fresh(seen, SILENCE) => {
            plan.wait(&wanted.name, format!("{} may hold its data and does not answer", hidden.name));
        }
        // its own log has what the replica lacks; a snapshot may be older than even that
        (Some((Holds::HandedOver, _, replica, facts)), _)
            if picture.desired.persistence != Persistence::Aof || !kept || seen.failures() >= IN_VAIN =>
        {
            promote(picture, plan, lost, replica, facts);
        }
        (Some((Holds::FromDisk, _, replica, facts)), _) if !kept || seen.failures() >= IN_VAIN => {
            promote(picture, plan, lost, replica, facts);
        }
        (Some((Holds::OldData, _, replica, facts)), _) if !kept => {
            promote(picture, plan, lost, replica, facts);
        }
        (Some((Holds::Nothing, _, replica, facts)), _) if !seen.is_dead() => {
            promote(picture, plan, lost, replica, facts);
        }
        _ if !seen.is_dead() => abandon(picture, plan, lost),
        (None | Some((Holds::Nothing, ..)), _) if is_lost(seen) => start_empty(picture, plan, lost),
        (Some(_), _) => start(picture, plan, wanted, seen, "no replica has all of its data"),
        (None, _) => start(picture, plan, wanted, seen, "it has no replica that could take over"),
    }
}

/// Rumours tell the others who took over, but not one who knows the dead primary by the very epoch that its heir has:
/// of two claims of one epoch the first stays (cluster.c `clusterUpdateSlotsConfigWith`), and the dead one, which
/// would have to yield, is not there to do so. It happens where it had raised its epoch and the heir had not heard
/// of that. A server raises its epoch only above one that it knows of, so another one begins.
fn spread(picture: &Picture<'_>, plan: &mut Plan, lost: &Lost<'_>, heir: &Wanted, claim: &Facts) {
    let won = picture.at(heir.addr).and_then(|(_, seen)| seen.won_at);
    let Some(epoch) = claim.own().map(|own| own.epoch) else { return };
    if !lost.seen.is_dead() || won.is_none_or(|won| picture.now.saturating_sub(won) < SILENCE) {
        return;
    }
    let ties = |peer: &Peer| peer.epoch == epoch && peer.slots.meets(claim.own_slots());
    if !picture.answering().any(|(_, facts)| facts.id != claim.id && facts.line(lost.id).is_some_and(ties)) {
        return;
    }
    let above = claim.view.iter().any(|peer| peer.epoch > epoch);
    let other = picture.owners().map(|(owner, _)| owner).find(|owner| owner.name != heir.name);
    if let Some(node) = if above { Some(heir) } else { other } {
        let because = format!("{} took over in epoch {epoch}, which {} had too", heir.name, lost.wanted.name);
        plan.step(Step::Raise { node: node.name.clone() }, because);
    }
}

/// Data that was on a disk is not there, or cannot be read, however often it was tried.
fn is_lost(seen: &Seen) -> bool {
    match seen.disk {
        Disk::Lost => true,
        Disk::Unreadable => seen.failures() >= IN_VAIN,
        Disk::Kept | Disk::Nameless | Disk::Blank => false,
    }
}

/// Asks a person, or goes on without the data where that was accepted.
fn start_empty(picture: &Picture<'_>, plan: &mut Plan, lost: &Lost<'_>) {
    let Lost { wanted, seen, slots, .. } = *lost;
    let name = &wanted.name;
    match (picture.accepted(name), seen.disk) {
        (None, disk) => {
            ask(plan, name, &format!("slots {slots}"));
            if disk == Disk::Unreadable {
                // whatever keeps it from being read may pass, such as a disk that is full
                start(picture, plan, wanted, seen, "no other node has its data");
            }
        }
        (Some(order), Disk::Unreadable) => {
            let because = format!("order {order}: its data cannot be read and is given up");
            plan.step(Step::SetAside { node: name.clone() }, because);
        }
        (Some(order), Disk::Lost | Disk::Kept | Disk::Nameless | Disk::Blank) => {
            start(picture, plan, wanted, seen, &format!("order {order}: what it held is given up"));
        }
    }
}

/// Its address answers with another id, so its directory is gone: the others forget it, where that was accepted.
fn abandon(picture: &Picture<'_>, plan: &mut Plan, lost: &Lost<'_>) {
    let Lost { wanted, id, slots, .. } = *lost;
    let Some(order) = picture.accepted(&wanted.name) else {
        return ask(plan, &wanted.name, &format!("slots {slots}, which belonged to {id},"));
    };
    for (viewer, facts) in picture.answering().filter(|(_, facts)| facts.line(id).is_some()) {
        let copies = matches!(&facts.duty, Duty::Replica { of, .. } if of == id);
        if !copies {
            let because = format!("order {order}: slots {slots} of {id} are given up");
            plan.step(Step::Forget { node: viewer.name.clone(), id: id.clone() }, because);
        }
    }
}

/// A choice that would lose data is a person's.
fn ask(plan: &mut Plan, name: &NodeName, what: &str) {
    plan.wait(
        name,
        format!(
            "the data of {what} is gone: it is neither on the disk of {name} nor on any other; put its directory back, or \
             go on without the data: `evenkeel accept-loss {name}`"
        ),
    );
    plan.losses.push(name.clone());
}

/// A replica whose disk holds more of the same stream than that of its dead primary, unless it cannot be started.
fn newer_copy<'a>(picture: &Picture<'a>, dead: &Seen) -> Option<&'a Wanted> {
    let past = dead.past.as_ref().filter(|_| dead.is_dead())?;
    let mine = past.written.as_ref()?;
    let more = |seen: &'a Seen| {
        let theirs = seen.past.as_ref().filter(|theirs| theirs.of.as_ref() == Some(&past.id))?;
        let written = theirs.written.as_ref()?;
        let rises = seen.failures() < IN_VAIN && seen.disk == Disk::Kept;
        (rises && written.stream == mine.stream && written.offset > mine.offset).then_some(written.offset)
    };
    let copies = picture.nodes().filter_map(|(node, seen)| Some((more(seen)?, node)));
    copies.max_by_key(|(offset, _)| *offset).map(|(_, node)| node)
}

fn wait_for_newer(plan: &mut Plan, wanted: &Wanted, newer: Option<&Wanted>) {
    let name = newer.map_or("a replica", |newer| newer.name.0.as_str());
    plan.wait(&wanted.name, format!("the snapshot of {name} is newer than its own: that one comes first"));
}

/// A replica that may hold the data and cannot be asked now: it is silent, or, where the primary's own disk has
/// nothing, it is dead but its disk is not empty, or it is silent and nobody knows whom it copies.
fn hidden_copy<'a>(picture: &'a Picture<'_>, lost: &Lost<'_>, kept: bool) -> Option<&'a Wanted> {
    let Lost { id, slots, .. } = *lost;
    let may_rise =
        |seen: &Seen| !kept && seen.is_dead() && seen.disk == Disk::Kept && seen.failures() < IN_VAIN;
    let hides = |seen: &Seen| (!seen.is_dead() && seen.facts().is_none()) || may_rise(seen);
    let may_copy = |node: &Wanted, seen: &Seen| {
        picture.believed_replica(node.addr, id)
            || (!kept && !seen.is_dead() && picture.has_no_place(node.addr, slots))
    };
    let copy = picture.nodes().find(|(node, seen)| hides(seen) && may_copy(node, seen));
    copy.map(|(node, _)| node)
}

fn holds(picture: &Picture<'_>, lost: &Lost<'_>, replica: &Facts) -> Holds {
    let dead = lost.seen;
    let empty = replica.offset == 0 && replica.keys == 0;
    let link = match &replica.duty {
        Duty::Replica { link, .. } => *link,
        Duty::Primary => return Holds::Nothing,
    };
    match (link, &dead.process) {
        (Link::Up, _) => Holds::AllSent,
        (Link::Never, _) if replica.keys == 0 => Holds::Nothing,
        (Link::Never, _) => Holds::FromDisk,
        (Link::Down { since_s }, Process::Exited { at, .. })
            if since_s.saturating_mul(1_000) > picture.now.saturating_sub(*at) + 2_000 =>
        {
            if empty {
                Holds::Nothing
            } else {
                Holds::OldData
            }
        }
        (Link::Down { since_s }, _) if !empty && was_left_behind(picture, lost, replica, since_s) => {
            Holds::HandedOver
        }
        (Link::Down { .. }, Process::Exited { .. }) => Holds::AllSent,
        // nobody knows when it died: the link may well have been up until then
        (Link::Down { .. }, Process::Absent | Process::Running { .. }) if empty => Holds::Nothing,
        (Link::Down { .. }, Process::Absent | Process::Running { .. }) => Holds::AllSent,
    }
}

/// Whether all that a replica has may be from before the promotion of its dead primary: what was written since is
/// missing then, and its place may count writes that nobody else has.
fn was_left_behind(picture: &Picture<'_>, lost: &Lost<'_>, replica: &Facts, down_s: u64) -> bool {
    if let Some(wrote) = lost.seen.wrote.as_ref().filter(|_| lost.seen.is_dead()) {
        return *wrote != replica.stream;
    }
    // died before anybody saw what it wrote
    let yielded = |(node, _): (&Wanted, _)| picture.at(node.addr).and_then(|(_, seen)| seen.yielded_at);
    let promotion = picture.replicas_of(lost.id).filter_map(yielded).max();
    // the server counts whole seconds
    let down = down_s.saturating_add(1).saturating_mul(1_000);
    promotion.is_some_and(|at| down > picture.now.saturating_sub(at))
}

fn promote(picture: &Picture<'_>, plan: &mut Plan, lost: &Lost<'_>, replica: &Wanted, facts: &Facts) {
    let (name, by) = (&replica.name, court(picture, &facts.id, facts));
    let what = format!("{} ({}) is dead and owned slots {}", lost.wanted.name, lost.id, lost.slots);
    let best = format!("{name} has the most of its data (offset {})", facts.offset);
    match by {
        Court::Majority => plan.step(
            Step::Promote { node: name.clone(), by: Promotion::Takeover },
            format!("{what}; {best}; a majority of the primaries answers and sees it"),
        ),
        Court::Accounted => plan.step(
            Step::Promote { node: name.clone(), by: Promotion::Takeover },
            format!("{what}; {best}; every primary either answers or is proven dead"),
        ),
        Court::Unknown => elect(picture, plan, lost, replica, &format!("{what}; {best}")),
    }
}

/// Lets the primaries vote, because some of them cannot be asked. An election that brings no result within a moment
/// is overruled, since the death is proven, unless a silent replica may have been elected where nobody sees it.
fn elect(picture: &Picture<'_>, plan: &mut Plan, lost: &Lost<'_>, replica: &Wanted, what: &str) {
    let name = &replica.name;
    let timeout = picture.desired.node_timeout.0;
    let since = |at: Option<u64>| at.map_or(u64::MAX, |at| picture.now.saturating_sub(at));
    let seen = |wanted: &Wanted| picture.at(wanted.addr).map(|(_, seen)| seen);
    let won = since(seen(replica).and_then(|seen| seen.won_at));
    // one decision for a shard at a time, whichever of its replicas was asked
    let asked = picture.replicas_of(lost.id).filter_map(|(other, _)| seen(other)?.forced_at).max();
    let (forced, fresh) = (since(asked), won < STALE.max(4 * timeout));
    let hidden = hidden_copy(picture, lost, true);
    if forced < RESULT {
        plan.wait(name, format!("{what}; the primaries vote"));
    } else if let (None, true) = (hidden, fresh || asked.is_some()) {
        // votes of an election that the same process won are counted again: two primaries for seconds
        let why = if fresh {
            format!("{name} won an election a moment ago and must not stand again")
        } else {
            format!("the election has no result after {RESULT} ms")
        };
        let because = format!("{what}; {why}, and no other replica is hidden");
        plan.step(Step::Promote { node: name.clone(), by: Promotion::Takeover }, because);
    } else if !fresh && forced >= (2 * timeout).max(2_000) {
        let because = format!("{what}; not every primary can be asked, so the primaries vote");
        plan.step(Step::Promote { node: name.clone(), by: Promotion::Force }, because);
    } else {
        let why = match hidden {
            Some(hidden) => format!("{} may have been elected and does not answer", hidden.name),
            None => format!("{name} was asked to stand for election and has not won yet"),
        };
        if lost.seen.disk == Disk::Kept && lost.seen.is_dead() && forced.min(won) >= SILENCE {
            start(picture, plan, lost.wanted, lost.seen, &why);
        } else {
            plan.wait(name, format!("{what}; {why}"));
        }
    }
}

/// Who can say that a take-over without votes is safe.
pub(super) enum Court {
    /// A majority of the primaries answers and sees the replica as what it is.
    Majority,
    /// No primary is hidden: each one answers or is proven dead.
    Accounted,
    /// Neither: some primary may live where nobody can ask it.
    Unknown,
}

pub(super) fn court(picture: &Picture<'_>, replica: &NodeId, facts: &Facts) -> Court {
    let electorate: Vec<&Peer> = facts.view.iter().filter(|peer| !peer.slots.is_empty()).collect();
    // nobody votes for a node that they do not know as a replica of that primary; they learn it by rumour
    let role = match &facts.duty {
        Duty::Replica { of, .. } => PeerRole::Replica(of.clone()),
        Duty::Primary => PeerRole::Primary,
    };
    let sees = |voter: &Facts| {
        let line = voter.line(replica);
        line.is_some_and(|peer| peer.role == role && peer.link == PeerLink::Up && peer.mark != Mark::Failed)
    };
    let votes = picture
        .owners()
        .filter(|(_, voter)| electorate.iter().any(|peer| peer.id == voter.id) && sees(voter));
    if votes.count() > electorate.len() / 2 {
        return Court::Majority;
    }
    let accounted = electorate.iter().all(|peer| {
        peer.addr
            .and_then(|addr| picture.at(addr))
            .is_some_and(|(_, seen)| seen.is_dead() || seen.facts().is_some())
    });
    if accounted { Court::Accounted } else { Court::Unknown }
}

/// It owns nothing: it may come back as it is, or, where its data cannot be read, without.
fn rejoin(picture: &Picture<'_>, plan: &mut Plan, wanted: &Wanted, seen: &Seen) {
    let copied = |id: &NodeId| picture.believed_replica(wanted.addr, id);
    // its primary, or where that was replaced meanwhile the one that it copies itself now
    let source = picture.owners().find(|(_, facts)| {
        copied(&facts.id) || picture.replicas_of(&facts.id).any(|(_, former)| copied(&former.id))
    });
    match (seen.disk, source) {
        (Disk::Unreadable, Some((primary, _))) => plan.step(
            Step::SetAside { node: wanted.name.clone() },
            format!(
                "the server cannot read it, {} has all of it and is copied anew; it {}",
                primary.name,
                seen.how()
            ),
        ),
        (Disk::Unreadable | Disk::Kept | Disk::Nameless | Disk::Lost | Disk::Blank, _) => {
            start(picture, plan, wanted, seen, "its slots, if any, are served elsewhere");
        }
    }
}

/// Nobody who answers knows it: a new node, or nobody answers at all.
fn start_unknown(picture: &Picture<'_>, plan: &mut Plan, wanted: &Wanted, seen: &Seen) {
    let kept = seen.disk == Disk::Kept;
    let newer = newer_copy(picture, seen);
    if newer.is_some() {
        return wait_for_newer(plan, wanted, newer);
    }
    if picture.answering().next().is_none() {
        if let Some(silent) = picture.unknown().next()
            && (!kept || picture.is_fresh(seen, SILENCE))
        {
            return plan
                .wait(&wanted.name, format!("{} may hold its data and does not answer yet", silent.name));
        }
        // those that kept their disk know whether this one owned something, and who copied it
        let knows = |other: &Seen| other.is_dead() && other.disk == Disk::Kept && other.failures() < IN_VAIN;
        if let (false, Some((first, _))) = (kept, picture.nodes().find(|(_, other)| knows(other))) {
            let because = format!("its directory is empty; {} is started first and may know why", first.name);
            return plan.wait(&wanted.name, because);
        }
        if seen.disk == Disk::Lost && picture.accepted(&wanted.name).is_none() {
            return ask(plan, &wanted.name, "this node");
        }
    }
    start(picture, plan, wanted, seen, "no running node knows it");
}

/// Starts a server, after a pause when it ended again and again without having answered.
fn start(picture: &Picture<'_>, plan: &mut Plan, wanted: &Wanted, seen: &Seen, why: &str) {
    let node = wanted.name.clone();
    match &seen.process {
        Process::Running { .. } => {}
        Process::Absent => plan.step(Step::Start { node }, format!("it is not running; {why}")),
        Process::Exited { at, how, failures } => {
            let pause = match failures {
                0 => 0,
                many => PAUSES.0.saturating_mul(1 << (many - 1).min(8)).min(PAUSES.1),
            };
            if picture.now >= at.saturating_add(pause) {
                plan.step(Step::Start { node }, format!("it {how}; {why}"));
            } else {
                plan.wait(
                    &node,
                    format!("it {how}; started {failures} times in vain, again in {pause} ms at most"),
                );
            }
        }
    }
}

/// Owners at no address: those who knew where they were found another there before they could be replaced. When everyone
/// answers and none of them is it, it is as lost as one whose address answers with another id.
fn replace_ghosts(picture: &Picture<'_>, plan: &mut Plan) {
    let Some(ghost) = picture.ghost() else { return };
    let without_slots = || picture.answering().filter(|(_, facts)| facts.own_slots().is_empty());
    let given_up = without_slots().find(|(wanted, _)| picture.accepted(&wanted.name).is_some());
    let Some((wanted, _)) = given_up.or_else(|| without_slots().next()) else { return };
    if let Some((_, seen)) = picture.at(wanted.addr) {
        replace(picture, plan, &Lost { wanted, seen, id: &ghost.id, slots: &ghost.slots });
    }
}

/// Ids at a living node's address that are not its own: it lost its directory and came back as another.
fn forget(picture: &Picture<'_>, plan: &mut Plan, wanted: &Wanted, facts: &Facts) {
    if let Standing::Owner { id, slots } = picture.standing(wanted.addr, Some(&facts.id)) {
        let Some((_, seen)) = picture.at(wanted.addr) else { return };
        return replace(picture, plan, &Lost { wanted, seen, id: &id, slots: &slots });
    }
    for (viewer, theirs) in picture.answering().filter(|(viewer, _)| viewer.name != wanted.name) {
        let stale = |peer: &&Peer| {
            peer.addr == Some(wanted.addr)
                && peer.id != facts.id
                && peer.role != PeerRole::Handshake
                && (peer.slots.is_empty() || picture.is_a_memory(&peer.id))
                && !matches!(&theirs.duty, Duty::Replica { of, .. } if of == &peer.id)
        };
        for peer in theirs.view.iter().filter(stale) {
            let node: NodeName = viewer.name.clone();
            let because =
                format!("{} answers as {} now, {} no longer exists", wanted.name, facts.id, peer.id);
            plan.step(Step::Forget { node, id: peer.id.clone() }, because);
        }
    }
}
