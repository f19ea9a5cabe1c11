//! The slot map: a band of all 16384 slots in the colours of their shards, and the legend that says it in
//! words. What nobody serves has its own pattern, a mark below the band and the first line of the legend.

use std::ops::RangeInclusive;

use maud::{Markup, html};

use super::View;
use super::health::SLOTS;
use super::marks::{Mood, word};
use super::shards::{Held, Piece, Shard, real, size};
use super::text::{grouped, percent};

/// Ranges that are listed by number; further ones are counted.
const LISTED: usize = 6;
/// Width of the band in pixels that labels are sure to find on a desk and on a phone.
const DESK: f64 = 1000.0;
const PHONE: f64 = 320.0;
/// Width of a letter in a label, and of the space around it.
const LETTER: f64 = 7.0;
const MARGIN: f64 = 12.0;
/// Percent of the band that something unserved takes at least: one slot must not hide.
const VISIBLE: f64 = 0.4;

/// The element `#slots`.
pub(super) fn part(view: &View<'_>) -> Markup {
    let pieces = view.shards.pieces();
    let served = view.status.slots_served;
    html! {
        section #slots.panel aria-labelledby="slots-title" {
            div.head {
                h2 #slots-title { "Slots" }
                p.meta { (grouped(served.into())) " of " (grouped(SLOTS.into())) " served" }
            }
            (band(view, &pieces))
            (legend(view, &pieces))
        }
    }
}

fn band(view: &View<'_>, pieces: &[Piece]) -> Markup {
    let (quiet, loud): (Vec<&Piece>, Vec<&Piece>) =
        pieces.iter().partition(|(_, held)| matches!(held, Held::Served(_)));
    html! {
        svg.band role="img" aria-label="Map of the slots by shard; the list below says the same" {
            defs {
                pattern #hatch-nobody width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect.hatch-ground width="8" height="8" {}
                    rect.hatch-line width="4" height="8" {}
                }
                pattern #hatch-stopped width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)" {
                    rect.hatch-ground width="6" height="6" {}
                    rect.hatch-line width="1.5" height="6" {}
                }
            }
            @for (slots, held) in quiet { (segment(view, slots, *held)) }
            @for (slots, held) in loud { (segment(view, slots, *held)) }
            @for quarter in 0..=4_u32 {
                (tick(quarter))
            }
        }
    }
}

fn segment(view: &View<'_>, slots: &RangeInclusive<usize>, held: Held) -> Markup {
    let (from, width) = place(slots);
    match held {
        Held::Served(at) => {
            let shard = &view.shards.all[at];
            html! {
                rect.seg.{ "c" (shard.colour) } x=(pct(from)) y="0" width=(pct(width)) height="36" {
                    title { (shard.primary.name) ": " (range(*slots.start(), *slots.end())) }
                }
                (label(from, width, &shard.primary.name, &format!("on{}", shard.colour)))
            }
        }
        Held::Stopped(at) => {
            unserved(slots, "stopped", &format!("{} is down", view.shards.all[at].primary.name))
        }
        Held::Nobody => unserved(slots, "nobody", "owned by nobody"),
    }
}

fn unserved(slots: &RangeInclusive<usize>, kind: &str, says: &str) -> Markup {
    let (from, width) = place(slots);
    let width = width.max(VISIBLE);
    let from = from.min(100.0 - width);
    html! {
        rect.seg.{ "seg-" (kind) } x=(pct(from)) y="0" width=(pct(width)) height="36"
            fill={ "url(#hatch-" (kind) ")" } {
            title { (says) ": " (range(*slots.start(), *slots.end())) }
        }
        rect.seg-flag x=(pct(from)) y="37" width=(pct(width)) height="5" {}
        (label(from, width, says, "onloud"))
    }
}

/// A label in the middle of a segment, where there is room for it.
fn label(from: f64, width: f64, text: &str, class: &str) -> Markup {
    let needed = text.chars().count() as f64 * LETTER + MARGIN;
    let fits = |band: f64| needed <= band * width / 100.0;
    let room = if fits(PHONE) { "any" } else { "desk" };
    html! {
        @if fits(DESK) {
            text.(class).(room) x=(pct(from + width / 2.0)) y="18" text-anchor="middle" dominant-baseline="central" {
                (text)
            }
        }
    }
}

fn tick(quarter: u32) -> Markup {
    let anchor = match quarter {
        0 => "start",
        1..4 => "middle",
        _ => "end",
    };
    let slot = (quarter * SLOTS / 4).min(SLOTS - 1);
    html! {
        text.tick x=(pct(f64::from(quarter) * 25.0)) y="56" text-anchor=(anchor) { (grouped(slot.into())) }
    }
}

fn legend(view: &View<'_>, pieces: &[Piece]) -> Markup {
    let uncovered = view.shards.uncovered();
    let stopped = |shard: &Shard<'_>| {
        pieces
            .iter()
            .any(|(_, held)| matches!(held, Held::Stopped(at) if std::ptr::eq(&view.shards.all[*at], shard)))
    };
    html! {
        ul.legend {
            @if !uncovered.is_empty() {
                li.loud {
                    span.swatch.nobody {}
                    span.who { (Mood::Bad.shape()) "Owned by nobody" }
                    (ranges(&uncovered))
                }
            }
            @for shard in &view.shards.all {
                @let down = stopped(shard);
                li.loud[down] {
                    span.swatch.stopped[down].{ "c" (shard.colour) } {}
                    span.who {
                        @if down { (Mood::Bad.shape()) }
                        bdi { (shard.primary.name) }
                        @if down { ", " (word(shard.primary.health).to_lowercase()) }
                    }
                    (ranges(&shard.primary.slots))
                }
            }
        }
    }
}

/// Which slots, and how many.
fn ranges(ranges: &[(u16, u16)]) -> Markup {
    let owned = size(ranges);
    let listed: Vec<_> = real(ranges).collect();
    html! {
        span.ranges {
            @for (at, (first, last)) in listed.iter().take(LISTED).enumerate() {
                @if at > 0 { ", " }
                span.range { (range((*first).into(), (*last).into())) }
            }
            @if listed.len() > LISTED { " and " (grouped((listed.len() - LISTED) as u64)) " more ranges" }
        }
        span.share { (grouped(owned)) " slots, " (format!("{:.1}", percent(owned, SLOTS.into()))) "\u{a0}%" }
    }
}

/// A range in words: `0–5461`, or `7` alone.
pub(super) fn range(first: usize, last: usize) -> String {
    if first == last { first.to_string() } else { format!("{first}–{last}") }
}

fn place(slots: &RangeInclusive<usize>) -> (f64, f64) {
    let whole = f64::from(SLOTS);
    (*slots.start() as f64 / whole * 100.0, (slots.end() - slots.start() + 1) as f64 / whole * 100.0)
}

fn pct(number: f64) -> String {
    format!("{number:.3}%")
}
