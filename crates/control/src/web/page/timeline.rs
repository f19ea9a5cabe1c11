//! What happened, and why: the newest first.

use maud::{Markup, html};

use super::View;
use super::marks::Mood;
use super::text::time;
use crate::status::{Event, Level};

/// Events that are shown at once; older ones unfold.
const SHOWN: usize = 12;

/// The element `#timeline`.
pub(super) fn part(view: &View<'_>) -> Markup {
    let events = &view.status.events;
    let (newest, older) = events.split_at(events.len().min(SHOWN));
    html! {
        section #timeline.panel aria-labelledby="timeline-title" {
            div.head {
                h2 #timeline-title { "Timeline" }
                p.meta { "what happened, and why" }
            }
            @if events.is_empty() { p.none { "Nothing has happened yet." } }
            ol.events { @for event in newest { (item(view, event)) } }
            @if !older.is_empty() {
                details.more #older {
                    summary { "Earlier (" (older.len()) ")" }
                    ol.events { @for event in older { (item(view, event)) } }
                }
            }
        }
    }
}

fn item(view: &View<'_>, event: &Event) -> Markup {
    let mood = Mood::from(event.level);
    html! {
        li.(mood.class()) {
            span.when { (time(event.at_ms, view.times)) }
            span.level { (mood.shape()) span.word { (word(event.level)) } }
            span.subject { (event.subject) }
            span.what { (event.what) }
            span.because { (event.because) }
        }
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Info => "Info",
        Level::Warning => "Warning",
        Level::Error => "Error",
    }
}
