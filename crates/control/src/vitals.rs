//! What a server says in `INFO`, as far as evenkeel reads it.
//!
//! Owns the field names. Never connects anywhere.

use std::collections::HashMap;

use evenkeel_core::plan::{Duty, Link, NodeId};

/// The figures of one server at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Vitals {
    /// Identity of this run of the process.
    pub(crate) run_id: String,
    /// Process id.
    pub(crate) pid: u32,
    /// Seconds since it started.
    pub(crate) uptime_s: u64,
    /// Whether it is still reading its data.
    pub(crate) loading: bool,
    /// Whether it calls itself a replica.
    pub(crate) replica: bool,
    /// Whether a replica's link is up.
    pub(crate) link_up: bool,
    /// Seconds that a replica's link has been down; `None` when it was never up.
    pub(crate) link_down_s: Option<u64>,
    /// Replicas attached to a primary.
    pub(crate) attached: u64,
    /// The replication stream that it writes or copies.
    pub(crate) stream: String,
    /// Position in it.
    pub(crate) offset: u64,
    /// Number of keys.
    pub(crate) keys: u64,
    /// Memory used and its limit, in bytes.
    pub(crate) memory: (u64, u64),
    /// Commands a second.
    pub(crate) ops_per_s: f64,
    /// Client connections.
    pub(crate) clients: u64,
    /// Something that the server itself complains about.
    pub(crate) complaint: Option<String>,
}

impl Vitals {
    /// Reads the text of `INFO`; what is missing is zero.
    pub(crate) fn parse(text: &str) -> Vitals {
        let fields: HashMap<&str, &str> =
            text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let number = |key: &str| fields.get(key).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        let says = |key: &str, value: &str| fields.get(key) == Some(&value);
        let replica = says("role", "slave");
        let offset = if replica { number("slave_repl_offset") } else { number("master_repl_offset") };
        Vitals {
            run_id: fields.get("run_id").copied().unwrap_or_default().to_owned(),
            pid: number("process_id") as u32,
            uptime_s: number("uptime_in_seconds"),
            loading: says("loading", "1") || says("async_loading", "1"),
            replica,
            link_up: says("master_link_status", "up"),
            // -1 as long as it was never up
            link_down_s: fields.get("master_link_down_since_seconds").and_then(|text| text.parse().ok()),
            attached: number("connected_slaves"),
            stream: fields.get("master_replid").copied().unwrap_or_default().to_owned(),
            offset,
            keys: fields.get("db0").map_or(0, |db| keys(db)),
            memory: (number("used_memory"), number("maxmemory")),
            ops_per_s: number("instantaneous_ops_per_sec") as f64,
            clients: number("connected_clients"),
            complaint: complaint(&says),
        }
    }

    /// The node's duty, given the primary that its own view names.
    pub(crate) fn duty(&self, of: Option<NodeId>) -> Duty {
        match of {
            None => Duty::Primary,
            Some(of) if self.link_up => Duty::Replica { of, link: Link::Up },
            Some(of) => {
                let link = self.link_down_s.map_or(Link::Never, |since_s| Link::Down { since_s });
                Duty::Replica { of, link }
            }
        }
    }
}

/// `keys=12,expires=0,avg_ttl=0`
fn keys(db: &str) -> u64 {
    db.split(',').find_map(|part| part.strip_prefix("keys=")?.parse().ok()).unwrap_or(0)
}

fn complaint(says: &impl Fn(&str, &str) -> bool) -> Option<String> {
    let what = if says("aof_last_write_status", "err") {
        "cannot write its append-only file and refuses writes"
    } else if says("rdb_last_bgsave_status", "err") {
        "could not write its snapshot"
    } else {
        return None;
    };
    Some(format!("{what}: see its server.log; most often the disk is full"))
}

#[cfg(test)]
mod tests {
    use super::Vitals;
    use evenkeel_core::plan::{Duty, Link, NodeId};

    #[test]
    fn a_replica_and_a_primary_are_read() {
        let replica = Vitals::parse(
            "# Server\r\nrun_id:ab\r\nprocess_id:12\r\nuptime_in_seconds:9\r\nrole:slave\r\nmaster_link_status:down\r\n\
             master_link_down_since_seconds:3\r\nslave_repl_offset:99\r\nmaster_repl_offset:98\r\n\
             db0:keys=7,expires=0,avg_ttl=0\r\nused_memory:5\r\nmaxmemory:6\r\n",
        );
        assert_eq!((replica.pid, replica.offset, replica.keys, replica.memory), (12, 99, 7, (5, 6)));
        let of = NodeId("x".into());
        assert_eq!(replica.duty(Some(of.clone())), Duty::Replica { of, link: Link::Down { since_s: 3 } });
        let primary = Vitals::parse("role:master\r\nmaster_repl_offset:98\r\naof_last_write_status:err\r\n");
        assert_eq!((primary.offset, primary.duty(None)), (98, Duty::Primary));
        assert!(primary.complaint.unwrap().contains("append-only"));
    }
}
