//! Trunks: the connections that requests of one kind share, one to each node.
//!
//! What makes connections to one node differ is the protocol, the user that is logged in on them, and state that a
//! server keeps for a connection. So every client belongs to a trunk: most to one of two that the gateway keeps with its
//! own password (RESP2, RESP3), those who logged in as a user of the servers to that user's, and a client for which
//! the servers keep state to one of its own.
//!
//! A client changes its trunk only when none of its requests is under way.

use super::{PipeId, Proxy, SessionId};
use crate::resp::Proto;

/// A trunk that nobody belongs to is kept this long (microseconds): clients come and go.
const LINGER: u64 = 10_000_000;

/// A user of the servers.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub user: Vec<u8>,
    /// One of its passwords.
    pub password: Vec<u8>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Login({})", self.user.escape_ascii()) // never the password
    }
}

/// Whose a trunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenancy {
    /// Anybody's with the same protocol and user.
    Shared,
    /// This client's alone.
    Of(SessionId),
    /// For errands of clients with the same protocol and user.
    Aside,
}

#[derive(Debug)]
pub(crate) struct Trunk {
    pub(crate) proto: Proto,
    /// `None`: the gateway's own user.
    pub(crate) login: Option<Login>,
    pub(crate) tenancy: Tenancy,
    /// Requests that follow the greeting on each new connection; their replies go nowhere.
    pub(crate) prelude: Vec<Vec<u8>>,
    /// For a client in RESP2 that is tracked: the connections on which its nodes say what has changed.
    pub(crate) ear: Option<TrunkId>,
    /// By node index.
    pub(crate) pipes: Vec<Option<PipeId>>,
    /// Clients that belong to it.
    members: u32,
    /// When the last of them left, in microseconds.
    left: u64,
}

impl Trunk {
    pub(crate) fn new(proto: Proto, login: Option<Login>, tenancy: Tenancy) -> Self {
        Trunk {
            proto,
            login,
            tenancy,
            prelude: Vec::new(),
            ear: None,
            pipes: Vec::new(),
            members: 0,
            left: 0,
        }
    }

    /// Whether any client belongs to it.
    pub(crate) fn has_members(&self) -> bool {
        self.members > 0
    }
}

/// Which trunk.
pub(crate) type TrunkId = super::arena::Id<Trunk>;

impl Proxy {
    /// The trunk that all clients with this protocol and user share, whichever of the user's passwords they gave: a
    /// server too asks for it only once.
    pub(super) fn shared_trunk(&mut self, proto: Proto, login: Option<&Login>) -> TrunkId {
        if login.is_none() {
            return self.base[proto.index()];
        }
        self.trunk_like(proto, login.cloned(), Tenancy::Shared)
    }

    /// The trunk with this protocol, user and tenancy.
    fn trunk_like(&mut self, proto: Proto, login: Option<Login>, tenancy: Tenancy) -> TrunkId {
        let user = |login: &Option<Login>| login.as_ref().map(|login| login.user.clone());
        let wanted = user(&login);
        let fits =
            |trunk: &Trunk| trunk.proto == proto && trunk.tenancy == tenancy && user(&trunk.login) == wanted;
        let Some(id) = self.trunks.iter().find(|(_, trunk)| fits(trunk)).map(|(id, _)| id) else {
            return self.new_trunk(Trunk::new(proto, login, tenancy));
        };
        if let Some(trunk) = self.trunks.get_mut(id) {
            trunk.login = login; // the password that was right last
        }
        id
    }

    /// The trunk for errands beside another one: the same protocol and user. It ends some time after its last use.
    pub(super) fn aside_trunk(&mut self, of: TrunkId) -> Option<TrunkId> {
        let of = self.trunks.get(of)?;
        let (proto, login, now) = (of.proto, of.login.clone(), self.now.steady);
        let id = self.trunk_like(proto, login, Tenancy::Aside);
        self.trunks.get_mut(id)?.left = now;
        Some(id)
    }

    /// Adds a trunk; it connects where it is used.
    pub(super) fn new_trunk(&mut self, mut trunk: Trunk) -> TrunkId {
        trunk.pipes = vec![None; self.topology.nodes().len()];
        trunk.left = self.now.steady;
        self.trunks.insert(trunk)
    }

    /// Moves a client to another trunk. Nothing of it may be under way.
    pub(super) fn join_trunk(&mut self, id: SessionId, trunk: TrunkId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let old = std::mem::replace(&mut session.trunk, trunk);
        if let Some(trunk) = self.trunks.get_mut(trunk) {
            session.proto = trunk.proto;
            trunk.members += 1;
        }
        let own = self.trunks.get(old).is_some_and(|trunk| trunk.tenancy == Tenancy::Of(id));
        self.leave_trunk(old);
        if own {
            self.invalidate_all(id); // what it has read there is forgotten
        }
    }

    /// Keeps a trunk although no client may belong to it, until `leave_trunk`.
    pub(super) fn enter_trunk(&mut self, id: TrunkId) {
        if let Some(trunk) = self.trunks.get_mut(id) {
            trunk.members += 1;
        }
    }

    /// A client is gone from a trunk; one that was its own ends with it.
    pub(super) fn leave_trunk(&mut self, id: TrunkId) {
        let now = self.now.steady;
        let Some(trunk) = self.trunks.get_mut(id) else { return };
        trunk.members = trunk.members.saturating_sub(1);
        trunk.left = now;
        if trunk.tenancy != Tenancy::Shared && trunk.members == 0 {
            self.end_trunk(id);
        }
    }

    /// Ends the trunks of users that nobody is logged in as any more.
    pub(super) fn sweep_trunks(&mut self) {
        let now = self.now.steady;
        let idle = |trunk: &Trunk| trunk.members == 0 && trunk.left.saturating_add(LINGER) <= now;
        let ended: Vec<TrunkId> = self
            .trunks
            .iter()
            .filter(|(id, trunk)| !self.base.contains(id) && *id != self.door && idle(trunk))
            .map(|(id, _)| id)
            .collect();
        ended.into_iter().for_each(|id| self.end_trunk(id));
    }

    /// Those of users who have clients.
    pub(super) fn trunks_in_use(&self) -> Vec<TrunkId> {
        let used = self.trunks.iter().filter(|(_, trunk)| trunk.login.is_some() && trunk.has_members());
        used.map(|(id, _)| id).collect()
    }

    /// Who is logged in on a trunk's connections, where that is not the gateway itself.
    pub(super) fn login_of(&self, trunk: TrunkId) -> Option<&Login> {
        self.trunks.get(trunk)?.login.as_ref()
    }

    fn end_trunk(&mut self, id: TrunkId) {
        if let Some(trunk) = self.trunks.remove(id) {
            trunk.ear.into_iter().for_each(|ear| self.end_trunk(ear));
            trunk.pipes.into_iter().flatten().for_each(|pipe| self.retire(pipe));
            let of_it = |pipe: &PipeId| self.pipes.get(*pipe).is_some_and(|pipe| pipe.trunk == id);
            let idle: Vec<PipeId> = self.idle.iter().copied().filter(of_it).collect();
            idle.into_iter().for_each(|pipe| self.close_pipe(pipe));
        }
    }
}
