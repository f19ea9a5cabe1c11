//! Numbers, sizes and times in the words of people. Pure.

use maud::{Markup, html};

/// How a moment is written.
#[derive(Clone, Copy)]
pub(super) enum Times {
    /// As an age at this time.
    Relative(u64),
    /// As the time itself, which does not change while time passes; the script turns it into an age.
    Exact,
}

/// A moment with its exact time at hand.
pub(super) fn time(at_ms: u64, times: Times) -> Markup {
    let exact = exact(at_ms);
    let shown = match times {
        Times::Relative(now_ms) => ago(now_ms.saturating_sub(at_ms)),
        Times::Exact => exact.clone(),
    };
    html! { time data-ms=(at_ms) datetime=(exact.replacen(' ', "T", 1).replace(" UTC", "Z")) title=(exact) { (shown) } }
}

/// An age, e.g. `3 min ago`. The script has the same steps.
pub(super) fn ago(age_ms: u64) -> String {
    match age_ms / 1000 {
        0..=1 => "just now".to_owned(),
        seconds @ 2..60 => format!("{seconds}\u{a0}s ago"),
        seconds @ 60..3600 => format!("{}\u{a0}min ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{}\u{a0}h ago", seconds / 3600),
        seconds => format!("{}\u{a0}d ago", seconds / 86_400),
    }
}

/// A duration in its two largest units, e.g. `3 h 12 min`.
pub(super) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}\u{a0}s"),
        (0, 0, _) => format!("{minutes}\u{a0}min"),
        (0, _, _) => format!("{hours}\u{a0}h {minutes}\u{a0}min"),
        (_, _, _) => format!("{days}\u{a0}d {hours}\u{a0}h"),
    }
}

/// `2026-11-23 04:08:53 UTC`.
pub(super) fn exact(at_ms: u64) -> String {
    let seconds = at_ms / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a number of days since 1970-01-01. Years begin in March here, so that the leap
/// day is a year's last and every month's start follows from one line.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (in_year, day) = (if month < 10 { month + 3 } else { month - 9 }, day - (153 * month + 2) / 5 + 1);
    (era * 400 + year + u64::from(in_year <= 2), in_year, day)
}

/// A whole number with its digits in groups: `16 384`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A count: exact while it is short, three digits and a letter from a hundred thousand.
pub(super) fn count(number: u64) -> String {
    if number < 100_000 {
        grouped(number)
    } else {
        scaled(number as f64, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
    }
}

/// A size: `12.3 MB`, in steps of 1024 as the servers' own configuration counts.
pub(super) fn bytes(number: u64) -> String {
    scaled(number as f64, 1024.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Something a second: `45.2 k/s`.
pub(super) fn rate(per_s: f64) -> String {
    match per_s {
        quiet if !quiet.is_finite() || quiet < 0.05 => "0/s".to_owned(),
        slow if slow < 10.0 => format!("{slow:.1}/s"),
        usual if usual < 9_999.5 => format!("{}/s", grouped(usual.round() as u64)),
        fast => format!("{}/s", scaled(fast, 1000.0, &["", "k", "M", "G", "T"])),
    }
}

/// A short duration: `850 µs`, `1.20 ms`, `3.4 s`.
pub(super) fn micros(duration: u64) -> String {
    match duration {
        0..1000 => format!("{duration}\u{a0}µs"),
        1000..1_000_000 => format!("{}\u{a0}ms", three_digits(duration as f64 / 1e3)),
        1_000_000.. => format!("{}\u{a0}s", three_digits(duration as f64 / 1e6)),
    }
}

/// A part of a whole in percent; nothing of nothing is 0.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 100.0).min(100.0) }
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    // 999.5 would be written as 1000 of the smaller unit.
    while number >= step.min(999.5) {
        let Some(next) = units.next() else { break };
        (number, unit) = (number / step, next);
    }
    let digits = if unit.is_empty() || unit == "B" { format!("{number:.0}") } else { three_digits(number) };
    if unit.is_empty() { digits } else { format!("{digits}\u{a0}{unit}") }
}

fn three_digits(number: f64) -> String {
    match number {
        small if small < 9.995 => format!("{small:.2}"),
        middle if middle < 99.95 => format!("{middle:.1}"),
        large if large < 1e6 => format!("{large:.0}"),
        absurd => format!("{absurd:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{ago, bytes, count, exact, grouped, micros, percent, rate, span};

    fn plain(text: String) -> String {
        text.replace(['\u{a0}', '\u{202f}'], " ")
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(plain(grouped(0)), "0");
        assert_eq!(plain(grouped(999)), "999");
        assert_eq!(plain(grouped(16_384)), "16 384");
        assert_eq!(plain(grouped(1_234_567)), "1 234 567");
        assert_eq!(plain(count(99_999)), "99 999");
        assert_eq!(plain(count(100_000)), "100 k");
        assert_eq!(plain(count(12_345_678)), "12.3 M");
        assert_eq!(plain(count(999_999)), "1.00 M");
        assert_eq!(plain(count(u64::MAX)), "18.4 E");
    }

    #[test]
    fn sizes_rates_and_durations_read_well() {
        assert_eq!(plain(bytes(0)), "0 B");
        assert_eq!(plain(bytes(1023)), "1.00 kB");
        assert_eq!(plain(bytes(12_900_000)), "12.3 MB");
        assert_eq!(plain(bytes(1 << 30)), "1.00 GB");
        assert_eq!(plain(rate(0.0)), "0/s");
        assert_eq!(plain(rate(f64::NAN)), "0/s");
        assert_eq!(plain(rate(3.44)), "3.4/s");
        assert_eq!(plain(rate(1234.4)), "1 234/s");
        assert_eq!(plain(rate(45_231.0)), "45.2 k/s");
        assert_eq!(plain(rate(f64::INFINITY)), "0/s");
        assert_eq!(plain(micros(850)), "850 µs");
        assert_eq!(plain(micros(1200)), "1.20 ms");
        assert_eq!(plain(micros(12_345_678)), "12.3 s");
        assert_eq!(percent(0, 0), 0.0);
        assert_eq!(percent(3, 2), 100.0);
    }

    #[test]
    fn times_read_well() {
        assert_eq!(plain(ago(900)), "just now");
        assert_eq!(plain(ago(59_999)), "59 s ago");
        assert_eq!(plain(ago(3_599_000)), "59 min ago");
        assert_eq!(plain(ago(86_400_000)), "1 d ago");
        assert_eq!(plain(span(59)), "59 s");
        assert_eq!(plain(span(11_520)), "3 h 12 min");
        assert_eq!(plain(span(200_000)), "2 d 7 h");
        assert_eq!(exact(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(exact(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(exact(1_709_251_199_999), "2024-02-29 23:59:59 UTC");
        assert_eq!(exact(1_704_067_199_000), "2023-12-31 23:59:59 UTC");
        assert_eq!(exact(4_107_542_400_000), "2100-03-01 00:00:00 UTC");
        assert!(exact(u64::MAX).ends_with("UTC"));
    }
}
