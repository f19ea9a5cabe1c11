//! Numbers for people: sizes, rates and durations with their units, and times of day. Pure.

/// `16 B`, `4 KiB`
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} B"),
        0x400..0x10_0000 => format!("{} KiB", short(bytes as f64 / 1024.0)),
        0x10_0000..0x4000_0000 => format!("{} MiB", short(bytes as f64 / 1024.0 / 1024.0)),
        0x4000_0000.. => format!("{} GiB", short(bytes as f64 / 1024.0 / 1024.0 / 1024.0)),
    }
}

/// `16`, `4K`, for axes of bytes
pub(crate) fn brief(count: u64) -> String {
    match count {
        0..0x400 => count.to_string(),
        0x400..0x10_0000 => format!("{}K", short(count as f64 / 1024.0)),
        0x10_0000.. => format!("{}M", short(count as f64 / 1024.0 / 1024.0)),
    }
}

/// `128 bit`, `4 Mibit`
pub(crate) fn bits(bits: u64) -> String {
    match bits {
        0..0x400 => format!("{bits} bit"),
        0x400..0x10_0000 => format!("{} Kibit", short(bits as f64 / 1024.0)),
        0x10_0000.. => format!("{} Mibit", short(bits as f64 / 1024.0 / 1024.0)),
    }
}

/// `1.2 Gbit/s`
pub(crate) fn bits_per_second(rate: f64) -> String {
    format!("{}bit/s", scaled(rate))
}

/// `83.1 k`, for axes
pub(crate) fn scaled(number: f64) -> String {
    match number {
        1e9.. => format!("{} G", short(number / 1e9)),
        1e6.. => format!("{} M", short(number / 1e6)),
        1e3.. => format!("{} k", short(number / 1e3)),
        _ => format!("{} ", short(number)),
    }
}

/// `71.2 µs`
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        1.0.. => format!("{} s", short(seconds)),
        1e-3.. => format!("{} ms", short(seconds * 1e3)),
        _ => format!("{} µs", short(seconds * 1e6)),
    }
}

/// `1,234,567`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three digits that matter: `1.23`, `12.3`, `123`; whole numbers without a point.
fn short(number: f64) -> String {
    let places = match number.abs() {
        99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    let text = format!("{number:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `1 h 2 min`, `3 min 20 s`, `12 s`
pub(crate) fn left(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600.. => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Year, month, day, hour, minute, second in UTC of a Unix time.
fn civil(unix: u64) -> [u64; 6] {
    // Days are counted from 1 March of year 0, so that leap days end a year (proleptic Gregorian calendar).
    let (days, second) = (unix / 86_400 + 719_468, unix % 86_400);
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    [year, month, day, second / 3600, second / 60 % 60, second % 60]
}

/// `2026-11-23T04:08:53Z`
pub(crate) fn timestamp(unix: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(unix);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `20261123-040853`, for names of files
pub(crate) fn compact_time(unix: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(unix);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_and_three_digits() {
        assert_eq!([bytes(16), bytes(1024), bytes(524_288)], ["16 B", "1 KiB", "512 KiB"]);
        assert_eq!([bytes(1 << 28), bytes(3 << 29)], ["256 MiB", "1.5 GiB"]);
        assert_eq!([bits(128), bits(8192), bits(1 << 22)], ["128 bit", "8 Kibit", "4 Mibit"]);
        assert_eq!([brief(16), brief(1024), brief(524_288), brief(3 << 20)], ["16", "1K", "512K", "3M"]);
        assert_eq!(bits_per_second(1.234e9), "1.23 Gbit/s");
        assert_eq!(bits_per_second(12.0), "12 bit/s");
        assert_eq!([seconds(71.24e-6), seconds(0.0015), seconds(2.0)], ["71.2 µs", "1.5 ms", "2 s"]);
        assert_eq!([grouped(0), grouped(999), grouped(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([left(12), left(200), left(3720)], ["12 s", "3 min 20 s", "1 h 2 min"]);
        assert_eq!([short(100.0), short(0.0), short(9.999)], ["100", "0", "10"]);
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_767_225_599), "2025-12-31T23:59:59Z");
        assert_eq!(compact_time(1_709_251_200), "20240301-000000");
    }
}
