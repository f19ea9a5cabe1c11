//! Decimal numbers as the protocol writes them.

/// Parses a decimal integer with an optional minus sign; the whole text must be digits, as the server's
/// `string2ll` wants it (no plus sign, no spaces, no leading zeros).
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => {
            let magnitude = parse_u64(digits)?;
            match magnitude {
                0 => None,
                1..=0x7fff_ffff_ffff_ffff => Some(-(magnitude as i64)),
                0x8000_0000_0000_0000 => Some(i64::MIN),
                _ => None,
            }
        }
        digits => i64::try_from(parse_u64(digits)?).ok(),
    }
}

/// Parses an unsigned decimal integer; the whole text must be digits without leading zeros.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || (text[0] == b'0' && text.len() > 1) {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The length line that starts at `at` with `kind` (`$12` CRLF): its number, of at most six digits, and the offset
/// behind it. `None` for all that is not quite that, for the caller to look at with more care.
#[inline]
pub(crate) fn length_line(bytes: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let line = bytes.get(at..)?;
    let [first, digit @ b'0'..=b'9', ..] = line else { return None };
    if *first != kind {
        return None;
    }
    let (mut number, mut end) = (usize::from(digit - b'0'), 2);
    while let Some(digit @ b'0'..=b'9') = line.get(end) {
        if end > 6 || number == 0 {
            return None;
        }
        number = number * 10 + usize::from(digit - b'0');
        end += 1;
    }
    (line.get(end..end + 2)? == b"\r\n").then_some((number, at + end + 2))
}

#[cfg(test)]
mod tests {
    use super::{length_line, parse_i64, parse_u64};

    #[test]
    fn takes_what_the_server_takes() {
        assert_eq!(parse_i64(b"0"), Some(0));
        assert_eq!(parse_i64(b"-1"), Some(-1));
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
    }

    #[test]
    fn length_lines_are_exact() {
        assert_eq!(length_line(b"xx$12\r\nab", 2, b'$'), Some((12, 7)));
        assert_eq!(length_line(b"$0\r\n", 0, b'$'), Some((0, 4)));
        assert_eq!(length_line(b"$123456\r\n", 0, b'$'), Some((123_456, 9)));
        for bad in ["", "$", "$1", "$1\r", "$01\r\n", "$-1\r\n", "$1234567\r\n", "*1\r\n", "$1x\r\n", "$\r\n"]
        {
            assert_eq!(length_line(bad.as_bytes(), 0, b'$'), None, "{bad:?}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for bad in
            ["", "-", "+1", "01", "-0", " 1", "1 ", "1a", "9223372036854775808", "99999999999999999999"]
        {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse_u64(b"18446744073709551616"), None);
    }
}
