//! Texts of several nodes as one: MEMORY DOCTOR and its kin, DEBUG DIGEST.

use super::Part;
use crate::resp::{Writer, text};

/// The one text that all say, or each node's under its address.
pub(super) fn headed(parts: &[Part<'_>], writer: &mut Writer<'_>) -> Option<()> {
    let texts: Vec<&[u8]> = parts.iter().map(|part| text(part.reply)).collect::<Option<_>>()?;
    if texts.iter().all(|said| *said == texts[0]) {
        writer.verbatim(texts[0]);
        return Some(());
    }
    let mut whole = Vec::new();
    for (part, said) in parts.iter().zip(texts) {
        whole.extend_from_slice(format!("# Node {}\r\n", part.addr).as_bytes());
        whole.extend_from_slice(said);
        whole.extend_from_slice(b"\r\n\r\n");
    }
    writer.verbatim(&whole);
    Some(())
}

/// Hexadecimal digests joined by exclusive or, digit by digit.
pub(super) fn digest(parts: &[&[u8]]) -> Option<String> {
    let mut joined = [0u32; 40];
    for part in parts {
        let digits = text(part)?;
        if digits.len() != joined.len() {
            return None;
        }
        for (all, digit) in joined.iter_mut().zip(digits) {
            *all ^= char::from(*digit).to_digit(16)?;
        }
    }
    joined.iter().map(|digit| char::from_digit(*digit, 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Part, digest, headed};
    use crate::resp::{Proto, Writer};

    #[test]
    fn texts_that_differ_tell_whose_they_are() {
        let part = |port: u16, reply| Part { addr: ([127, 0, 0, 1], port).into(), reply };
        let mut out = Vec::new();
        let same = [part(7001, b"$2\r\nhi\r\n".as_slice()), part(7002, b"$2\r\nhi\r\n")];
        headed(&same, &mut Writer::new(&mut out, Proto::Two)).expect("texts");
        assert_eq!(out, b"$2\r\nhi\r\n");
        out.clear();
        let other = [part(7001, b"$2\r\nhi\r\n".as_slice()), part(7002, b"$2\r\nho\r\n")];
        headed(&other, &mut Writer::new(&mut out, Proto::Two)).expect("texts");
        assert!(out.ends_with(b"# Node 127.0.0.1:7001\r\nhi\r\n\r\n# Node 127.0.0.1:7002\r\nho\r\n\r\n\r\n"));
    }

    #[test]
    fn digests_of_parts_make_the_digest_of_all() {
        let (one, two) = (format!("+{}\r\n", "0f".repeat(20)), format!("+{}\r\n", "ff".repeat(20)));
        assert_eq!(digest(&[one.as_bytes(), two.as_bytes()]), Some("f0".repeat(20)));
        assert_eq!(digest(&[b"+x\r\n"]), None);
    }
}
