//! Many gateways in a table: one line each, with what differs between them.

use evenkeel_core::metric::Metric;
use maud::{Markup, html};

use super::gateways::{curve, metric, peak, unwanted};
use super::marks::{Mood, state};
use super::text::{count, micros, rate};
use crate::status::Gateway;

/// Columns with the class of their cells.
const COLUMNS: [(&str, &str); 11] = [
    ("Gateway", "name"),
    ("Health", "health"),
    ("Requests", "num"),
    ("Last 5 min", "trend"),
    ("p50", "num"),
    ("p99", "num"),
    ("p99.9", "num"),
    ("Clients", "num"),
    ("In flight", "num"),
    ("Held now", "num"),
    ("Errors", "num"),
];

/// The section around the rows.
pub(super) fn section(rows: Vec<(String, Markup)>) -> Markup {
    html! {
        section #gateways.panel aria-labelledby="gateways-title" {
            div.head { h2 #gateways-title { "Gateways" } p.meta { (rows.len()) " gateways" } }
            div.scroll tabindex="0" role="region" aria-labelledby="gateways-title" {
                table.rows.of-gateways role="table" {
                    thead role="rowgroup" {
                        tr role="row" {
                            @for (name, class) in COLUMNS { th.(class) scope="col" role="columnheader" { (name) } }
                        }
                    }
                    tbody role="rowgroup" { @for (_, row) in rows { (row) } }
                }
            }
        }
    }
}

/// One gateway.
pub(super) fn row(at: usize, gateway: &Gateway) -> Markup {
    let latency = gateway.latency_us;
    let of = |wanted| metric(gateway, wanted).map_or("–".to_owned(), count);
    let held = metric(gateway, Metric::ParkedNow).unwrap_or(0);
    let errors = if gateway.errors_per_s >= 0.05 { Mood::Warning } else { Mood::Neutral };
    html! {
        tr.(Mood::from(gateway.health).class()) role="row" id={ "gateway-" (at) } {
            th.name scope="row" role="rowheader" { code { (gateway.addr) } }
            td.health role="cell" data-label="Health" { (state(gateway.health, &gateway.because)) }
            td.num role="cell" data-label="Requests" { (rate(gateway.requests_per_s)) }
            td.trend role="cell" data-label="Last 5 min" { (curve(&gateway.history, peak(&gateway.history))) }
            td.num role="cell" data-label="p50" { (latency.map_or("–".to_owned(), |latency| micros(latency.0))) }
            td.num role="cell" data-label="p99" { (latency.map_or("–".to_owned(), |latency| micros(latency.1))) }
            td.num role="cell" data-label="p99.9" { (latency.map_or("–".to_owned(), |latency| micros(latency.2))) }
            td.num role="cell" data-label="Clients" { (of(Metric::Clients)) }
            td.num role="cell" data-label="In flight" { (of(Metric::InFlight)) }
            td.num role="cell" data-label="Held now" { (marked(unwanted(held), &of(Metric::ParkedNow))) }
            td.num role="cell" data-label="Errors" { (marked(errors, &rate(gateway.errors_per_s))) }
        }
    }
}

fn marked(mood: Mood, value: &str) -> Markup {
    html! {
        @if mood == Mood::Neutral { (value) } @else { span.state.(mood.class()) { (mood.shape()) (value) } }
    }
}
