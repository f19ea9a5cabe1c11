//! Sizes and durations as people write them: `512mb`, `400ms`.
//!
//! Owns the two small number types of the configuration and their spelling. Never knows which key they belong to.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A number of bytes, written `0`, `100`, `64kb`, `512mb` or `1gb` (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A duration of whole milliseconds, written `400ms`, `5s`, `2m` or `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

const SIZES: [(&str, u64); 4] = [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10), ("b", 1)];
const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl Millis {
    /// The same as the standard library's type.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Bytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "a size such as \"512mb\" or \"1gb\"";
        let text = text.trim().to_ascii_lowercase();
        if let Ok(plain) = text.parse() {
            return Ok(Bytes(plain));
        }
        split(&text, &SIZES).map(Bytes).ok_or(expected)
    }
}

impl FromStr for Millis {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "a duration such as \"400ms\" or \"5s\"";
        let text = text.trim().to_ascii_lowercase();
        if text == "0" {
            return Ok(Millis(0));
        }
        split(&text, &TIMES).map(Millis).ok_or(expected)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZES.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(out, "{}{name}", self.0 / unit),
            None => write!(out, "{}", self.0),
        }
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TIMES.iter().rev().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(out, "{}{name}", self.0 / unit),
            None => write!(out, "{}ms", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// A whole number and one of the units behind it.
fn split(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Millis};

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, printed) in [
            ("0", 0, "0"),
            ("100", 100, "100b"),
            ("1gb", 1 << 30, "1gb"),
            ("512 MB", 512 << 20, "512mb"),
            ("1536mb", 1536 << 20, "1536mb"),
            ("64kb", 64 << 10, "64kb"),
        ] {
            let size: Bytes = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, printed), "{text}");
            assert_eq!(size.to_string().parse::<Bytes>().unwrap(), size);
        }
        for wrong in ["", "gb", "1.5gb", "-1", "1tb", "1 g b", "99999999999gb"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_read_and_print() {
        for (text, millis, printed) in [
            ("0", 0, "0ms"),
            ("400ms", 400, "400ms"),
            ("5s", 5_000, "5s"),
            ("120s", 120_000, "2m"),
            ("1h", 3_600_000, "1h"),
        ] {
            let time: Millis = text.parse().unwrap();
            assert_eq!((time.0, time.to_string().as_str()), (millis, printed), "{text}");
            assert_eq!(time.to_string().parse::<Millis>().unwrap(), time);
        }
        for wrong in ["", "5", "s", "1.5s", "-1s", "5 years", "99999999999999999h"] {
            assert!(wrong.parse::<Millis>().is_err(), "{wrong}");
        }
    }
}
