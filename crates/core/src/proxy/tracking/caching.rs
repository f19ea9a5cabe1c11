//! CLIENT CACHING: whether the reads of the next request are tracked, for a client that says so for each.
//!
//! The word goes to the node right before the request, as one piece with it: wherever the request has to be asked
//! again, the word comes along.

use super::super::forward::Admit;
use super::super::session::Session;
use super::super::{Proxy, SessionId};
use super::options::Reads;
use crate::command::Command;
use crate::resp::{Args, ErrorReply, TrackingError};

const YES: &[u8] = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n";
const NO: &[u8] = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$2\r\nNO\r\n";

/// A word that was said for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caching {
    word: &'static [u8],
    /// The sequence number of that request.
    seq: u32,
}

impl Caching {
    pub(super) fn is_for(self, seq: u32) -> bool {
        self.seq == seq
    }
}

impl Proxy {
    pub(in super::super) fn client_caching(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let reads = self.tracking(id).map(|tracking| tracking.options.reads);
        let said = args.get(2).to_ascii_lowercase();
        let word = match (reads, said.as_slice()) {
            (None, _) => Err(ErrorReply::Tracking(TrackingError::NotTracked)),
            (Some(Reads::Announced), b"yes") => Ok(YES),
            (Some(Reads::Unexcepted), b"no") => Ok(NO),
            (Some(_), b"yes") => Err(ErrorReply::Tracking(TrackingError::YesWithoutOptin)),
            (Some(_), b"no") => Err(ErrorReply::Tracking(TrackingError::NoWithoutOptout)),
            (Some(_), _) => Err(ErrorReply::Syntax),
        };
        let word = match word {
            Ok(word) => word,
            Err(error) => return self.refuse(id, &error),
        };
        let admit = self.reply_with(id, |out| out.simple("OK"));
        if admit == Admit::Yes {
            self.say_caching(id, word);
        }
        admit
    }

    /// Has the word go with the next request.
    pub(in super::super) fn say_caching(&mut self, id: SessionId, word: &'static [u8]) {
        let seq = self.sessions.get(id).map_or(0, Session::upcoming);
        if let Some(tracking) = self.tracking(id) {
            tracking.caching = Some(Caching { word, seq });
        }
    }

    /// The word that goes with the request that is about to be admitted.
    #[inline]
    pub(in super::super) fn caching_word(&self, id: SessionId) -> Option<&'static [u8]> {
        let session = self.sessions.get(id)?;
        let caching = session.extra.as_ref()?.tracking.as_ref()?.caching?;
        caching.is_for(session.upcoming()).then_some(caching.word)
    }

    /// The word that was said for a request that is split, or one like it.
    pub(in super::super) fn caching_word_for(&self, id: SessionId, seq: u32) -> Option<&'static [u8]> {
        let caching = self.sessions.get(id)?.extra.as_ref()?.tracking.as_ref()?.caching?;
        caching.is_for(seq).then_some(caching.word)
    }

    /// Whoever asks CLIENT something has not made the request yet that the word is for (`networking.c`: `resetClient`).
    pub(in super::super) fn keep_caching(&mut self, id: SessionId, command: &Command) {
        if command.name.starts_with("client|")
            && let Some(word) = self.caching_word(id)
            && let Some(tracking) = self.tracking(id)
            && let Some(caching) = &mut tracking.caching
        {
            *caching = Caching { word, seq: caching.seq.wrapping_add(1) };
        }
    }
}
