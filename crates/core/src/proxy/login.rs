//! Users of the nodes: how they are changed, and what follows when one is deleted or its password is changed.
//!
//! A node closes the connections of a user that is deleted; those are shared here by that user's clients, so the gateway
//! tries whether the user still gets in, and if not, closes the clients, as a server would. None of that says anything
//! about the node itself: others go on.

use super::forward::Admit;
use super::pipe::{Pipe, Purpose, State};
use super::session::Session;
use super::trunk::TrunkId;
use super::{Output, PipeId, Proxy, SessionId};
use crate::command::{Command, Fold, Scope};
use crate::resp::{Args, ErrorReply};

impl Proxy {
    /// ACL SETUSER: on every node, since each of them may be asked by that user's clients.
    pub(super) fn set_user(
        &mut self,
        id: SessionId,
        command: &'static Command,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Admit {
        if args.get(2) == b"default" {
            return self.refuse(id, &ErrorReply::OwnUser);
        }
        self.every(id, command, (Scope::Nodes, Fold::AllOk), frame, args)
    }

    /// Whether a connection was lost for its user's sake, as far as one can see: the gateway's own to that node are fine.
    pub(super) fn is_about_the_user(&self, lost: &Pipe) -> bool {
        let of_a_user = lost.trunk == self.door || self.login_of(lost.trunk).is_some();
        of_a_user
            && self.pipes.iter().any(|(_, pipe)| {
                pipe.addr == lost.addr
                    && self.base.contains(&pipe.trunk)
                    && pipe.purpose == Purpose::Shared
                    && pipe.state == State::Open
            })
    }

    /// A node has closed a connection of a user that has clients: tries whether the user still gets in.
    pub(super) fn knock_again(&mut self, lost: &Pipe) {
        let node = self.topology.nodes().iter().position(|node| node.addr == lost.addr);
        if let Some(node) = node
            && self.trunks.get(lost.trunk).is_some_and(|trunk| trunk.login.is_some() && trunk.has_members())
        {
            let _ = self.way_to(crate::topology::NodeIndex(node as u16), lost.trunk);
        }
    }

    /// A node does not let a user in any more: its clients are closed. False where it is not a user's connection.
    pub(super) fn shut_out(&mut self, id: PipeId, why: &str) -> bool {
        let Some((addr, trunk)) = self.pipes.get(id).map(|pipe| (pipe.addr, pipe.trunk)) else {
            return false;
        };
        let Some(user) = self.login_of(trunk).map(|login| login.user.escape_ascii().to_string()) else {
            return false;
        };
        self.outputs.push(Output::Report(format!(
            "node {addr} refuses the user {user}, whose clients are closed: {why}"
        )));
        self.members(trunk).into_iter().for_each(|client| self.drop_client(client));
        self.lose_refused(id, why);
        true
    }

    fn members(&self, trunk: TrunkId) -> Vec<SessionId> {
        let login = self.login_of(trunk);
        let is_theirs = |session: &Session| session.trunk == trunk || self.login_of(session.trunk) == login;
        self.sessions.iter().filter(|(_, session)| is_theirs(session)).map(|(id, _)| id).collect()
    }
}
