//! The page: one rendering for the first load, for the live update and for a browser without JavaScript.
//!
//! Owns what the page says and looks like. Pure: the status and the time come in, HTML goes out. Everything
//! is escaped by maud; the only text that is not is our own style and script.

mod figures;
mod gateway_table;
mod gateways;
mod marks;
mod nodes;
mod shards;
mod slots;
mod text;
mod timeline;
mod verdict;

use std::sync::Arc;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;

use super::health;
use crate::status::Status;
use shards::Shards;
use text::Times;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");
/// The mark of the house as a picture: a keel under a level line.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect \
                    width='32' height='32' rx='7' fill='%23274c77'/%3E%3Cpath d='M6 11h20M9 15.5h14c-1 5-3.5 8-7 8s\
                    -6-3-7-8z' fill='%23fff' stroke='%23fff' stroke-width='2' stroke-linecap='round' \
                    stroke-linejoin='round'/%3E%3C/svg%3E";

/// What all parts are drawn from.
struct View<'a> {
    status: &'a Status,
    now_ms: u64,
    times: Times,
    shards: Shards<'a>,
}

impl<'a> View<'a> {
    fn new(status: &'a Status, now_ms: u64, times: Times) -> Self {
        Self { status, now_ms, times, shards: Shards::new(&status.nodes) }
    }
}

/// A piece of the page that is replaced when it changes.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    /// The `id` of the element.
    pub(super) id: String,
    /// The element with all its content.
    pub(super) html: String,
}

/// A status as it is shown on open pages.
pub(super) struct Rendered {
    status: Arc<Status>,
    stale: Staleness,
    /// The content as a whole.
    pub(super) main: String,
    /// The same content by its parts, in the order of the page.
    pub(super) parts: Vec<Part>,
}

/// Whether the page must say that what it shows is old.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Staleness {
    Fresh,
    Stale,
}

impl Staleness {
    fn of(status: &Status, now_ms: u64) -> Self {
        if health::is_stale(status, now_ms) { Self::Stale } else { Self::Fresh }
    }
}

impl Rendered {
    pub(super) fn new(status: Arc<Status>, now_ms: u64) -> Self {
        let view = View::new(&status, now_ms, Times::Exact);
        let parts = parts(&view);
        let parts = parts.into_iter().map(|(id, html)| Part { id, html: html.into_string() }).collect();
        let main = main(&view).into_string();
        Self { stale: Staleness::of(&status, now_ms), main, parts, status }
    }

    /// Whether rendering this status now would give the same.
    pub(super) fn is_of(&self, status: &Arc<Status>, now_ms: u64) -> bool {
        Arc::ptr_eq(&self.status, status) && self.stale == Staleness::of(status, now_ms)
    }
}

/// The whole document.
pub(super) fn whole(status: &Status, now_ms: u64, nonce: &str) -> String {
    let view = View::new(status, now_ms, Times::Relative(now_ms));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { "evenkeel · stats" }
                link rel="icon" href=(ICON);
                style nonce=(nonce) { (PreEscaped(STYLE)) }
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                a.skip href="#nodes" { "Skip to the nodes" }
                (masthead(&view))
                main #live data-now=(now_ms) { (main(&view)) }
                (colophon(&view))
                script nonce=(nonce) { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn masthead(view: &View<'_>) -> Markup {
    html! {
        header.masthead {
            span.mark {
                svg viewBox="0 0 32 32" aria-hidden="true" {
                    path d="M4 9h24M7.5 14.5h17c-1.2 6.5-4.3 10-8.5 10s-7.3-3.5-8.5-10z" {}
                }
                "evenkeel"
            }
            span.meta {
                bdi { (view.status.version) }
                @if !view.status.server.is_empty() { span.sep { "·" } bdi { (view.status.server) } }
            }
            span #link.wire data-state="off" role="status" { span.dot {} span #link-text { "Snapshot" } }
        }
    }
}

/// The order of the page.
fn main(view: &View<'_>) -> Markup {
    html! {
        div.verdict-live aria-live="polite" { (verdict::part(view)) }
        (figures::part(view))
        (slots::part(view))
        (gateways::section(view))
        (nodes::section(view))
        (timeline::part(view))
    }
}

/// Everything of [`main`] that changes, each with its id.
fn parts(view: &View<'_>) -> Vec<(String, Markup)> {
    let mut parts = vec![
        ("verdict".to_owned(), verdict::part(view)),
        ("figures".to_owned(), figures::part(view)),
        ("slots".to_owned(), slots::part(view)),
    ];
    parts.extend(gateways::parts(view));
    parts.extend(nodes::parts(view));
    parts.push(("timeline".to_owned(), timeline::part(view)));
    parts
}

fn colophon(view: &View<'_>) -> Markup {
    html! {
        footer.colophon {
            nav aria-label="Machine-readable" {
                a href="/metrics" { "Prometheus" }
                a href="/api/status" { "JSON" }
                a href="/stats;csv" { "CSV" }
                a href="/healthz" { "Health" }
            }
            span { "control started " (text::time(view.status.since_ms, view.times)) }
        }
    }
}
