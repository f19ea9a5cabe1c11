//! The first thing a person reads: is it well, and if not, why. Says nothing that changes by the second, so
//! that a screen reader speaks only when the verdict does.

use maud::{Markup, html};

use super::View;
use super::health::{SLOTS, is_stale};
use super::marks::Mood;
use super::text::{grouped, time};
use crate::status::{Health, Status};

/// The element `#verdict`.
pub(super) fn part(view: &View<'_>) -> Markup {
    let status = view.status;
    let stale = is_stale(status, view.now_ms);
    let mood = if stale { Mood::Stale } else { Mood::from(status.health) };
    html! {
        section #verdict.verdict.(mood.class()) aria-label="Verdict" {
            (mood.shape())
            div {
                h1 { @if stale { "No fresh observation" } @else { (headline(status)) } }
                p {
                    @if stale {
                        "Control last looked " (time(status.at_ms, view.times))
                        ". What stands below was true then."
                    } @else { (reason(status)) }
                }
            }
        }
    }
}

fn headline(status: &Status) -> String {
    let served = format!("{} of {} slots served", grouped(status.slots_served.into()), grouped(SLOTS.into()));
    match (status.health, status.slots_served) {
        (Health::Ok, SLOTS) => "Healthy. Every slot is served".to_owned(),
        (Health::Degraded, SLOTS) => "Degraded. Every slot is served, something is missing".to_owned(),
        (Health::Down, SLOTS) => "Down".to_owned(),
        (Health::Starting, SLOTS) => "Starting. Every slot is served already".to_owned(),
        (Health::Ok, _) => format!("Healthy, yet only {served}"),
        (Health::Degraded, _) => format!("Degraded. {served}"),
        (Health::Down, _) => format!("Down. {served}"),
        (Health::Starting, _) => format!("Starting. {served} so far"),
    }
}

fn reason(status: &Status) -> String {
    if !status.because.is_empty() {
        return status.because.clone();
    }
    match status.health {
        Health::Ok => {
            let (shards, replicas) = (status.desired.shards, status.desired.replicas);
            let copies = match replicas {
                0 => "no replicas".to_owned(),
                1 => "one replica each".to_owned(),
                many => format!("{many} replicas each"),
            };
            let shards = if shards == 1 { "One shard".to_owned() } else { format!("{shards} shards") };
            format!("{shards}, {copies}; every node is as desired.")
        }
        Health::Starting => "The cluster is being formed.".to_owned(),
        Health::Degraded | Health::Down => "No reason was given.".to_owned(),
    }
}
