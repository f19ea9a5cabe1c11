//! Part of the rung *heal*: a server that runs and does nothing is ended, so that silence becomes proof of death.
//!
//! Owns when that is allowed. Never ends a server that computes, or whose end would cost more than its silence: a
//! primary needs a replica that is in sync and a majority that sees it, or a disk to come back from.
//!
//! ```text
//! still for `hang`, several pings unanswered ─► more than half of all silent? ── yes ─► wait: it is the machine
//!                │ no
//!                ├─ owner of slots, a replica in sync, a majority sees it ─► end it; heal promotes the replica
//!                ├─ owner of slots otherwise ─► end it after the servers' own time-out, if its disk has the data
//!                └─ owns nothing, a primary answers ──────────────────────► end it; heal starts it again
//! ```

use super::heal::{Court, court};
use super::picture::{Picture, Standing};
use super::{Duty, Facts, Link, NodeId, Plan, Process, Silence, Step, Wanted};
use crate::config::Persistence;

/// So many pings in a row must be without an answer.
const PINGS: u32 = 3;

pub(super) fn end_hung(picture: &Picture<'_>, plan: &mut Plan) {
    let limit = picture.desired.hang.0;
    let silent: Vec<(&Wanted, Silence)> = picture
        .nodes()
        .filter(|(_, seen)| matches!(seen.process, Process::Running { .. }) && seen.facts().is_none())
        .filter_map(|(wanted, seen)| Some((wanted, seen.silence?)))
        .filter(|(_, silence)| limit > 0 && silence.pings >= PINGS && silence.still >= limit)
        .collect();
    let running = picture.nodes().filter(|(_, seen)| !seen.is_dead()).count();
    for (wanted, silence) in &silent {
        let what = format!(
            "it owes {} pings an answer and has done nothing for {} ms",
            silence.pings, silence.still
        );
        if silent.len() * 2 > running {
            plan.wait(&wanted.name, format!("{what}; so do most others: the machine stands still, not they"));
            continue;
        }
        match worth(picture, wanted, silence.still) {
            Ok(gain) => plan.step(Step::Kill { node: wanted.name.clone() }, format!("{what}; {gain}")),
            Err(lack) => plan.wait(&wanted.name, format!("{what}; {lack}")),
        }
    }
}

/// What is won by ending a hung server, or why it is left alone.
fn worth(picture: &Picture<'_>, wanted: &Wanted, still: u64) -> Result<String, String> {
    let patience = picture.desired.node_timeout.0;
    match picture.standing(wanted.addr, None) {
        Standing::Unknown => Err("nobody who answers knows it".to_owned()),
        Standing::Idle => match picture.owners().next() {
            Some(_) => Ok("it owns no slots and is started again".to_owned()),
            None => Err("no primary answers that it could copy".to_owned()),
        },
        Standing::Owner { id, slots } => match heir(picture, &id) {
            Some((replica, facts)) if matches!(court(picture, &facts.id, facts), Court::Majority) => {
                Ok(format!("{} is in sync and takes over slots {slots}", replica.name))
            }
            Some((replica, _)) if still >= patience => {
                Ok(format!("{} is in sync and the silence outlasts the servers' own time-out", replica.name))
            }
            Some((replica, _)) => {
                Err(format!("no majority of the primaries sees its replica {}", replica.name))
            }
            None if picture.desired.persistence != Persistence::None && still >= patience => {
                Ok("no replica could take over, and it can come back from its disk".to_owned())
            }
            None => Err("no replica that is in sync could take over".to_owned()),
        },
    }
}

/// A replica that has everything its primary sent.
fn heir<'a>(picture: &Picture<'a>, id: &NodeId) -> Option<(&'a Wanted, &'a Facts)> {
    let in_sync = |facts: &Facts| matches!(facts.duty, Duty::Replica { link: Link::Up, .. });
    picture
        .answering()
        .find(|(_, facts)| in_sync(facts) && matches!(&facts.duty, Duty::Replica { of, .. } if of == id))
}
