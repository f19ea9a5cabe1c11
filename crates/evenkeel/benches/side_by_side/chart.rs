//! The figures of a run as SVG, for the README. Pure: a record in, text out.
//!
//! A line for each load, a dot for each target at its median, a bar through it from the least to the most of the rounds. The
//! background is the reader's; colours follow light and dark where the viewer says which, and are readable on both.
//!
//! ```text
//!   LABEL        PANELS[0]                     PANELS[1]
//!    GET 64 B    ├──●─┼──○──────┤  0.57        ├─────●┼─○──┤  0.97
//!                0    1         2              0      1    2
//! ```

use crate::record::{Record, Sample, Spread, Table};
use crate::stage::{DIRECT, FLOOR, GATEWAY, HAPROXY};
use std::fmt::Write;

const WIDTH: f64 = 1080.0;
const TOP: f64 = 96.0;
const LINE: f64 = 30.0;
const SPAN: f64 = 270.0;
/// Where the ratios end; what is beyond stands at the edge with its figure.
const MOST: f64 = 2.0;

const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #57606a; }
.head { font-weight: 600; fill: #24292f; }
.figure { font-weight: 600; fill: #0969da; font-variant-numeric: tabular-nums; }
.beyond { font-size: 11px; }
.grid { stroke: #8c959f; stroke-opacity: .3; }
.one { stroke: #57606a; stroke-width: 1.5; }
.evenkeel { fill: #0969da; stroke: #0969da; }
.haproxy { fill: #8250df; stroke: #8250df; }
.twemproxy { fill: #bc4c00; stroke: #bc4c00; }
.other { fill: #1a7f37; stroke: #1a7f37; }
.floor { fill: none; stroke: #6e7781; stroke-width: 2; }
.reach { stroke-width: 2; stroke-opacity: .45; }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1; }
  .head { fill: #e6edf3; }
  .figure { fill: #58a6ff; }
  .one { stroke: #9198a1; }
  .evenkeel { fill: #58a6ff; stroke: #58a6ff; }
  .haproxy { fill: #bc8cff; stroke: #bc8cff; }
  .twemproxy { fill: #f0883e; stroke: #f0883e; }
  .other { fill: #3fb950; stroke: #3fb950; }
}
";

/// One of the two columns of the chart.
struct Panel {
    left: f64,
    head: &'static str,
    better: &'static str,
    /// What the ratio is made with; it is the line at 1.
    to: &'static str,
    figure: fn(&Sample) -> f64,
}

const PANELS: [Panel; 2] = [
    Panel {
        left: 330.0,
        head: "processor time of the proxy, HAProxy = 1",
        better: "less is better",
        to: HAPROXY,
        figure: |sample| sample.proxy_us,
    },
    Panel {
        left: 710.0,
        head: "requests per processor second of all, direct = 1",
        better: "more is better",
        to: DIRECT,
        figure: |sample| 1.0 / sample.everything_us(),
    },
];

/// The chart of all loads that run on one core; a wake-up of another one is no matter of processor time.
pub(crate) fn svg(record: &Record) -> String {
    let tables: Vec<&Table> = record.tables.iter().filter(|table| !table.load.contains("own core")).collect();
    let bottom = TOP + LINE * tables.len() as f64;
    let height = bottom + 34.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Processor time of the gateway beside other proxies and direct access\">\n<style>{STYLE}</style>\n"
    );
    legend(&mut out, &tables);
    for panel in &PANELS {
        grid(&mut out, panel, bottom);
    }
    for (at, table) in tables.iter().enumerate() {
        let y = TOP + LINE * (at as f64 + 0.5);
        text(&mut out, "", 314.0, y + 4.0, "end", &table.load);
        for panel in &PANELS {
            dots(&mut out, panel, table, y);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String, tables: &[&Table]) {
    let mut names: Vec<&str> = Vec::new();
    for line in tables.iter().flat_map(|table| &table.lines) {
        if line.target != DIRECT && !names.contains(&line.target.as_str()) {
            names.push(&line.target);
        }
    }
    let mut x = 24.0;
    for name in names {
        mark(out, name, x, 18.0);
        let shown = if name == FLOOR { "a server that only answers (the floor)" } else { name };
        text(out, "", x + 11.0, 22.0, "start", shown);
        x += 44.0 + 7.0 * shown.len() as f64;
    }
}

fn grid(out: &mut String, panel: &Panel, bottom: f64) {
    text(out, "head", panel.left, 56.0, "start", panel.head);
    text(out, "", panel.left, 76.0, "start", panel.better);
    for step in 0..=4 {
        let ratio = f64::from(step) * MOST / 4.0;
        let (x, class) = (place(panel, ratio), if step == 2 { "one" } else { "grid" });
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<line class=\"{class}\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{bottom}\"/>",
            TOP - 8.0
        );
        text(out, "", x, bottom + 18.0, "middle", &ratio.to_string());
    }
}

fn dots(out: &mut String, panel: &Panel, table: &Table, y: f64) {
    let ratio = |target: &str| table.ratio(target, panel.to, panel.figure);
    let shown = table.lines.iter().filter(|line| line.target != panel.to && line.target != DIRECT);
    // The floor does no server's work, so it has a place only where the proxy alone is looked at.
    let shown: Vec<(&str, Spread)> = shown
        .filter(|line| line.target != FLOOR || panel.to == HAPROXY)
        .filter_map(|line| Some((line.target.as_str(), ratio(&line.target)?)))
        .collect();
    if let Some(spread) = ratio(GATEWAY) {
        text(out, "figure", panel.left + SPAN + 46.0, y + 4.0, "end", &format!("{:.2}", spread.median));
    }
    for (at, (name, spread)) in shown.iter().enumerate() {
        let y = y + (at as f64 - (shown.len() - 1) as f64 / 2.0) * 6.0;
        let class = class(name);
        let (from, to) = (place(panel, spread.least), place(panel, spread.most));
        let _ = writeln!(
            out,
            "<line class=\"{class} reach\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
        mark(out, name, place(panel, spread.median), y);
        if spread.median > MOST {
            let figure = format!("{:.1}", spread.median);
            text(out, "beyond", place(panel, MOST) - 8.0, y + 4.0, "end", &figure);
        }
    }
}

fn place(panel: &Panel, ratio: f64) -> f64 {
    panel.left + SPAN * ratio.min(MOST) / MOST
}

/// Shapes differ too, for those who see no colours.
fn mark(out: &mut String, name: &str, x: f64, y: f64) {
    let class = class(name);
    let _ = match name {
        GATEWAY => writeln!(out, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"),
        HAPROXY => writeln!(
            out,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>",
            x - 3.5,
            y - 3.5
        ),
        FLOOR => writeln!(
            out,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            y - 6.0,
            y + 6.0
        ),
        _ => writeln!(
            out,
            "<path class=\"{class}\" d=\"M{x:.1} {:.1}l4.5 4.5l-4.5 4.5l-4.5 -4.5z\"/>",
            y - 4.5
        ),
    };
}

fn class(name: &str) -> &'static str {
    match name {
        GATEWAY => "evenkeel",
        FLOOR => "floor",
        "twemproxy" => "twemproxy",
        _ if name.starts_with(HAPROXY) => "haproxy",
        _ => "other",
    }
}

fn text(out: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}
