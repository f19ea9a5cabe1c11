//! The gateways: requests and their history, latency, connections, and what went other than planned.

use evenkeel_core::metric::{ALL, Kind, Metric};
use maud::{Markup, html};

use super::View;
use super::gateway_table;
use super::marks::{Mood, state};
use super::text::{bytes, count, grouped, micros, rate, span};
use crate::status::Gateway;

/// So many gateways are shown at large.
const AT_LARGE: usize = 2;
/// Seconds of history that the sparkline has room for.
const HISTORY: usize = 300;
/// Height of the sparkline in its own units.
const HEIGHT: f64 = 60.0;

/// The section with all gateways.
pub(super) fn section(view: &View<'_>) -> Markup {
    html! {
        @if view.status.gateways.is_empty() {
            section #gateways.panel aria-label="Gateways" { p.none { "No gateway is wanted or seen." } }
        } @else if is_table(view) {
            (gateway_table::section(parts(view)))
        } @else {
            div #gateways.gateways.many[view.status.gateways.len() > 1] {
                @for (_, gateway) in parts(view) { (gateway) }
            }
        }
    }
}

/// Each gateway with its id.
pub(super) fn parts(view: &View<'_>) -> Vec<(String, Markup)> {
    let draw = if is_table(view) { gateway_table::row } else { part };
    let gateways = view.status.gateways.iter().enumerate();
    gateways.map(|(at, gateway)| (format!("gateway-{at}"), draw(at, gateway))).collect()
}

/// Few gateways are shown at large, many in a table.
fn is_table(view: &View<'_>) -> bool {
    view.status.gateways.len() > AT_LARGE
}

/// The value of a metric; `None` while the gateway does not answer.
pub(super) fn metric(gateway: &Gateway, metric: Metric) -> Option<u64> {
    gateway.metrics.as_ref().map(|metrics| metrics.values.get(metric.name()).copied().unwrap_or(0))
}

/// The worst latency of all gateways, by its 99th percentile.
pub(super) fn worst_latency(gateways: &[Gateway]) -> Option<(u64, u64, u64)> {
    gateways.iter().filter_map(|gateway| gateway.latency_us).max_by_key(|latency| (latency.1, latency.2))
}

fn part(at: usize, gateway: &Gateway) -> Markup {
    let title = format!("gateway-{at}-title");
    html! {
        section.panel.gateway id={ "gateway-" (at) } aria-labelledby=(title) {
            div.head {
                h2 id=(title) { "Gateway " code { (gateway.addr) } }
                div.verdict-of { (state(gateway.health, &gateway.because)) }
                @if let Some(metrics) = &gateway.metrics {
                    p.meta {
                        "up " (span(metrics.uptime_s.max(0.0) as u64)) span.sep { "·" }
                        (metrics.workers) @if metrics.workers == 1 { " worker" } @else { " workers" }
                        span.sep { "·" } "pid " (metrics.pid)
                    }
                }
            }
            div.pulse {
                (traffic(gateway))
                (sparkline(&gateway.history))
            }
            @if gateway.metrics.is_some() {
                (by_class(gateway))
                (numbers(gateway))
                (all_counters(at, gateway))
            } @else {
                p.none { "It does not answer, so there are no counters." }
            }
        }
    }
}

fn traffic(gateway: &Gateway) -> Markup {
    html! {
        dl.traffic {
            div.big { dt { "Requests" } dd { (rate(gateway.requests_per_s)) } }
            @let latency = gateway.latency_us;
            @for (name, value) in [
                ("p50", latency.map(|latency| latency.0)),
                ("p99", latency.map(|latency| latency.1)),
                ("p99.9", latency.map(|latency| latency.2)),
            ] {
                div { dt { (name) } dd { (value.map_or("–".to_owned(), micros)) } }
            }
        }
    }
}

fn sparkline(history: &[f64]) -> Markup {
    let peak = peak(history);
    html! {
        figure.spark {
            (curve(history, peak))
            figcaption {
                span { "5 min ago" }
                span { @if history.len() > 1 { "peak " (rate(peak)) } @else { "no history yet" } }
                span { "now" }
            }
        }
    }
}

/// Requests a second over the last minutes: newest at the right, drawn from zero to the peak.
pub(super) fn curve(history: &[f64], peak: f64) -> Markup {
    let history = &history[history.len().saturating_sub(HISTORY)..];
    let first = HISTORY - history.len();
    let point = |(at, per_s): (usize, &f64)| {
        let y = HEIGHT - sane(*per_s) / peak.max(1.0) * (HEIGHT - 3.0);
        format!("{} {y:.1}", first + at)
    };
    let line = history.iter().enumerate().map(point).collect::<Vec<_>>().join("L");
    let last = HISTORY - 1;
    html! {
        svg.curve viewBox={ "0 0 " (last) " " (HEIGHT) } preserveAspectRatio="none" role="img"
            aria-label={ "Requests a second over the last five minutes, peak " (rate(peak)) } {
            line.grid x1="0" x2=(last) y1="3" y2="3" {}
            line.grid x1="0" x2=(last) y1="31.5" y2="31.5" {}
            line.base x1="0" x2=(last) y1=(HEIGHT) y2=(HEIGHT) {}
            @if history.len() > 1 {
                path.area d={ "M" (first) " " (HEIGHT) "L" (line) "L" (last) " " (HEIGHT) "z" } {}
                path.line d={ "M" (line) } {}
            }
        }
    }
}

/// The most requests a second of a history.
pub(super) fn peak(history: &[f64]) -> f64 {
    history.iter().copied().map(sane).fold(0.0, f64::max)
}

fn sane(per_s: f64) -> f64 {
    if per_s.is_finite() { per_s.max(0.0) } else { 0.0 }
}

/// How long each class of commands took lately, as far as any was asked for.
fn by_class(gateway: &Gateway) -> Markup {
    html! {
        @if !gateway.class_latency_us.is_empty() {
            p.meta.classes {
                @for (at, (class, (p50, p99, _))) in gateway.class_latency_us.iter().enumerate() {
                    @if at > 0 { span.sep { "·" } }
                    span { (class) " p50 " (micros(*p50)) ", p99 " (micros(*p99)) }
                }
            }
        }
    }
}

/// What people look at first; what should be zero says so when it is not.
fn numbers(gateway: &Gateway) -> Markup {
    let of = |wanted| metric(gateway, wanted).unwrap_or(0);
    let held = of(Metric::ParkedNow);
    let errors = of(Metric::Errors);
    html! {
        dl.numbers {
            (number("Connections", &count(of(Metric::Clients)), "", Mood::Neutral))
            (number("In flight", &count(of(Metric::InFlight)), "", Mood::Neutral))
            (number("Held now", &count(held), &held_bytes(held, of(Metric::ParkedBytes)), unwanted(held)))
            (number("Errors", &rate(gateway.errors_per_s), &format!("{} in all", count(errors)),
                    if gateway.errors_per_s >= 0.05 { Mood::Warning } else { Mood::Neutral }))
            (number("Redirects followed", &count(of(Metric::Redirects)), "", Mood::Neutral))
            (number("Sent again", &count(of(Metric::Retries)), "", Mood::Neutral))
            (number("Given up", &count(of(Metric::HoldExpired)), "", unwanted(of(Metric::HoldExpired))))
            (number("Fate unknown", &count(of(Metric::Uncertain)), "", unwanted(of(Metric::Uncertain))))
            (number("Unreplicated", &count(of(Metric::Unreplicated)), "", unwanted(of(Metric::Unreplicated))))
            (number("To clients", &bytes(of(Metric::ClientBytesOut)),
                    &format!("{} from them", bytes(of(Metric::ClientBytesIn))), Mood::Neutral))
        }
    }
}

fn number(name: &str, value: &str, note: &str, mood: Mood) -> Markup {
    html! {
        div.(mood.class()) {
            dt { (name) }
            dd {
                @if mood != Mood::Neutral { (mood.shape()) }
                (value)
                @if !note.is_empty() { span.note { (note) } }
            }
        }
    }
}

pub(super) fn unwanted(number: u64) -> Mood {
    if number > 0 { Mood::Warning } else { Mood::Neutral }
}

fn held_bytes(held: u64, size: u64) -> String {
    if held > 0 { bytes(size) } else { String::new() }
}

/// Every row of the metric table, so that nothing is counted in secret.
fn all_counters(at: usize, gateway: &Gateway) -> Markup {
    html! {
        details.more id={ "gateway-" (at) "-all" } {
            summary { "All counters" }
            table.counters {
                thead { tr { th scope="col" { "Counter" } th.num scope="col" { "Value" } th scope="col" { "Meaning" } } }
                tbody {
                    @for &row in ALL {
                        @let value = metric(gateway, row).unwrap_or(0);
                        tr {
                            th scope="row" { code { (row.name()) } }
                            td.num title=(value) {
                                @match row.unit() { "bytes" => { (bytes(value)) } _ => { (grouped(value)) } }
                            }
                            td {
                                (row.help())
                                @match row.kind() {
                                    Kind::Counter => {}
                                    Kind::Gauge => { span.note { "at this moment" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
