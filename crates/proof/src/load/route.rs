//! Where a request goes that a server refuses since another one has its key, for a load that speaks to the servers of a
//! cluster directly, as a cluster client does. Pure.

use crate::link::Door;
use crate::wire::Reply;

/// What is done when a server says that another one has the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirects {
    /// It is an error: behind one address nobody may see it.
    #[default]
    Errors,
    /// The request is sent there, as a cluster client does it.
    Followed,
}

impl Redirects {
    /// The door that a refusal names, where that is followed. One that is unknown is an error like any other.
    pub(super) fn door(self, reply: Reply<'_>, doors: &[Door]) -> Option<usize> {
        match (self, reply) {
            (Redirects::Followed, Reply::Error(text)) => {
                let mut words = std::str::from_utf8(text).ok()?.split(' ');
                let addr = words.next().filter(|code| *code == "MOVED").and_then(|_| words.nth(1))?;
                doors.iter().position(|door| door.addr == addr)
            }
            (Redirects::Followed | Redirects::Errors, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_refusal_names_a_door() {
        let doors = ["127.0.0.1:1", "127.0.0.1:2"].map(|addr| Door {
            addr: addr.to_owned(),
            user: None,
            password: None,
            patience: Duration::ZERO,
        });
        let moved = Reply::Error(b"MOVED 7 127.0.0.1:2");
        assert_eq!(Redirects::Followed.door(moved, &doors), Some(1));
        assert_eq!(Redirects::Errors.door(moved, &doors), None);
        for other in ["MOVED 7 127.0.0.1:3", "MOVED 7", "CLUSTERDOWN 7 127.0.0.1:2", ""] {
            assert_eq!(Redirects::Followed.door(Reply::Error(other.as_bytes()), &doors), None, "{other}");
        }
    }
}
