//! The Redis serialisation protocol: incremental readers of requests and replies, writers, and every error
//! text that a client can see. Knows nothing of commands.
//!
//! Readers borrow: they say where things are in a buffer and copy nothing. They survive any bytes.

mod args;
mod error;
mod inline;
mod number;
mod reply;
mod request;
mod write;

pub use args::{Args, Span};
pub use error::{ErrorReply, ProtocolError, TrackingError};
pub use inline::{InlineError, split_inline};
pub use number::{parse_i64, parse_u64};
pub(crate) use reply::usual_reply;
pub use reply::{Elements, ReplyScan, Scan, integer, text};
pub(crate) use request::usual_request;
pub use request::{Ahead, Limits, Read, RequestReader, Unauthenticated};
pub use write::{Proto, Writer};
