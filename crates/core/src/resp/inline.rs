//! Words of an inline command with the quoting rules of the server (`sds.c`: `sdssplitargs`).

use super::ProtocolError;

/// Why a line could not be split.
pub type InlineError = ProtocolError;

/// Splits a line into its words: blanks separate, `"…"` knows `\n \r \t \b \a \xHH` and `\` before anything,
/// `'…'` knows `\'` only, and a closing quote must be followed by a blank or the end.
pub fn split_inline(line: &[u8]) -> Result<Vec<Vec<u8>>, InlineError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Ok(words);
        }
        let mut word = Vec::new();
        rest = read_word(rest, &mut word)?;
        words.push(word);
    }
}

/// Reads one word and returns what follows it.
fn read_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], InlineError> {
    loop {
        match rest {
            [] => return Ok(rest),
            [b'"', tail @ ..] => return ended(double_quoted(tail, word)?),
            [b'\'', tail @ ..] => return ended(single_quoted(tail, word)?),
            [byte, ..] if byte.is_ascii_whitespace() || *byte == 0 => return Ok(rest),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

/// After a closing quote only a blank or the end may stand.
fn ended(rest: &[u8]) -> Result<&[u8], InlineError> {
    match rest.first() {
        Some(byte) if !byte.is_ascii_whitespace() => Err(ProtocolError::Quotes),
        _ => Ok(rest),
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], InlineError> {
    loop {
        rest = match rest {
            [] => return Err(ProtocolError::Quotes),
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) << 4 | hex(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], InlineError> {
    loop {
        rest = match rest {
            [] => return Err(ProtocolError::Quotes),
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                tail
            }
            [b'\'', tail @ ..] => return Ok(tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::split_inline;

    #[test]
    fn words_and_quotes() {
        let split = |line: &str| split_inline(line.as_bytes());
        assert_eq!(split("  SET a  b\r\n").expect("good"), [b"SET".to_vec(), b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(
            split(r#"ECHO "a\x41\n\"" 'it\'s'"#).expect("good")[1..],
            [b"aA\n\"".to_vec(), b"it's".to_vec()]
        );
        assert_eq!(split("ECHO \"\"").expect("good")[1], b"");
        for bad in ["ECHO \"a", "ECHO 'a", "ECHO \"a\"b", "ECHO 'a'b"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
