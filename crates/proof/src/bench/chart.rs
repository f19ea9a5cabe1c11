//! Line charts as inline SVG: value size across, anything positive upwards, both on logarithmic axes.
//!
//! Pure: figures in, text out. Colours come from the page's style sheet by class, so that a chart follows the
//! reader's light or dark mode.
//!
//! ```text
//!   LEFT                            WIDTH
//!    │ 200 k ┌──────────────────────┐ TOP
//!    │ 100 k ├──●───●───●────┐      │
//!    │       │               └──●   │
//!    │       └──┬───┬───┬───┬───┬───┘ HEIGHT
//!    │          16  32  64  128 256
//! ```

use std::fmt::Write;

use crate::units;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 622.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 278.0;

/// One line.
pub(crate) struct Series {
    /// Name in the legend and beside the pointer.
    pub(crate) name: &'static str,
    /// Class in the style sheet.
    pub(crate) class: &'static str,
    /// Sign of a point, so that lines differ without colour.
    pub(crate) mark: Mark,
    /// Value size in bytes and figure; without those that were not measured.
    pub(crate) points: Vec<(u64, f64)>,
}

/// Sign of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Round.
    Circle,
    /// Square.
    Square,
    /// Square on its corner.
    Diamond,
}

/// A chart.
pub(crate) struct Chart<'a> {
    /// What it shows, for those who cannot see it.
    pub(crate) title: &'a str,
    /// How a figure is written.
    pub(crate) format: fn(f64) -> String,
    /// Lines.
    pub(crate) series: &'a [Series],
    /// All value sizes in bytes, ascending.
    pub(crate) sizes: &'a [u64],
    /// Smallest and largest figure to make room for.
    pub(crate) range: (f64, f64),
}

/// Smallest and largest positive figure of some lines; a decade where there is none.
pub(crate) fn range<'a>(series: impl IntoIterator<Item = &'a Series>) -> (f64, f64) {
    let figures = series.into_iter().flat_map(|line| &line.points).map(|point| point.1);
    let (low, high) = figures
        .filter(|figure| *figure > 0.0 && figure.is_finite())
        .fold((f64::INFINITY, 0.0f64), |(low, high), figure| (low.min(figure), high.max(figure)));
    if high > 0.0 { (low, high) } else { (1.0, 10.0) }
}

impl Chart<'_> {
    /// The chart as an SVG element.
    pub(crate) fn svg(&self) -> String {
        let axis = Axis::around(self.range);
        let mut out = String::with_capacity(8 * 1024);
        // Writing to a String cannot fail.
        let _ = write!(out, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#, self.title);
        self.grid(&mut out, &axis);
        for series in self.series {
            self.line(&mut out, &axis, series);
        }
        out.push_str("</svg>");
        out
    }

    fn grid(&self, out: &mut String, axis: &Axis) {
        for tick in axis.ticks() {
            let y = axis.y(tick);
            let _ = write!(out, r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}"/>"#);
            let (x, label) = (LEFT - 9.0, (self.format)(tick));
            let _ = write!(
                out,
                r#"<text class="tick" x="{x}" y="{:.1}" text-anchor="end">{label}</text>"#,
                y + 4.0
            );
        }
        let _ = write!(out, r#"<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>"#);
        let every = self.sizes.len().div_ceil(16).max(1);
        for (at, &size) in self.sizes.iter().enumerate() {
            let x = self.x(size);
            let long = if at % every == 0 { 6.0 } else { 3.0 };
            let _ = write!(
                out,
                r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{BOTTOM}" y2="{:.1}"/>"#,
                BOTTOM + long
            );
            if at % every == 0 {
                let _ = write!(
                    out,
                    r#"<text class="tick size" x="{x:.1}" y="{}" text-anchor="middle">{}</text>"#,
                    BOTTOM + 21.0,
                    units::brief(size)
                );
            }
        }
        let (x, y) = ((LEFT + RIGHT) / 2.0, HEIGHT - 6.0);
        let _ = write!(
            out,
            r#"<text class="name" x="{x}" y="{y}" text-anchor="middle">value size in bytes</text>"#
        );
    }

    fn line(&self, out: &mut String, axis: &Axis, series: &Series) {
        let _ = write!(out, r#"<g class="series {}">"#, series.class);
        let places: Vec<_> = series
            .points
            .iter()
            .filter(|point| point.1 > 0.0)
            .map(|&(size, figure)| (self.x(size), axis.y(figure), size, figure))
            .collect();
        let path: Vec<_> = places.iter().map(|(x, y, ..)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(out, r#"<polyline points="{}"/>"#, path.join(" "));
        for (x, y, size, figure) in places {
            let _ = write!(
                out,
                "<g><title>{}, {} ({}): {}</title>{}</g>",
                series.name,
                units::bytes(size),
                units::bits(size * 8),
                (self.format)(figure),
                series.mark.svg(x, y)
            );
        }
        out.push_str("</g>");
    }

    fn x(&self, size: u64) -> f64 {
        let log = |size: u64| (size.max(1) as f64).log2();
        let (first, last) =
            (self.sizes.first().copied().unwrap_or(1), self.sizes.last().copied().unwrap_or(1));
        if first == last {
            return (LEFT + RIGHT) / 2.0;
        }
        // Room of half a step at both ends keeps the first and last mark off the frame.
        let (low, high) = (log(first) - 0.5, log(last) + 0.5);
        LEFT + (log(size) - low) / (high - low) * (RIGHT - LEFT)
    }
}

impl Mark {
    /// The sign, with a larger invisible disc around it so that the pointer finds it.
    pub(crate) fn svg(self, x: f64, y: f64) -> String {
        let target = format!(r#"<circle class="target" cx="{x:.1}" cy="{y:.1}" r="10"/>"#);
        let sign = match self {
            Mark::Circle => format!(r#"<circle class="mark" cx="{x:.1}" cy="{y:.1}" r="3.4"/>"#),
            Mark::Square => format!(
                r#"<rect class="mark" x="{:.1}" y="{:.1}" width="6.4" height="6.4"/>"#,
                x - 3.2,
                y - 3.2
            ),
            Mark::Diamond => {
                format!(r#"<path class="mark" d="M{:.1} {:.1}l4.4 4.4l-4.4 4.4l-4.4-4.4z"/>"#, x, y - 4.4)
            }
        };
        target + &sign
    }
}

/// The axis upwards.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// From the nearest 1, 2 or 5 times a power of ten below to the nearest above.
    fn around((low, high): (f64, f64)) -> Axis {
        let below = steps(low, low * 10.0).rfind(|step| *step <= low * 1.0001).unwrap_or(low);
        let above = steps(high, high * 10.0).find(|step| *step >= high * 0.9999).unwrap_or(high);
        Axis { low: below, high: if above > below * 1.5 { above } else { below * 10.0 } }
    }

    fn y(&self, figure: f64) -> f64 {
        let share = (figure / self.low).log10() / (self.high / self.low).log10();
        BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    /// Powers of ten, and 2 and 5 times them where the axis is short.
    fn ticks(&self) -> Vec<f64> {
        let (short, low, high) = (self.high / self.low <= 1000.0, self.low * 0.999, self.high * 1.001);
        let inside = steps(self.low, self.high).filter(|step| (low..high).contains(step));
        inside.filter(|step| short || (step.log10() - step.log10().round()).abs() < 1e-6).collect()
    }
}

/// 1, 2 and 5 times the powers of ten from below `low` to above `high`.
fn steps(low: f64, high: f64) -> impl DoubleEndedIterator<Item = f64> {
    let decades = low.log10().floor() as i32 - 1..=high.log10().ceil() as i32 + 1;
    decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(decade)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(low: f64, high: f64) -> (String, String) {
        let axis = Axis::around((low, high));
        (format!("{:.6}", axis.low), format!("{:.6}", axis.high))
    }

    fn pair(low: &str, high: &str) -> (String, String) {
        (low.to_owned(), high.to_owned())
    }

    #[test]
    fn axes_end_at_round_figures() {
        assert_eq!(ends(3.0, 4700.0), pair("2.000000", "5000.000000"));
        assert_eq!(ends(1.0, 1000.0), pair("1.000000", "1000.000000"));
        assert_eq!(ends(0.00012, 0.0034), pair("0.000100", "0.005000"));
        assert_eq!(ends(7.0, 7.0), pair("5.000000", "10.000000"));
        assert_eq!(ends(10.0, 10.0), pair("10.000000", "100.000000"), "never empty");
    }

    #[test]
    fn short_axes_have_more_ticks() {
        assert_eq!(Axis::around((1.0, 90.0)).ticks().len(), 7);
        assert_eq!(Axis::around((1.0, 1e5)).ticks().len(), 6);
    }

    #[test]
    fn every_point_is_drawn_inside_the_frame() {
        let points = vec![(16, 1000.0), (64, 0.0), (256, 250_000.0)];
        let series = [Series { name: "SET", class: "set", mark: Mark::Circle, points }];
        let chart = Chart {
            title: "a test",
            format: units::scaled,
            series: &series,
            sizes: &[16, 32, 64, 128, 256],
            range: range(&series),
        };
        let svg = chart.svg();
        assert_eq!(svg.matches("<title>").count(), 2, "a figure of 0 has no place on a log axis");
        assert!(svg.contains("<title>SET, 16 B (128 bit): 1 k</title>"), "{svg}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_chart_of_nothing_is_only_a_frame() {
        let chart = Chart { title: "", format: units::scaled, series: &[], sizes: &[], range: range(&[]) };
        assert!(chart.svg().contains("axis"));
    }
}
