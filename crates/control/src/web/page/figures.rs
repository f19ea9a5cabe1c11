//! The row of key figures: the whole service in six numbers.

use evenkeel_core::metric::Metric;
use maud::{Markup, html};

use super::View;
use super::gateways::{metric, worst_latency};
use super::text::{bytes, count, grouped, micros, percent, rate};
use crate::status::{Health, Node, Role};

/// The element `#figures`.
pub(super) fn part(view: &View<'_>) -> Markup {
    let status = view.status;
    let gateways = &status.gateways;
    let primaries = || status.nodes.iter().filter(|node| matches!(node.role, Role::Primary));
    let keys: u64 = primaries().map(|node| node.keys).fold(0, u64::saturating_add);
    let used = sum(primaries(), |node| node.memory.0);
    let limits = sum(primaries(), |node| node.memory.1);
    let unlimited = primaries().any(|node| node.memory.1 == 0);
    let well = status.nodes.iter().filter(|node| answers(node)).count() as u64;
    let clients = gateways.iter().filter_map(|gateway| metric(gateway, Metric::Clients));
    let errors: f64 = gateways.iter().map(|gateway| gateway.errors_per_s).sum();
    let desired = &status.desired;
    let wanted = u64::from(desired.shards) * (1 + u64::from(desired.replicas));
    html! {
        dl #figures.figures {
            (figure("Requests", &rate(gateways.iter().map(|gateway| gateway.requests_per_s).sum()),
                    &if errors < 0.05 { "no errors".to_owned() } else { format!("{} errors", rate(errors)) }))
            @match worst_latency(gateways) {
                Some((p50, p99, p999)) => {
                    (figure("Latency p99", &micros(p99), &format!("p50 {}, p99.9 {}", micros(p50), micros(p999))))
                }
                None => { (figure("Latency p99", "–", "no requests lately")) }
            }
            (figure("Clients", &count(clients.fold(0, u64::saturating_add)), &match gateways.len() {
                0 => "no gateway".to_owned(),
                1 => "on one gateway".to_owned(),
                many => format!("on {many} gateways"),
            }))
            (figure("Keys", &count(keys), &match view.shards.all.len() {
                1 => "in one shard".to_owned(),
                many => format!("in {many} shards"),
            }))
            (figure("Memory", &bytes(used), &if unlimited || limits == 0 { "no limit".to_owned() } else {
                format!("{:.0} % of {}", percent(used, limits), bytes(limits))
            }))
            (figure("Nodes up", &format!("{} / {}", grouped(well), grouped(status.nodes.len() as u64)),
                    &format!("{} wanted", grouped(wanted))))
        }
    }
}

fn figure(name: &str, value: &str, note: &str) -> Markup {
    html! {
        div { dt { (name) } dd.value { (value) } dd.note { (note) } }
    }
}

/// Whether the node takes part: it answers, perhaps with something amiss.
fn answers(node: &Node) -> bool {
    match node.health {
        Health::Ok | Health::Degraded => true,
        Health::Down | Health::Starting => false,
    }
}

fn sum<'a>(nodes: impl Iterator<Item = &'a Node>, value: fn(&Node) -> u64) -> u64 {
    nodes.map(value).fold(0, u64::saturating_add)
}
