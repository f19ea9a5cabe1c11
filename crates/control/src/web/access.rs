//! Who may read, and what every answer carries: the password, the size of requests, the security headers.
//!
//! Never decodes what a client sent as a password: it compares encodings, in time that does not depend on
//! where they differ.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The user name that goes with the password.
const USER: &str = "evenkeel";
/// Nothing here takes a body; a small one is ignored, a larger one refused unread.
const BODY_LIMIT: u64 = 4096;

/// What a request must bring; `None` admits everyone.
#[derive(Clone)]
pub(super) struct Access(Option<Arc<[u8]>>);

impl Access {
    pub(super) fn new(password: Option<&str>) -> Self {
        Self(password.map(|password| base64(format!("{USER}:{password}").as_bytes()).into_bytes().into()))
    }

    /// Whether the request was meant for us. Without a password, a website whose name is made to point at
    /// this machine could read the page through a visitor's browser; it cannot forge the name in `Host`.
    fn expects(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST) else { return true };
        self.0.is_some() || host.to_str().is_ok_and(is_local)
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.0 else { return true };
        let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let (scheme, token) = given.split_at(given.len().min("basic ".len()));
        scheme.eq_ignore_ascii_case(b"basic ") && same(token.trim_ascii(), expected)
    }
}

/// One page's permission to run the style and the script that we wrote into it.
#[derive(Clone)]
pub(super) struct Nonce(Arc<str>);

impl Nonce {
    fn new() -> Result<Self, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        Ok(Self(base64(&random).into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Nonce {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Nonce>().expect("the guard gives every request a nonce").clone())
    }
}

/// Goes around every route.
pub(super) async fn guard(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let nonce = match Nonce::new() {
        Ok(nonce) => nonce,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    };
    request.extensions_mut().insert(nonce.clone());
    let mut response = if has_large_body(request.headers()) {
        let close = [(header::CONNECTION, "close")];
        (StatusCode::PAYLOAD_TOO_LARGE, close, "requests have no body here\n").into_response()
    } else if !access.expects(request.headers()) {
        let why =
            "without a password this page is opened by its address, e.g. http://127.0.0.1, not by a name\n";
        (StatusCode::MISDIRECTED_REQUEST, why).into_response()
    } else if request.uri().path() == "/healthz" || access.admits(request.headers()) {
        next.run(request).await
    } else {
        let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"evenkeel\", charset=\"UTF-8\"")];
        let why = "user evenkeel and its password are needed, see the output of `evenkeel up`\n";
        (StatusCode::UNAUTHORIZED, ask, why).into_response()
    };
    protect(response.headers_mut(), &nonce);
    response
}

fn has_large_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).map(|length| length.to_str().ok()?.parse::<u64>().ok());
    headers.contains_key(header::TRANSFER_ENCODING)
        || length.is_some_and(|length| length.is_none_or(|length| length > BODY_LIMIT))
}

fn protect(headers: &mut HeaderMap, nonce: &Nonce) {
    let mut policy = String::from("default-src 'none'; ");
    let nonce = nonce.as_str();
    let written = write!(policy, "style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; ");
    written.expect("writing to a string does not fail");
    policy.push_str("connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; ");
    policy.push_str("frame-ancestors 'none'");
    let policy = HeaderValue::try_from(policy).expect("a policy of base64 and ASCII is a header value");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Whether a `Host` is an address or `localhost`, which no stranger's name server decides about.
fn is_local(host: &str) -> bool {
    let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let bare = without_port.trim_start_matches('[').trim_end_matches(']');
    let whole = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || [bare, whole].iter().any(|name| name.parse::<IpAddr>().is_ok())
}

/// Whether both are the same, in time that depends on their lengths only.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let mut differs = u8::from(given.len() != expected.len());
    for (at, byte) in expected.iter().enumerate() {
        differs |= std::hint::black_box(byte ^ given.get(at).copied().unwrap_or(0));
    }
    std::hint::black_box(differs) == 0
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Access, base64, is_local, same};
    use axum::http::{HeaderMap, header};

    fn given(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[test]
    fn encodes_the_vectors_of_the_rfc() {
        let known = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, encoded) in known.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), *encoded);
        }
    }

    #[test]
    fn compares_whole_values() {
        assert!(same(b"abc", b"abc"));
        for other in ["", "ab", "abd", "abcd", "abc\0"] {
            assert!(!same(other.as_bytes(), b"abc"), "{other:?}");
        }
        assert!(!same(b"", b"\0"));
    }

    #[test]
    fn knows_names_that_strangers_can_point_here() {
        for local in [
            "127.0.0.1",
            "127.0.0.1:7020",
            "localhost",
            "LocalHost:7020",
            "[::1]",
            "[::1]:7020",
            "10.0.0.1:1",
        ] {
            assert!(is_local(local), "{local}");
        }
        for strange in [
            "",
            ":",
            "evil.example",
            "evil.example:7020",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "[x]:1",
        ] {
            assert!(!is_local(strange), "{strange}");
        }
    }

    #[test]
    fn admits_the_right_password_only() {
        let access = Access::new(Some("let me in"));
        assert!(access.admits(&given(&format!("Basic {}", base64(b"evenkeel:let me in")))));
        assert!(access.admits(&given(&format!("bAsIc {}", base64(b"evenkeel:let me in")))));
        assert!(!access.admits(&HeaderMap::new()));
        for wrong in [
            "Basic".to_owned(),
            "Basic ".to_owned(),
            "Bearer x".to_owned(),
            format!("Basic {}", base64(b"evenkeel:")),
            format!("Basic {}", base64(b"root:let me in")),
            format!("Basic {}", base64(b"evenkeel:let me inn")),
        ] {
            assert!(!access.admits(&given(&wrong)), "{wrong}");
        }
        assert!(Access::new(None).admits(&HeaderMap::new()));
    }
}
