//! The table of nodes: each primary with its replicas below it, and last those that belong to no shard.

use maud::{Markup, html};

use super::View;
use super::marks::{Mood, state};
use super::shards::{real, size};
use super::slots::range;
use super::text::{bytes, count, grouped, micros, percent, rate, span};
use crate::status::{Health, Node, Role};

/// Slot ranges that a row lists; the slot map lists more.
const LISTED: usize = 2;
/// From this part of the limit on, in percent, memory is marked.
const TIGHT: f64 = 90.0;

/// Columns with the class of their cells.
const COLUMNS: [(&str, &str); 12] = [
    ("Node", "name"),
    ("Role", "role"),
    ("Health", "health"),
    ("Slots", "slots"),
    ("Link", "link"),
    ("Lag", "num"),
    ("Memory", "memory"),
    ("Keys", "num"),
    ("Ops", "num"),
    ("Latency", "num"),
    ("Clients", "num"),
    ("Up", "num"),
];

/// The section with all nodes.
pub(super) fn section(view: &View<'_>) -> Markup {
    html! {
        section #nodes.panel aria-labelledby="nodes-title" tabindex="-1" {
            div.head {
                h2 #nodes-title { "Nodes" }
                p.meta { "each primary with its replicas" }
            }
            @if view.status.nodes.is_empty() {
                p.none { "No node is wanted or seen." }
            } @else {
                div.scroll tabindex="0" role="region" aria-labelledby="nodes-title" {
                    table.rows.of-nodes role="table" {
                        thead role="rowgroup" {
                        tr role="row" {
                            @for (name, class) in COLUMNS { th.(class) scope="col" role="columnheader" { (name) } }
                        }
                    }
                        tbody role="rowgroup" { @for (_, row) in parts(view) { (row) } }
                    }
                }
            }
        }
    }
}

/// Each row with its id, in the order of the table.
pub(super) fn parts(view: &View<'_>) -> Vec<(String, Markup)> {
    let mut rows: Vec<(&Node, Place)> = Vec::with_capacity(view.status.nodes.len());
    for shard in &view.shards.all {
        rows.push((shard.primary, Place::Primary(shard.colour)));
        rows.extend(shard.replicas.iter().map(|replica| (*replica, Place::Replica(shard.colour))));
    }
    rows.extend(view.shards.loose.iter().map(|node| (*node, Place::Loose)));
    rows.into_iter()
        .enumerate()
        .map(|(at, (node, place))| (format!("node-{at}"), row(at, node, place, latency(view, node))))
        .collect()
}

/// Where a row belongs.
#[derive(Clone, Copy)]
enum Place {
    /// At the head of the shard with this colour.
    Primary(usize),
    /// Below the primary of the shard with this colour.
    Replica(usize),
    /// To no shard.
    Loose,
}

/// The worst latency that a gateway sees of a node: p50 and p99.
fn latency(view: &View<'_>, node: &Node) -> Option<(u64, u64)> {
    let seen = view.status.gateways.iter().filter_map(|gateway| gateway.node_latency_us.get(&node.addr));
    seen.map(|(p50, p99, _)| (*p50, *p99)).max_by_key(|(p50, p99)| (*p99, *p50))
}

fn row(at: usize, node: &Node, place: Place, latency: Option<(u64, u64)>) -> Markup {
    let (class, colour) = match place {
        Place::Primary(colour) => ("primary", format!("c{colour}")),
        Place::Replica(colour) => ("replica", format!("c{colour}")),
        Place::Loose => ("loose", "off".to_owned()),
    };
    html! {
        tr.(class).(Mood::from(node.health).class()) role="row" id={ "node-" (at) } {
            th.name scope="row" role="rowheader" {
                span.swatch.(colour) aria-hidden="true" {}
                span.who { (node.name) }
                span.sub { code title=(identity(node)) { (node.addr) } }
            }
            td.role role="cell" data-label="Role" { (role(node)) }
            td.health role="cell" data-label="Health" { (state(node.health, &node.because)) }
            td.slots role="cell" data-label="Slots" { (slots(node)) }
            td.link role="cell" data-label="Link" { (link(node)) }
            td.num role="cell" data-label="Lag" {
                @match node.lag_bytes { Some(lag) => { (bytes(lag)) } None => { span.nil { "–" } } }
            }
            td.memory role="cell" data-label="Memory" { (memory(node.memory)) }
            td.num role="cell" data-label="Keys" title=(node.keys) { (count(node.keys)) }
            td.num role="cell" data-label="Ops" { (rate(node.ops_per_s)) }
            td.num role="cell" data-label="Latency" title="p99 and p50 of the last 10 s, as a gateway sees them" {
                @match latency {
                    Some((p50, p99)) => { (micros(p99)) span.sub { "p50 " (micros(p50)) } }
                    None => { span.nil { "–" } }
                }
            }
            td.num role="cell" data-label="Clients" { (grouped(node.clients)) }
            td.num role="cell" data-label="Up" { (span(node.uptime_s)) }
        }
    }
}

/// What an operator needs to find the process.
fn identity(node: &Node) -> String {
    let id = if node.id.is_empty() { "unknown" } else { &node.id };
    let pid = node.pid.map_or("not of this machine".to_owned(), |pid| pid.to_string());
    format!("cluster id {id}, epoch {}, pid {pid}", node.epoch)
}

fn role(node: &Node) -> Markup {
    html! {
        @match node.role {
            Role::Primary => { "Primary" }
            Role::Replica => {
                "Replica"
                span.sub { @match &node.replica_of { Some(primary) => { "of " bdi { (primary) } } None => { "of nobody" } } }
            }
            Role::Unknown => { span.nil { "Unknown" } }
        }
    }
}

fn slots(node: &Node) -> Markup {
    let ranges: Vec<_> = real(&node.slots).collect();
    html! {
        @if ranges.is_empty() {
            span.nil { "–" }
        } @else {
            (grouped(size(&node.slots)))
            span.sub {
                @for (at, (first, last)) in ranges.iter().take(LISTED).enumerate() {
                    @if at > 0 { ", " }
                    (range((*first).into(), (*last).into()))
                }
                @if ranges.len() > LISTED { " +" (grouped((ranges.len() - LISTED) as u64)) }
            }
        }
    }
}

fn link(node: &Node) -> Markup {
    let (mood, word) = match (node.health, node.role, node.link_up) {
        (Health::Down | Health::Starting, _, false) | (_, Role::Unknown, _) => (Mood::Neutral, "–"),
        (_, Role::Primary, true) => (Mood::Neutral, "replicated"),
        (_, Role::Primary, false) => (Mood::Warning, "no replica"),
        (_, Role::Replica, true) => (Mood::Neutral, "up"),
        (_, Role::Replica, false) => (Mood::Warning, "down"),
    };
    html! {
        @match mood {
            Mood::Warning => { span.state.warn { (mood.shape()) (word) } }
            Mood::Good | Mood::Bad | Mood::Waiting | Mood::Stale | Mood::Neutral => {
                span.nil[word == "–"] { (word) }
            }
        }
    }
}

fn memory((used, limit): (u64, u64)) -> Markup {
    let share = percent(used, limit);
    let tight = limit > 0 && share >= TIGHT;
    html! {
        span.amount title={ (used) " bytes" } {
            @if tight { (Mood::Warning.shape()) }
            (bytes(used))
            @if limit > 0 { span.of { " of " (bytes(limit)) } }
        }
        @if limit > 0 {
            svg.bar.tight[tight] role="img" aria-label={ (format!("{share:.0}")) " percent of the limit" } {
                rect.track width="100%" height="4" rx="2" {}
                rect.level width={ (format!("{share:.1}")) "%" } height="4" rx="2" {}
            }
        } @else { span.sub { "no limit" } }
    }
}
