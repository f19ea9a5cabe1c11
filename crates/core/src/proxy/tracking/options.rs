//! What CLIENT TRACKING is asked for, and what the server says against it (`networking.c`: `clientCommand`).

use crate::resp::{Args, ErrorReply, Proto, TrackingError, Writer, parse_i64};

/// Which reads are tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reads {
    #[default]
    All,
    /// Those behind CLIENT CACHING YES.
    Announced,
    /// Those not behind CLIENT CACHING NO.
    Unexcepted,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The number of the client that hears of it.
    pub(super) redirect: Option<u64>,
    /// Whether it hears of all keys with its prefixes, whoever has read them.
    pub(super) bcast: bool,
    pub(super) reads: Reads,
    pub(super) noloop: bool,
    pub(super) prefixes: Vec<Vec<u8>>,
}

impl Options {
    /// What the words ask for; `None` for OFF.
    pub(super) fn parse<'a>(args: &Args<'a>) -> Result<Option<Options>, ErrorReply<'a>> {
        let mut options = Options::default();
        let (mut optin, mut optout) = (false, false);
        let mut at = 3;
        while at < args.len() {
            let (word, more) = (args.get(at).to_ascii_lowercase(), at + 1 < args.len());
            match word.as_slice() {
                b"redirect" if more => {
                    at += 1;
                    if options.redirect.is_some() {
                        return Err(ErrorReply::Tracking(TrackingError::TwoTargets));
                    }
                    let number = parse_i64(args.get(at)).ok_or(ErrorReply::NotAnInteger)?;
                    options.redirect = Some(u64::try_from(number).unwrap_or(0));
                }
                b"prefix" if more => {
                    at += 1;
                    options.prefixes.push(args.get(at).to_vec());
                }
                b"bcast" => options.bcast = true,
                b"optin" => optin = true,
                b"optout" => optout = true,
                b"noloop" => options.noloop = true,
                _ => return Err(ErrorReply::Syntax),
            }
            at += 1;
        }
        let on = match args.get(2).to_ascii_lowercase().as_slice() {
            b"on" => true,
            b"off" => false,
            _ => return Err(ErrorReply::Syntax),
        };
        if !on {
            return Ok(None);
        }
        options.check(optin, optout)?;
        Ok(Some(options))
    }

    fn check(&mut self, optin: bool, optout: bool) -> Result<(), ErrorReply<'static>> {
        let error = if !self.bcast && !self.prefixes.is_empty() {
            TrackingError::PrefixWithoutBcast
        } else if self.bcast && (optin || optout) {
            TrackingError::BcastWithOpt
        } else if optin && optout {
            TrackingError::OptInAndOut
        } else {
            self.reads = match (optin, optout) {
                (true, _) => Reads::Announced,
                (_, true) => Reads::Unexcepted,
                (false, false) => Reads::All,
            };
            return Ok(());
        };
        Err(ErrorReply::Tracking(error))
    }

    /// These options where those were in force `before`: prefixes come to those that are there.
    pub(super) fn after(mut self, before: Option<&Options>) -> Result<Options, ErrorReply<'static>> {
        if let Some(before) = before {
            let switched = |one: Reads, other: Reads| one == Reads::Announced && other == Reads::Unexcepted;
            if before.bcast != self.bcast {
                return Err(ErrorReply::Tracking(TrackingError::SwitchedBcast));
            } else if switched(before.reads, self.reads) || switched(self.reads, before.reads) {
                return Err(ErrorReply::Tracking(TrackingError::SwitchedOpt));
            }
        }
        if !self.bcast {
            return Ok(self);
        }
        let old: &[Vec<u8>] = before.map_or(&[], |before| &before.prefixes);
        for (at, prefix) in self.prefixes.iter().enumerate() {
            if let Some(other) = old.iter().find(|other| overlap(prefix, other)) {
                return Err(ErrorReply::Tracking(TrackingError::overlap(prefix, other, "an existing")));
            }
            if let Some(other) = self.prefixes[at + 1..].iter().find(|other| overlap(prefix, other)) {
                return Err(ErrorReply::Tracking(TrackingError::overlap(prefix, other, "another provided")));
            }
        }
        if self.prefixes.is_empty() && !old.iter().any(Vec::is_empty) {
            self.prefixes.push(Vec::new());
        }
        let mut prefixes = old.to_vec();
        prefixes.append(&mut self.prefixes);
        self.prefixes = prefixes;
        Ok(self)
    }

    /// What a node has to be asked for where it goes by those options already: prefixes that came to those `before`, and
    /// the rest. `None` if nothing is new to it.
    pub(super) fn since(&self, before: &Options) -> Option<Options> {
        let prefixes = self.prefixes.get(before.prefixes.len()..).unwrap_or_default().to_vec();
        let same = self.reads == before.reads && self.noloop == before.noloop && prefixes.is_empty();
        (!same).then(|| Options { prefixes, ..self.clone() })
    }

    /// CLIENT TRACKING as a node is asked for it.
    pub(super) fn request(&self, redirect: Option<u64>) -> Vec<u8> {
        let number = redirect.map(|number| number.to_string());
        let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON"];
        if let Some(number) = &number {
            words.extend([b"REDIRECT".as_slice(), number.as_bytes()]);
        }
        words.extend(self.bcast.then_some(b"BCAST".as_slice()));
        match self.reads {
            Reads::All => {}
            Reads::Announced => words.push(b"OPTIN"),
            Reads::Unexcepted => words.push(b"OPTOUT"),
        }
        words.extend(self.noloop.then_some(b"NOLOOP".as_slice()));
        // A prefix of all keys was the whole wish once; servers turn others down beside it.
        let all = self.prefixes.iter().any(Vec::is_empty);
        for prefix in self.prefixes.iter().filter(|_| !all) {
            words.extend([b"PREFIX".as_slice(), prefix]);
        }
        let mut frame = Vec::new();
        Writer::new(&mut frame, Proto::Two).request(words.into_iter());
        frame
    }

    /// What CLIENT TRACKINGINFO says of them.
    pub(super) fn flags(&self, caching: bool, broken: bool) -> Vec<&'static str> {
        let (opt, announced) = match self.reads {
            Reads::All => (None, None),
            Reads::Announced => (Some("optin"), Some("caching-yes")),
            Reads::Unexcepted => (Some("optout"), Some("caching-no")),
        };
        let flags = [
            Some("on"),
            self.bcast.then_some("bcast"),
            opt,
            announced.filter(|_| caching),
            self.noloop.then_some("noloop"),
            broken.then_some("broken_redirect"),
        ];
        flags.into_iter().flatten().collect()
    }
}

/// Whether one of two prefixes is a prefix of the other.
fn overlap(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
