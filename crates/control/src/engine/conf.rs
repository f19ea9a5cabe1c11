//! A node's configuration file.
//!
//! Owns every setting that evenkeel gives a server, and the reason where it is not the server's default.

use std::fmt::Write as _;
use std::path::Path;

use evenkeel_core::config::{Cluster, Persistence};

/// Distance of a node's bus port from its port; fixed by Redis.
pub(super) const BUS: u16 = 10_000;

/// The text of a node's `redis.conf`.
pub(super) fn conf(cluster: &Cluster, port: u16, dir: &Path, password: &str) -> String {
    let mut text = String::from("# written by evenkeel at every start: changes here are lost\n");
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} {value}");
    };
    set("bind", "127.0.0.1");
    set("port", &port.to_string());
    set("dir", &quoted(&dir.display().to_string()));
    set("requirepass", password);
    set("masterauth", password);
    set("daemonize", "no");
    set("supervised", "no");
    // evenkeel knows its servers again by their command line
    set("set-proc-title", "no");
    set("cluster-enabled", "yes");
    set("cluster-config-file", "nodes.conf");
    set("cluster-node-timeout", &cluster.node_timeout.0.to_string());
    // one dead shard must not stop the others
    set("cluster-require-full-coverage", "no");
    // the planner decides who copies whom
    set("cluster-allow-replica-migration", "no");
    set("maxmemory", &cluster.memory.0.to_string());
    set("maxmemory-policy", cluster.eviction.name());
    // After a diskless copy a primary holds new writes back until the replica's next word, which comes once a
    // second, while the replica says already that it is in sync: a failover in that second lost acknowledged
    // writes (measured: about 100 in 12 kills). After a copy by file it sends them at once.
    set("repl-diskless-sync", "no");
    // a replica that was away for a moment catches up without a full copy
    set("repl-backlog-size", "16mb");
    // Each client that waits in a blocking command has a connection of its own here, and the gateway limits these;
    // the server lowers it where the system allows fewer files.
    set("maxclients", "50000");
    match cluster.persistence {
        Persistence::None => {
            set("appendonly", "no");
            set("save", "\"\"");
        }
        Persistence::Rdb => {
            set("appendonly", "no");
            set("save", "3600 1 300 100 60 10000");
        }
        Persistence::Aof => {
            set("appendonly", "yes");
            set("appendfsync", "everysec");
            set("save", "\"\"");
        }
    }
    text
}

/// A value in quotes as the server's configuration reader takes them.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::conf;
    use evenkeel_core::config::{Cluster, Persistence};

    #[test]
    fn what_the_operator_chose_is_in_it() {
        let cluster = Cluster { persistence: Persistence::None, ..Cluster::default() };
        let text = conf(&cluster, 7005, Path::new("/a \"b\"/c"), "secret");
        for line in [
            "port 7005",
            "dir \"/a \\\"b\\\"/c\"",
            "requirepass secret",
            "appendonly no",
            "cluster-node-timeout 5000",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
