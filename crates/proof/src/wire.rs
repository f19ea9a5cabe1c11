//! The Redis protocol (RESP2) as a load generator needs it: commands out, replies in, borrowed.
//!
//! Owns the byte format only; it never touches a socket. Hot: no allocation, a reply's header is the only
//! thing that is looked at until its last byte is there.

/// One reply, borrowed from the bytes that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// `+OK`
    Status(&'a [u8]),
    /// `-ERR …` without the dash
    Error(&'a [u8]),
    /// `:1`
    Integer(i64),
    /// `$3 abc`
    Bulk(&'a [u8]),
    /// A missing value.
    Nil,
    /// The header of an array; its items follow as replies of their own.
    Array(usize),
}

/// Bytes that are not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reply is not the redis protocol (it starts with byte {0:#04x}), expected one of + - : $ *")]
pub(crate) struct Garbage(pub(crate) u8);

/// No header line of a reply that this crate asks for is longer (error texts are the longest).
const LONGEST_LINE: usize = 64 * 1024;

/// Appends a command in the form that servers expect from clients.
pub(crate) fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    header(out, b'*', parts.len());
    for part in parts {
        bulk_start(out, part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends `*<parts>`, for a command whose parts are appended one by one.
pub(crate) fn command_start(out: &mut Vec<u8>, parts: usize) {
    header(out, b'*', parts);
}

/// Appends the header of a part of `len` bytes; the bytes and a line end have to follow.
pub(crate) fn bulk_start(out: &mut Vec<u8>, len: usize) {
    header(out, b'$', len);
}

fn header(out: &mut Vec<u8>, kind: u8, number: usize) {
    out.push(kind);
    decimal(out, number as u64);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal without allocating.
pub(crate) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Reads the first reply of `bytes` and its length, or `None` while it is not complete.
pub(crate) fn reply(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Garbage> {
    let Some(&kind) = bytes.first() else { return Ok(None) };
    if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
        return Err(Garbage(kind));
    }
    let Some(end) = line_end(bytes) else {
        return if bytes.len() > LONGEST_LINE { Err(Garbage(kind)) } else { Ok(None) };
    };
    let (line, next) = (&bytes[1..end], end + 2);
    let whole = match kind {
        b'+' => Some((Reply::Status(line), next)),
        b'-' => Some((Reply::Error(line), next)),
        b':' => Some((Reply::Integer(integer(line).ok_or(Garbage(kind))?), next)),
        b'*' => Some((sized(line, kind)?.map_or(Reply::Nil, Reply::Array), next)),
        _ => match sized(line, kind)? {
            None => Some((Reply::Nil, next)),
            Some(len) => bulk(bytes, next, len)?,
        },
    };
    Ok(whole)
}

fn bulk(bytes: &[u8], from: usize, len: usize) -> Result<Option<(Reply<'_>, usize)>, Garbage> {
    let end = from + len;
    if bytes.len() < end + 2 {
        return Ok(None);
    }
    if &bytes[end..end + 2] != b"\r\n" {
        return Err(Garbage(bytes[end]));
    }
    Ok(Some((Reply::Bulk(&bytes[from..end]), end + 2)))
}

/// A length of a bulk string or array; `None` for -1. Lengths above a server's own limit are garbage.
fn sized(line: &[u8], kind: u8) -> Result<Option<usize>, Garbage> {
    match integer(line) {
        Some(-1) => Ok(None),
        Some(len @ 0..=0x2000_0000) => Ok(Some(len as usize)),
        Some(_) | None => Err(Garbage(kind)),
    }
}

fn integer(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    let looked_at = &bytes[..bytes.len().min(LONGEST_LINE + 2)];
    let end = looked_at.iter().position(|&byte| byte == b'\r')?;
    (looked_at.get(end + 1) == Some(&b'\n')).then_some(end)
}

/// The first word of an error reply (`MOVED`, `OOM`, `ERR` …), which is its kind by the protocol.
pub(crate) fn error_code(text: &[u8]) -> &str {
    let end = text.iter().position(|byte| !byte.is_ascii_uppercase()).unwrap_or(text.len());
    match std::str::from_utf8(&text[..end.min(32)]) {
        Ok(code) if !code.is_empty() => code,
        Ok(_) | Err(_) => "ERR",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"k", b""]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }

    #[test]
    fn decimals_are_what_format_writes() {
        for number in [0, 1, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn every_kind_is_read_whole_and_waits_while_cut() {
        let cases: &[(&[u8], Reply<'_>)] = &[
            (b"+OK\r\n", Reply::Status(b"OK")),
            (b"-MOVED 1 a:1\r\n", Reply::Error(b"MOVED 1 a:1")),
            (b":-12\r\n", Reply::Integer(-12)),
            (b"$4\r\na\r\nb\r\n", Reply::Bulk(b"a\r\nb")),
            (b"$0\r\n\r\n", Reply::Bulk(b"")),
            (b"$-1\r\n", Reply::Nil),
            (b"*-1\r\n", Reply::Nil),
            (b"*2\r\n", Reply::Array(2)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(reply(bytes), Ok(Some((*expected, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(reply(&bytes[..cut]), Ok(None), "{expected:?} cut at {cut}");
            }
            let twice = [*bytes, *bytes].concat();
            assert_eq!(reply(&twice), Ok(Some((*expected, bytes.len()))));
        }
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [&b"HTTP/1.1"[..], b"$x\r\n", b"$-2\r\n", b"$1\r\nabc", b":1x\r\n", b"$99999999999\r\n"]
        {
            assert!(reply(bytes).is_err(), "{bytes:?}");
        }
        assert!(reply(&vec![b'+'; LONGEST_LINE + 10]).is_err());
    }

    #[test]
    fn any_bytes_are_taken_without_panic() {
        let alphabet = b"+-:$*0129\r\na\xff";
        for seed in 0..20_000u64 {
            let pick =
                |at: u64| alphabet[(crate::noise::mix(seed << 8 | at) % alphabet.len() as u64) as usize];
            let bytes: Vec<u8> = (0..seed % 24).map(pick).collect();
            if let Ok(Some((_, len))) = reply(&bytes) {
                assert!(len <= bytes.len());
            }
        }
    }

    #[test]
    fn an_errors_code_is_its_first_word() {
        assert_eq!(error_code(b"MOVED 12 127.0.0.1:7001"), "MOVED");
        assert_eq!(error_code(b"OOM command not allowed"), "OOM");
        assert_eq!(error_code(b"something odd"), "ERR");
        assert_eq!(error_code(b""), "ERR");
    }
}
