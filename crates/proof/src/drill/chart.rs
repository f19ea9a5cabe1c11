//! The course of one run as inline SVG: requests a second of each shard, failures, and numbered events on one axis.
//!
//! Pure: a timeline in, text out. Colours come from the page's style sheet by class, so that a chart follows the
//! reader's light or dark mode.
//!
//! ```text
//!        ①  ②③        ④            events, numbered as in the list below, TOP
//!  20 k ┌─────┬─────────┬──────────┐
//!  10 k ├─────┤░░░░░░░░░├──────────┤  shaded: from the fault until all is as before
//!       │     └──╲__╱   │          │  BOTTOM
//!       │     ▂█▂                  │  failures, FLOOR
//!       └──┬─────┬─────┬─────┬─────┘
//!         -2 s   0    2 s   4 s
//! ```

use std::fmt::Write;

use super::timeline::{Lane, Timeline};
use crate::units;
use evenkeel_control::status::Level;

const WIDTH: f64 = 1160.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 1148.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 250.0;
const FLOOR: f64 = 292.0;
/// Least distance of two numbers in one row above the chart.
const APART: f64 = 19.0;
/// Rows of numbers above the chart.
const ROWS: usize = 3;

/// A chart of one run.
pub(crate) struct Chart<'a> {
    timeline: &'a Timeline,
    /// Most requests a second that one shard answered in a sample.
    most: f64,
    /// Most failures in a sample.
    most_failed: f64,
}

impl Chart<'_> {
    pub(crate) fn new(timeline: &Timeline) -> Chart<'_> {
        let most = |pick: fn(&Lane) -> &Vec<u32>| {
            timeline.shards.iter().flat_map(pick).copied().max().map_or(1.0, |most| f64::from(most.max(1)))
        };
        let most_failed = most(|lane| &lane.failed);
        Chart {
            timeline,
            most: round(most(|lane| &lane.acknowledged) * Chart::per_second(timeline)),
            most_failed,
        }
    }

    fn per_second(timeline: &Timeline) -> f64 {
        1e3 / timeline.sample_ms.max(1) as f64
    }

    /// The chart as an SVG element.
    pub(crate) fn svg(&self, title: &str) -> String {
        let mut out = String::with_capacity(32 * 1024);
        // Writing to a String cannot fail.
        let _ = write!(out, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">"#);
        self.phase(&mut out);
        self.grid(&mut out);
        for (at, lane) in self.timeline.shards.iter().enumerate() {
            self.line(&mut out, at, lane);
        }
        self.failures(&mut out);
        self.events(&mut out);
        out.push_str("</svg>");
        out
    }

    fn x(&self, at_ms: f64) -> f64 {
        let (begin, end) = (self.timeline.begin_ms as f64, self.timeline.end_ms() as f64);
        LEFT + ((at_ms - begin) / (end - begin).max(1.0)).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn y(&self, per_second: f64) -> f64 {
        BOTTOM - (per_second / self.most).clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    /// What lies between the fault and the healing.
    fn phase(&self, out: &mut String) {
        let until = self.timeline.healed_ms.unwrap_or(self.timeline.end_ms());
        let (from, over, until) = (self.x(0.0), self.x(self.timeline.over_ms as f64), self.x(until as f64));
        let height = FLOOR - TOP;
        let mut shade = |class: &str, from: f64, until: f64| {
            let width = (until - from).max(1.0);
            let _ = write!(
                out,
                r#"<rect class="{class}" x="{from:.1}" y="{TOP}" width="{width:.1}" height="{height}"/>"#
            );
        };
        shade("healing", over, until);
        shade("fault", from, over);
    }

    fn grid(&self, out: &mut String) {
        for part in 0..=4 {
            let rate = self.most * f64::from(part) / 4.0;
            let (y, x) = (self.y(rate), LEFT - 8.0);
            let label = format!("{}/s", units::scaled(rate).trim_end());
            let _ = write!(out, r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}"/>"#);
            let text_y = y + 4.0;
            let _ =
                write!(out, r#"<text class="tick" x="{x}" y="{text_y:.1}" text-anchor="end">{label}</text>"#);
        }
        let (x, y) = (LEFT - 8.0, FLOOR - 4.0);
        let _ = write!(out, r#"<text class="tick bad-text" x="{x}" y="{y}" text-anchor="end">failed</text>"#);
        let _ = write!(out, r#"<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{FLOOR}" y2="{FLOOR}"/>"#);
        let (begin, end) = (self.timeline.begin_ms, self.timeline.end_ms());
        let step = step((end - begin) / 12);
        let mut at = begin.div_euclid(step) * step;
        while at <= end {
            if at >= begin {
                let (x, below, text) = (self.x(at as f64), FLOOR + 5.0, FLOOR + 20.0);
                let label = format!("{} s", at as f64 / 1e3);
                let _ =
                    write!(out, r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{FLOOR}" y2="{below}"/>"#);
                let _ = write!(
                    out,
                    r#"<text class="tick" x="{x:.1}" y="{text}" text-anchor="middle">{label}</text>"#
                );
            }
            at += step;
        }
    }

    fn line(&self, out: &mut String, at: usize, lane: &Lane) {
        let per_second = Chart::per_second(self.timeline);
        let middle = self.timeline.sample_ms as f64 / 2.0;
        let points = lane.acknowledged.iter().enumerate().map(|(sample, count)| {
            let time =
                self.timeline.begin_ms as f64 + sample as f64 * self.timeline.sample_ms as f64 + middle;
            format!("{:.1},{:.1}", self.x(time), self.y(f64::from(*count) * per_second))
        });
        let points: Vec<String> = points.collect();
        let (class, points) = (class(at, lane), points.join(" "));
        let _ = write!(out, r#"<g class="{class}"><title>slots {}</title>"#, lane.slots);
        let _ = write!(out, r#"<polyline points="{points}"/></g>"#);
    }

    fn failures(&self, out: &mut String) {
        let samples = self.timeline.shards.iter().map(|lane| lane.failed.len()).max().unwrap_or(0);
        for sample in 0..samples {
            let failed = |lane: &Lane| lane.failed.get(sample).copied().unwrap_or(0);
            let count: u32 = self.timeline.shards.iter().map(failed).sum();
            if count == 0 {
                continue;
            }
            let from = self.timeline.begin_ms as f64 + sample as f64 * self.timeline.sample_ms as f64;
            let x = self.x(from);
            let width = (self.x(from + self.timeline.sample_ms as f64) - x).max(1.5);
            // a single failure has to be seen beside thousands
            let height = (f64::from(count).ln_1p() / self.most_failed.ln_1p().max(0.7)).clamp(0.2, 1.0);
            let height = height * (FLOOR - BOTTOM - 8.0);
            let y = FLOOR - height;
            let _ = write!(
                out,
                r#"<g class="failed"><title>{count} failed</title><rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/></g>"#
            );
        }
    }

    fn events(&self, out: &mut String) {
        let mut ends = [f64::NEG_INFINITY; ROWS];
        for (at, event) in self.timeline.events.iter().enumerate() {
            let x = self.x(event.at_ms as f64);
            let class = level(event.level);
            let row = ends.iter().position(|end| x >= end + APART);
            let above = TOP - 6.0 - 18.0 * row.unwrap_or(0) as f64;
            let _ = write!(out, r#"<g class="event {class}"><title>{}</title>"#, at + 1);
            let _ = write!(out, r#"<line x1="{x:.1}" x2="{x:.1}" y1="{above:.1}" y2="{FLOOR}"/>"#);
            // where there is no room the line alone has to do
            if let Some(row) = row {
                ends[row] = x;
                let _ = write!(out, r#"<circle cx="{x:.1}" cy="{:.1}" r="8"/>"#, above - 3.0);
                let _ =
                    write!(out, r#"<text x="{x:.1}" y="{above:.1}" text-anchor="middle">{}</text>"#, at + 1);
            }
            out.push_str("</g>");
        }
    }
}

/// How a shard's line looks: struck or not, and a pattern of its own for those who cannot tell colours.
pub(crate) fn class(at: usize, lane: &Lane) -> String {
    let kind = if lane.struck { "struck" } else { "other" };
    format!("course {kind} dash{}", at % 3)
}

/// The class of an event.
pub(crate) fn level(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

/// The next round number.
fn round(number: f64) -> f64 {
    let decade = 10f64.powf(number.max(1.0).log10().floor());
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .iter()
        .map(|step| step * decade)
        .find(|step| *step >= number)
        .unwrap_or(number)
}

/// The same for milliseconds between two ticks.
fn step(least: i64) -> i64 {
    let steps = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000];
    steps.into_iter().find(|step| *step >= least).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::super::timeline::Mark;
    use super::*;

    fn timeline(samples: usize, events: usize) -> Timeline {
        let mark = |at: usize| Mark {
            at_ms: at as i64,
            level: Level::Error,
            subject: "node".to_owned(),
            what: "dies".to_owned(),
            because: String::new(),
        };
        Timeline {
            begin_ms: -1_000,
            sample_ms: 50,
            over_ms: 0,
            healed_ms: None,
            shards: vec![Lane {
                slots: "0-99".to_owned(),
                struck: true,
                acknowledged: vec![7; samples],
                failed: vec![u32::from(samples > 3); samples],
            }],
            events: (0..events).map(mark).collect(),
        }
    }

    #[test]
    fn everything_has_its_place_inside_the_frame() {
        let timeline = timeline(40, 10);
        let chart = Chart::new(&timeline);
        assert_eq!((chart.most, chart.x(-1_000.0), chart.x(1_000.0)), (200.0, LEFT, RIGHT));
        let svg = chart.svg("a test");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"), "{svg}");
        assert_eq!(svg.matches("1 failed").count(), 40);
        assert_eq!(svg.matches("<circle").count(), ROWS, "numbers that would overlap are left out");
        assert_eq!(svg.matches("class=\"event error\"").count(), 10);
    }

    #[test]
    fn a_run_of_nothing_is_only_a_frame() {
        let timeline = timeline(0, 0);
        let svg = Chart::new(&timeline).svg("");
        assert!(svg.contains("axis") && !svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
    }
}
