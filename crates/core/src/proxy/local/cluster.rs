//! CLUSTER as a cluster client wants to see it: one node, at the address that the client dialled, that owns every
//! slot. So it sends everything here, and the gateway knows the rest.

use super::super::forward::Admit;
use super::super::{Proxy, SessionId};
use super::lines;
use crate::resp::{Args, ErrorReply, Writer};
use crate::topology::{SLOTS, slot};
use std::net::SocketAddr;

impl Proxy {
    fn dialled(&self, id: SessionId) -> Option<SocketAddr> {
        self.sessions.get(id).map(|session| session.local)
    }

    pub(super) fn cluster_slots(&mut self, id: SessionId) -> Admit {
        let Some(addr) = self.dialled(id) else { return Admit::Yes };
        self.reply_with(id, |out| {
            out.array(1);
            out.array(3);
            out.integer(0);
            out.integer(i64::from(SLOTS) - 1);
            out.array(4);
            out.bulk(addr.ip().to_string().as_bytes());
            out.integer(i64::from(addr.port()));
            out.bulk(node_id(addr).as_bytes());
            out.array(0);
        })
    }

    pub(super) fn cluster_shards(&mut self, id: SessionId) -> Admit {
        let Some(addr) = self.dialled(id) else { return Admit::Yes };
        self.reply_with(id, |out| {
            out.array(1);
            out.map(2);
            out.bulk(b"slots");
            out.array(2);
            out.integer(0);
            out.integer(i64::from(SLOTS) - 1);
            out.bulk(b"nodes");
            out.array(1);
            out.map(7);
            let ip = addr.ip().to_string();
            for (field, value) in [("id", node_id(addr).as_str()), ("ip", &ip), ("endpoint", &ip)] {
                out.bulk(field.as_bytes());
                out.bulk(value.as_bytes());
            }
            out.bulk(b"port");
            out.integer(i64::from(addr.port()));
            out.bulk(b"role");
            out.bulk(b"master");
            out.bulk(b"replication-offset");
            out.integer(0);
            out.bulk(b"health");
            out.bulk(b"online");
        })
    }

    pub(super) fn cluster_nodes(&mut self, id: SessionId) -> Admit {
        let Some(addr) = self.dialled(id) else { return Admit::Yes };
        // No bus port: nobody is to speak the cluster bus with a gateway.
        let line = format!("{} {addr}@0 myself,master - 0 0 1 connected 0-{}\n", node_id(addr), SLOTS - 1);
        self.reply_with(id, |out| out.verbatim(line.as_bytes()))
    }

    pub(super) fn cluster_info(&mut self, id: SessionId) -> Admit {
        let covered = self.topology.covered();
        let state = if covered == usize::from(SLOTS) { "ok" } else { "fail" };
        let text = format!(
            "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{covered}\r\n\
             cluster_slots_ok:{covered}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n\
             cluster_known_nodes:1\r\ncluster_size:1\r\ncluster_current_epoch:1\r\ncluster_my_epoch:1\r\n"
        );
        self.reply_with(id, |out| out.verbatim(text.as_bytes()))
    }

    pub(super) fn cluster_keyslot(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let slot = slot(args.get(2));
        self.reply_with(id, |out| out.integer(i64::from(slot)))
    }

    /// CLUSTER REPLICAS and SLAVES: the one node has none of its own.
    pub(super) fn cluster_replicas(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        if self.is_the_node(id, args.get(2)) {
            return self.reply_with(id, |out| out.array(0));
        }
        self.refuse(id, &ErrorReply::UnknownNode(args.get(2)))
    }

    pub(super) fn cluster_failure_reports(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        if self.is_the_node(id, args.get(2)) {
            return self.reply_with(id, |out| out.integer(0));
        }
        self.refuse(id, &ErrorReply::UnknownNode(args.get(2)))
    }

    fn is_the_node(&self, id: SessionId, name: &[u8]) -> bool {
        self.dialled(id).is_some_and(|addr| node_id(addr).as_bytes() == name)
    }

    pub(super) fn cluster_myid(&mut self, id: SessionId) -> Admit {
        let Some(addr) = self.dialled(id) else { return Admit::Yes };
        self.reply_with(id, |out| out.bulk(node_id(addr).as_bytes()))
    }
}

/// A 40-digit id that is the same for the same address always, so that clients do not see a new node after a
/// restart of the gateway.
fn node_id(addr: SocketAddr) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64; // FNV-1a, taken on from one part to the next
    let mut id = String::new();
    while id.len() < 40 {
        for byte in addr.to_string().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        id.push_str(&format!("{hash:016x}"));
    }
    id.truncate(40);
    id
}

pub(super) fn help(out: &mut Writer<'_>) {
    lines(
        out,
        &[
            "CLUSTER <subcommand> [<arg> ...]. Through the gateway the cluster is one node; subcommands are:",
            "INFO | NODES | SHARDS | SLOTS | MYID",
            "    The one node.",
            "COUNTKEYSINSLOT <slot> | GETKEYSINSLOT <slot> <count>",
            "    The keys of a slot.",
            "LINKS | REPLICAS <id> | COUNT-FAILURE-REPORTS <id>",
            "    None: the one node has neither peers nor replicas.",
            "KEYSLOT <key>",
            "    The hash slot of a key.",
            "HELP",
            "    Print this help.",
        ],
    );
}
