//! The rung *upgrade*: nodes get the settings of today, new processes, and shards another primary, one after the
//! other, while everything is served.
//!
//! Owns the order of a rolling restart and the conditions of a planned failover. Never begins a step while anything
//! else is amiss, and never takes a primary away before a replica that has all of its data took over.
//!
//! ```text
//! settings that can be changed in place ─► CONFIG SET
//! ordered failover ─────────────────────► switch
//! process too old ─► replicas first ─────► stop (heal starts it) ─► at rest again? next one
//!                 └► primary ─► a replica? ── yes ─► switch, then it is a replica
//!                                          └─ no ──► its disk keeps the data? stop : wait
//! ```

use super::heal::{Court, STALE, court};
use super::judge::judge_picture;
use super::order::What;
use super::picture::Picture;
use super::{Duty, Facts, Link, NodeName, Plan, Process, Seen, Settings, State, Step, Wanted};
use crate::config::Persistence;

/// How far behind its primary a replica may be at the begin of a switch, in bytes: the clients of the primary wait
/// until it has caught up.
const LAG: u64 = 1 << 20;
/// How long the servers themselves try before they give a planned failover up, in milliseconds.
const TRIED: u64 = 5_000;
/// How long who has just taken a shard over keeps it, in milliseconds.
const SETTLED: u64 = 1_000;

pub(super) fn upgrade(picture: &Picture<'_>, plan: &mut Plan) {
    configure(picture, plan);
    failovers(picture, plan);
    if plan.steps.is_empty() {
        restart_next(picture, plan);
    }
}

/// Changes settings in place.
fn configure(picture: &Picture<'_>, plan: &mut Plan) {
    for (wanted, seen) in picture.nodes().filter(|(_, seen)| seen.facts().is_some()) {
        if let Settings::Adjustable(changes) = &seen.settings {
            let names: Vec<&str> = changes.iter().map(|(key, _)| key.as_str()).collect();
            let because = format!("the configuration asks for other {} than it runs with", names.join(", "));
            plan.step(Step::Configure { node: wanted.name.clone(), changes: changes.clone() }, because);
        }
    }
}

fn failovers(picture: &Picture<'_>, plan: &mut Plan) {
    for order in &picture.desired.orders {
        let What::Failover { from, to } = &order.what else { continue };
        // two that take over at once would take the same epoch
        if plan.steps.iter().any(|planned| matches!(planned.step, Step::Switch { .. })) {
            return;
        }
        let owner = picture.owners().find(|(wanted, _)| &wanted.name == from);
        if let Some((wanted, facts)) = owner {
            switch(
                picture,
                plan,
                (wanted, facts),
                to.as_ref(),
                &format!("order {}: {from} gives its slots away", order.id),
            );
        }
    }
}

/// Hands the slots of a living primary to a replica, when that takes a moment only.
fn switch(
    picture: &Picture<'_>,
    plan: &mut Plan,
    from: (&Wanted, &Facts),
    to: Option<&NodeName>,
    what: &str,
) {
    match heir(picture, from, to) {
        Ok((replica, lag)) => {
            let because = format!(
                "{what}; {} is in sync ({lag} bytes behind), and most primaries see it",
                replica.name
            );
            plan.step(Step::Switch { node: replica.name.clone(), from: from.0.name.clone() }, because);
        }
        Err(why) => plan.wait(&from.0.name, format!("{what}; {why}")),
    }
}

/// The replica that takes over, and how many bytes it is behind; or what a switch has to wait for.
fn heir<'a>(
    picture: &Picture<'a>,
    (from, facts): (&Wanted, &Facts),
    to: Option<&NodeName>,
) -> Result<(&'a Wanted, u64), String> {
    let timeout = picture.desired.node_timeout.0;
    let ago = |at: Option<u64>| at.map_or(u64::MAX, |at| picture.now.saturating_sub(at));
    let seen = |wanted: &Wanted| picture.at(wanted.addr).map(|(_, seen)| seen);
    let replicas: Vec<(&Wanted, &Facts)> = picture.replicas_of(&facts.id).collect();
    let asked = replicas.iter().map(|(replica, _)| ago(seen(replica).and_then(|seen| seen.forced_at))).min();
    if let Some(asked) = asked.filter(|asked| *asked < TRIED.max(2 * timeout) + TRIED) {
        return Err(format!("a replica was asked {asked} ms ago and has not taken over yet"));
    }
    // the primaries do not vote about the same one twice within this time
    let (quiet, yielded) = ((2 * timeout).max(2_000), ago(seen(from).and_then(|seen| seen.yielded_at)));
    if yielded < quiet {
        return Err(format!(
            "it gave its slots away {yielded} ms ago already, the primaries vote again in {} ms",
            quiet - yielded
        ));
    }
    // who owned the slots before may still hold requests from then: were it the owner again before it has refused them, they
    // would be executed behind what came later
    let won = ago(seen(from).and_then(|seen| seen.won_at));
    if won < SETTLED {
        return Err(format!("it took over {won} ms ago and gives its slots away in {} ms", SETTLED - won));
    }
    let mut because = "it has no replica that answers".to_owned();
    let mut ready: Vec<(&Wanted, u64)> = Vec::new();
    for (replica, theirs) in
        replicas.into_iter().filter(|(replica, _)| to.is_none_or(|to| to == &replica.name))
    {
        let (name, lag) = (&replica.name, facts.offset.saturating_sub(theirs.offset));
        // votes of an election that the same process won a moment ago would be counted again
        let (stale, won) = ((4 * timeout).max(STALE), ago(seen(replica).and_then(|seen| seen.won_at)));
        let in_sync =
            matches!(theirs.duty, Duty::Replica { link: Link::Up, .. }) && theirs.state == State::Ok;
        if !in_sync {
            because = format!("{name} is not in sync");
        } else if lag > LAG {
            because = format!("{name} is {lag} bytes behind");
        } else if won < stale {
            because =
                format!("{name} won an election {won} ms ago and can stand again in {} ms", stale - won);
        } else if !matches!(court(picture, &theirs.id, theirs), Court::Majority) {
            because = format!("no majority of the primaries sees {name} as its replica");
        } else {
            ready.push((replica, lag));
        }
    }
    ready.into_iter().min_by_key(|(_, lag)| *lag).ok_or(because)
}

/// The next process that is too old, replicas first.
fn restart_next(picture: &Picture<'_>, plan: &mut Plan) {
    let mut old: Vec<(&Wanted, &Seen, String)> = picture
        .nodes()
        .filter_map(|(wanted, seen)| Some((wanted, seen, outdated(picture, wanted, seen)?)))
        .collect();
    old.sort_by_key(|(wanted, seen, _)| (owns(seen), picture.place(wanted)));
    let left = old.len();
    let Some((wanted, seen, why)) = old.into_iter().next() else { return };
    let judgement = judge_picture(picture);
    let (mine, others) =
        (judgement.nodes.get(&wanted.name), judgement.nodes.iter().find(|(name, _)| **name != wanted.name));
    // what is wrong with the shards may well come from this node; what is wrong with others comes first
    let amiss = others.map(|(name, trouble)| format!("{name} {trouble}"));
    let amiss = amiss.or_else(|| mine.is_none().then(|| judgement.cluster.first().cloned())?);
    let what = format!("{why} ({left} to go)");
    match (amiss, seen.facts()) {
        (Some(amiss), _) => plan.wait(&wanted.name, format!("{what}; first all has to be well: {amiss}")),
        (None, Some(facts)) if owns(seen) => restart_primary(picture, plan, (wanted, facts), &what),
        (None, _) => plan.step(Step::Stop { node: wanted.name.clone() }, format!("{what}; it owns no slots")),
    }
}

fn restart_primary(picture: &Picture<'_>, plan: &mut Plan, from: (&Wanted, &Facts), what: &str) {
    let name = &from.0.name;
    if picture.desired.replicas > 0 {
        switch(picture, plan, from, None, what);
    } else if picture.desired.persistence == Persistence::None {
        plan.wait(
            name,
            format!("{what}; it has no replica and keeps nothing on disk: a restart would lose its data"),
        );
    } else {
        let because =
            format!("{what}; it has no replica and comes back from its disk, its slots wait meanwhile");
        plan.step(Step::Stop { node: name.clone() }, because);
    }
}

fn owns(seen: &Seen) -> bool {
    seen.facts().is_some_and(|facts| facts.duty == Duty::Primary && !facts.own_slots().is_empty())
}

/// Why a node needs a new process.
fn outdated(picture: &Picture<'_>, wanted: &Wanted, seen: &Seen) -> Option<String> {
    if !matches!(seen.process, Process::Running { .. }) {
        return None;
    }
    let ordered = picture.desired.orders.iter().find(|order| match &order.what {
        What::Restart { nodes } => seen.started_at <= order.at && nodes.contains(&wanted.name),
        What::Failover { .. } | What::AcceptLoss { .. } => false,
    });
    match (ordered, &seen.settings) {
        (Some(order), _) => Some(format!("order {}: it gets a new process", order.id)),
        (None, Settings::Fixed(what)) => Some(format!("{what} takes effect with a new process")),
        (None, Settings::InForce | Settings::Adjustable(_)) => None,
    }
}
