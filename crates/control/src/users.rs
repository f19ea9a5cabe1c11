//! Keeps the users of the nodes: the same on every node, and on disk.
//!
//! Owns when that is looked at and the commands for it. Never decides who is right: core's plan does. A change that was made
//! through a gateway is on every node at once; here it is written to each node's ACL file, and given to a node that was away.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_core::plan::{Change, Desired, Duty, NodeName, Users, Voice, Wanted, align};
use redis::Cmd;
use redis::aio::MultiplexedConnection;

use crate::journal::Journal;
use crate::observe::{Eyes, Look};
use crate::status::Level;

/// How often it is looked at, in milliseconds.
const EVERY: u64 = 1_000;
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_millis(200);

/// What was seen a look ago.
#[derive(Debug, Default)]
pub(crate) struct Register {
    looked_ms: u64,
    known: BTreeMap<NodeName, Users>,
    /// What each node has been told to write to its file.
    saved: BTreeMap<NodeName, Users>,
}

impl Register {
    /// Looks at the users of all nodes that have just answered, and tells nodes what they lack.
    pub(crate) async fn tend(
        &mut self,
        desired: &Desired,
        look: &Look,
        eyes: &mut Eyes,
        journal: &mut Journal,
        now: u64,
    ) {
        if now < self.looked_ms + EVERY {
            return;
        }
        self.looked_ms = now;
        let mut seen: BTreeMap<NodeName, (Voice, Users)> = BTreeMap::new();
        for wanted in &desired.nodes {
            let Some(facts) = look.observed.nodes.get(&wanted.name).and_then(|seen| seen.facts()) else {
                self.saved.remove(&wanted.name);
                continue;
            };
            let owns = facts.duty == Duty::Primary
                && facts.view.iter().any(|peer| peer.id == facts.id && !peer.slots.is_empty());
            let voice = if owns { Voice::Votes } else { Voice::Listens };
            if let Ok(lines) = ask::<Vec<String>>(eyes, wanted, &acl(&["LIST"])).await {
                seen.insert(wanted.name.clone(), (voice, Users::parse(&lines)));
            }
        }
        for (node, changes) in align(&self.known, &seen) {
            let Some(wanted) = desired.nodes.iter().find(|wanted| wanted.name == node) else { continue };
            tell(eyes, wanted, &changes, journal, now).await;
        }
        self.save(desired, &seen, eyes).await;
        self.known = seen.into_iter().map(|(node, (_, users))| (node, users)).collect();
    }

    /// Has every node write what it has not written yet.
    async fn save(&mut self, desired: &Desired, seen: &BTreeMap<NodeName, (Voice, Users)>, eyes: &mut Eyes) {
        for wanted in &desired.nodes {
            let Some((_, users)) = seen.get(&wanted.name) else { continue };
            if self.saved.get(&wanted.name) == Some(users) {
                continue;
            }
            if let Err(error) = ask::<()>(eyes, wanted, &acl(&["SAVE"])).await {
                // a server of an earlier evenkeel keeps its users in memory until it is started anew
                tracing::warn!("{} does not write its users to disk: {error}", wanted.name);
            }
            self.saved.insert(wanted.name.clone(), users.clone());
        }
    }
}

/// Tells a node what it lacks.
async fn tell(eyes: &mut Eyes, wanted: &Wanted, changes: &[Change], journal: &mut Journal, now: u64) {
    for change in changes {
        let (command, what) = match change {
            Change::Set { user, rules } => {
                let mut command = acl(&["SETUSER", user, "reset"]);
                for rule in rules {
                    command.arg(rule);
                }
                (command, format!("learn the user {user}"))
            }
            Change::Remove { user } => (acl(&["DELUSER", user]), format!("forget the user {user}")),
        };
        let because = "the primaries agree on their users and this node differs";
        match ask::<redis::Value>(eyes, wanted, &command).await {
            Ok(_) => journal.add(now, Level::Info, &wanted.name.0, &what, because),
            Err(error) => {
                let because = format!("{error} ({because})");
                journal.add(now, Level::Warning, &wanted.name.0, &format!("{what} failed"), &because);
            }
        }
    }
}

fn acl(words: &[&str]) -> Cmd {
    let mut command = redis::cmd("ACL");
    for word in words {
        command.arg(*word);
    }
    command
}

async fn ask<T: redis::FromRedisValue>(eyes: &mut Eyes, wanted: &Wanted, command: &Cmd) -> Result<T, String> {
    let work = async {
        let mut connection: MultiplexedConnection = eyes.connection(wanted).await?;
        command.query_async::<T>(&mut connection).await
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| crate::observe::plain(&error)),
        Err(_) => Err("it took longer than 200 ms".to_owned()),
    }
}
