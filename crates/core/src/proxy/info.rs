//! INFO of all primaries as one text: the first one's lines, with sums, extremes and ratios of all where those are right,
//! and the gateway's own facts where a node's would mislead. INFO NODES: every node's text under its address.

use super::fold::{Fan, is_error};
use super::merge::Merge;
use super::{Gather, Output, Proxy, SessionId};
use crate::command::Fold;
use crate::resp::{Args, Proto, Writer, text};
use std::collections::HashMap;
use std::fmt::Write;

/// The field that those who wait for the end of a pause are added to.
const BLOCKED: &str = "blocked_clients:";

/// Fields that are added up over the primaries.
const SUMS: &[&str] = &[
    "acl_access_denied_auth",
    "acl_access_denied_channel",
    "acl_access_denied_cmd",
    "acl_access_denied_key",
    "active_defrag_hits",
    "active_defrag_key_hits",
    "active_defrag_key_misses",
    "active_defrag_misses",
    "allocator_active",
    "allocator_allocated",
    "allocator_frag_bytes",
    "allocator_resident",
    "allocator_rss_bytes",
    "aof_current_size",
    "aof_delayed_fsync",
    "aof_pending_bio_fsync",
    "blocked_clients",
    "clients_in_timeout_table",
    "current_active_defrag_time",
    "current_cow_size",
    "current_eviction_exceeded_time",
    "dump_payload_sanitizations",
    "eventloop_cycles",
    "eventloop_duration_cmd_sum",
    "eventloop_duration_sum",
    "evicted_clients",
    "evicted_keys",
    "evicted_scripts",
    "expire_cycle_cpu_milliseconds",
    "expired_fields",
    "expired_keys",
    "expired_subkeys",
    "expired_time_cap_reached_count",
    "instantaneous_eventloop_cycles_per_sec",
    "instantaneous_input_kbps",
    "instantaneous_input_repl_kbps",
    "instantaneous_ops_per_sec",
    "instantaneous_output_kbps",
    "instantaneous_output_repl_kbps",
    "io_threaded_reads_processed",
    "io_threaded_writes_processed",
    "keyspace_hits",
    "keyspace_misses",
    "lazyfree_pending_objects",
    "lazyfreed_objects",
    "maxmemory",
    "mem_aof_buffer",
    "mem_clients_normal",
    "mem_clients_slaves",
    "mem_cluster_links",
    "mem_fragmentation_bytes",
    "mem_not_counted_for_evict",
    "mem_replication_backlog",
    "mem_total_replication_buffers",
    "rdb_changes_since_last_save",
    "rdb_saves",
    "reply_buffer_expands",
    "reply_buffer_shrinks",
    "rss_overhead_bytes",
    "sync_full",
    "sync_partial_err",
    "sync_partial_ok",
    "total_active_defrag_time",
    "total_commands_processed",
    "total_connections_received",
    "total_error_replies",
    "total_eviction_exceeded_time",
    "total_forks",
    "total_net_input_bytes",
    "total_net_output_bytes",
    "total_net_repl_input_bytes",
    "total_net_repl_output_bytes",
    "total_reads_processed",
    "total_system_memory",
    "total_writes_processed",
    "tracking_total_items",
    "tracking_total_keys",
    "unexpected_error_replies",
    "used_cpu_sys",
    "used_cpu_sys_children",
    "used_cpu_sys_main_thread",
    "used_cpu_user",
    "used_cpu_user_children",
    "used_cpu_user_main_thread",
    "used_memory",
    "used_memory_dataset",
    "used_memory_functions",
    "used_memory_lua",
    "used_memory_overhead",
    "used_memory_peak",
    "used_memory_rss",
    "used_memory_scripts",
    "used_memory_scripts_eval",
    "used_memory_startup",
    "used_memory_vm_eval",
    "used_memory_vm_functions",
    "used_memory_vm_total",
];

/// Fields of which the largest counts: what is so somewhere is so, and what is the same everywhere (scripts and functions
/// that every node holds, clients that every node tracks) is there once.
const MOST: &[&str] = &[
    "active_defrag_running",
    "aof_rewrite_in_progress",
    "aof_rewrite_scheduled",
    "async_loading",
    "expired_stale_perc",
    "latest_fork_usec",
    "loading",
    "number_of_cached_scripts",
    "number_of_functions",
    "number_of_libraries",
    "rdb_bgsave_in_progress",
    "rdb_current_bgsave_time_sec",
    "rdb_last_bgsave_time_sec",
    "tracking_clients",
    "tracking_total_prefixes",
];

/// Fields of which the smallest counts.
const LEAST: &[&str] = &["rdb_last_save_time", "uptime_in_days", "uptime_in_seconds"];

/// Fields that are `ok` only where they are on every primary.
const HEALTH: &[&str] = &["aof_last_bgrewrite_status", "aof_last_write_status", "rdb_last_bgsave_status"];

/// Ratios, made anew of two sums.
const RATIOS: &[(&str, &str, &str)] = &[
    ("allocator_frag_ratio", "allocator_active", "allocator_allocated"),
    ("allocator_rss_ratio", "allocator_resident", "allocator_active"),
    ("mem_fragmentation_ratio", "used_memory_rss", "used_memory"),
    ("rss_overhead_ratio", "used_memory_rss", "allocator_resident"),
    ("used_memory_peak_perc", "used_memory", "used_memory_peak"),
];

/// Prefixes of lines `name:field=number,…` whose numbers are put together, each with the headline of its section; lines
/// that only some nodes have count too.
const GROUPS: &[(&str, &str)] = &[
    ("# Keyspace", "db"),
    ("# Commandstats", "cmdstat_"),
    ("# Errorstats", "errorstat_"),
    ("# Latencystats", "latency_percentiles_usec_"),
];

/// One INFO text of all primaries, without the clients that wait for the end of a pause: they wait here, not at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info(String);

impl Info {
    /// The reply, with so many of them on all workers.
    pub fn reply(&self, waiting: usize, out: &mut Writer<'_>) {
        let Info(info) = self;
        let Some((before, rest)) = info.split_once(BLOCKED).filter(|_| waiting > 0) else {
            return out.verbatim(info.as_bytes());
        };
        let (counted, after) = rest.split_once('\r').unwrap_or((rest, ""));
        let count = counted.parse::<usize>().unwrap_or(0) + waiting;
        out.verbatim(format!("{before}{BLOCKED}{count}\r{after}").as_bytes());
    }
}

impl Proxy {
    /// One INFO text from the replies of all primaries; `None` when one of them is not a text.
    pub(super) fn info(&self, fan: &Fan, parts: &[&[u8]], client: SessionId) -> Option<Info> {
        debug_assert_eq!(fan.asked.len(), parts.len());
        let texts: Vec<&str> =
            parts.iter().map(|part| std::str::from_utf8(text(part)?).ok()).collect::<Option<_>>()?;
        let port = self.sessions.get(client).map_or(0, |session| session.local.port());
        let own = [
            ("redis_mode", "cluster".to_owned()),
            ("role", "master".to_owned()),
            ("tcp_port", port.to_string()),
            ("connected_slaves", "0".to_owned()),
            ("connected_clients", (self.sessions.len() + self.elsewhere).to_string()),
            ("cluster_enabled", "1".to_owned()),
        ];
        Some(Info(merge(&texts, &own)))
    }

    /// INFO while other workers may have clients that wait for the end of a pause: the reply comes when they have told how
    /// many. Whether it is so.
    pub(super) fn gather_info(&mut self, merge: &Merge) -> bool {
        let Some((fan, parts)) = merge.fan().filter(|_| self.pause.is_some() && self.awake > 1) else {
            return false;
        };
        if fan.fold != Fold::Info || parts.iter().any(|part| is_error(part)) {
            return false;
        }
        let Some(info) = self.info(fan, &parts, merge.session) else { return false };
        let (session, seq) = (merge.session, merge.seq);
        self.outputs.push(Output::Gather { what: Gather::Info(info), session, seq });
        true
    }
}

/// INFO NODES and sections: the request for each node, without the word NODES; `None` where it does not ask for that.
pub(super) fn nodes_asked(args: &Args<'_>) -> Option<Vec<u8>> {
    let is_nodes = |word: &&[u8]| word.eq_ignore_ascii_case(b"nodes");
    if !args.iter().skip(1).any(|word| is_nodes(&word)) {
        return None;
    }
    let words: Vec<&[u8]> = args.iter().filter(|word| !is_nodes(word)).collect();
    let mut frame = Vec::new();
    Writer::new(&mut frame, Proto::Two).request(words.into_iter());
    Some(frame)
}

/// The first text, with what all of them come to.
fn merge(texts: &[&str], own: &[(&str, String)]) -> String {
    let mut totals: HashMap<&str, f64> = HashMap::new();
    let mut ill: Vec<&str> = Vec::new();
    let mut groups = Groups::default();
    for (field, value) in texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.split_once(':')) {
        if HEALTH.contains(&field) && value != "ok" {
            ill.push(field);
        }
        if group_of(field, value).is_some() {
            groups.add(field, value);
        } else if let Some(join) = rule(field) {
            let value = value.trim().parse::<f64>().unwrap_or(0.0);
            totals.entry(field).and_modify(|total| *total = join(*total, value)).or_insert(value);
        }
    }
    let mut out = String::new();
    for line in texts.first().copied().unwrap_or_default().lines() {
        let Some((field, value)) = line.split_once(':') else {
            let _ = write!(out, "{line}\r\n");
            groups.write(line, &mut out);
            continue;
        };
        if let Some((_, own)) = own.iter().find(|(name, _)| *name == field) {
            let _ = write!(out, "{field}:{own}\r\n");
        } else if ill.contains(&field) {
            let _ = write!(out, "{field}:err\r\n");
        } else if let Some(total) = totals.get(field) {
            let _ = write!(out, "{field}:{}\r\n", number(*total, decimals(value)));
        } else if let Some(sum) = field.strip_suffix("_human").and_then(|field| totals.get(field)) {
            let _ = write!(out, "{field}:{}\r\n", human_bytes(*sum));
        } else if let Some(ratio) = ratio(field, &totals) {
            let _ = write!(out, "{field}:{ratio}\r\n");
        } else if group_of(field, value).is_none() && !is_replica_line(field) {
            let _ = write!(out, "{line}\r\n");
        }
    }
    out
}

/// How a field's values of two nodes become one.
fn rule(field: &str) -> Option<fn(f64, f64) -> f64> {
    if SUMS.contains(&field) {
        Some(|one, other| one + other)
    } else if MOST.contains(&field) {
        Some(f64::max)
    } else if LEAST.contains(&field) {
        Some(f64::min)
    } else {
        None
    }
}

fn ratio(field: &str, totals: &HashMap<&str, f64>) -> Option<String> {
    let (_, above, below) = RATIOS.iter().find(|(name, ..)| *name == field)?;
    let (above, below) = (totals.get(above)?, totals.get(below).filter(|below| **below > 0.0)?);
    Some(match field.ends_with("_perc") {
        true => format!("{:.2}%", above / below * 100.0),
        false => format!("{:.2}", above / below),
    })
}

/// The headline of the group that a line belongs to.
fn group_of(field: &str, value: &str) -> Option<&'static str> {
    let found = GROUPS.iter().find(|(_, prefix)| field.starts_with(prefix) && value.contains('='));
    found.map(|(headline, _)| *headline)
}

/// Lines about the node's own replicas say nothing about the whole.
fn is_replica_line(field: &str) -> bool {
    field
        .strip_prefix("slave")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty())
}

/// Lines of many numbers, put together by name.
#[derive(Default)]
struct Groups<'a> {
    lines: Vec<Line<'a>>,
    places: HashMap<&'a str, usize>,
}

struct Line<'a> {
    name: &'a str,
    headline: &'static str,
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    name: &'a str,
    value: f64,
    decimals: usize,
}

impl<'a> Line<'a> {
    fn value(&self, name: &str) -> f64 {
        self.fields.iter().find(|field| field.name == name).map_or(0.0, |field| field.value)
    }
}

impl<'a> Groups<'a> {
    fn add(&mut self, name: &'a str, values: &'a str) {
        let Some(headline) = group_of(name, values) else { return };
        let fields: Vec<Field<'a>> = values
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, text)| Field {
                name,
                value: text.trim().parse().unwrap_or(0.0),
                decimals: decimals(text),
            })
            .collect();
        let Some(at) = self.places.get(name).copied() else {
            self.places.insert(name, self.lines.len());
            return self.lines.push(Line { name, headline, fields });
        };
        let other = Line { name, headline, fields };
        let line = &mut self.lines[at];
        let (calls, expires) = (line.value("calls") + other.value("calls"), line.value("expires"));
        let usec = line.value("usec") + other.value("usec");
        let all_expires = expires + other.value("expires");
        for field in other.fields {
            let Some(known) = line.fields.iter_mut().find(|known| known.name == field.name) else {
                line.fields.push(field);
                continue;
            };
            known.value = match field.name {
                "usec_per_call" => usec / calls.max(1.0),
                "avg_ttl" => ((known.value * expires + field.value * (all_expires - expires))
                    / all_expires.max(1.0))
                .floor(),
                name if name.starts_with('p') => known.value.max(field.value), // p50, p99 …
                _ => known.value + field.value,
            };
        }
    }

    /// Behind a section's headline: all lines of its group, whichever node has them.
    fn write(&self, headline: &str, out: &mut String) {
        for line in self.lines.iter().filter(|line| line.headline == headline) {
            let pairs: Vec<String> = line
                .fields
                .iter()
                .map(|field| format!("{}={}", field.name, number(field.value, field.decimals)))
                .collect();
            let _ = write!(out, "{}:{}\r\n", line.name, pairs.join(","));
        }
    }
}

/// How many decimals a number has.
fn decimals(text: &str) -> usize {
    text.trim().split_once('.').map_or(0, |(_, decimals)| decimals.len())
}

fn number(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$}")
}

/// Bytes as the server's `bytesToHuman` writes them.
fn human_bytes(bytes: f64) -> String {
    let steps = [(1024f64.powi(4), "T"), (1024f64.powi(3), "G"), (1024f64.powi(2), "M"), (1024.0, "K")];
    match steps.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.2}{unit}", bytes / size),
        None => format!("{bytes:.0}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::merge;

    #[test]
    fn sums_groups_and_the_rest() {
        let one = "# Server\r\nredis_version:7.0.15\r\ntcp_port:7001\r\n\r\n# Memory\r\nused_memory:1000\r\n\
                   used_memory_human:1000B\r\nused_memory_rss:2000\r\nmem_fragmentation_ratio:2.00\r\n\r\n\
                   # Persistence\r\nrdb_last_save_time:70\r\nrdb_last_bgsave_status:ok\r\nloading:0\r\nnumber_of_functions:2\r\n\r\n\
                   # Replication\r\nslave0:ip=1.2.3.4,port=1\r\n\r\n# Commandstats\r\n\
                   cmdstat_get:calls=1,usec=5,usec_per_call=5.00\r\n\r\n# Errorstats\r\n\r\n# Keyspace\r\n";
        let two = "# Server\r\nredis_version:7.0.15\r\n\r\n# Memory\r\nused_memory:1048\r\nused_memory_human:1.02K\r\n\
                   used_memory_rss:8240\r\n# Persistence\r\nrdb_last_save_time:50\r\nrdb_last_bgsave_status:err\r\n\
                   loading:1\r\nnumber_of_functions:2\r\n\r\n# Commandstats\r\ncmdstat_get:calls=3,usec=8,usec_per_call=2.67\r\n\
                   cmdstat_set:calls=2,usec=8,usec_per_call=4.00\r\n\r\n# Errorstats\r\nerrorstat_ERR:count=2\r\n\r\n\
                   # Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=5\r\n";
        let three = "# Memory\r\nused_memory:0\r\n\r\n# Errorstats\r\nerrorstat_ERR:count=1\r\n\r\n# Keyspace\r\n\
                     db0:keys=40,expires=3,avg_ttl=1\r\n";
        let merged = merge(&[one, two, three], &[("tcp_port", "7010".to_owned())]);
        for line in [
            "redis_version:7.0.15",
            "tcp_port:7010",
            "used_memory:2048",
            "used_memory_human:2.00K",
            "mem_fragmentation_ratio:5.00",
            "rdb_last_save_time:50",
            "rdb_last_bgsave_status:err",
            "loading:1",
            "number_of_functions:2",
            "cmdstat_get:calls=4,usec=13,usec_per_call=3.25",
            "cmdstat_set:calls=2,usec=8,usec_per_call=4.00",
            "errorstat_ERR:count=3",
            "db0:keys=42,expires=4,avg_ttl=2",
        ] {
            assert!(merged.lines().any(|found| found == line), "{line} is missing in\n{merged}");
        }
        assert!(!merged.contains("slave0") && merged.ends_with("\r\n"));
        assert!(merged.lines().filter(|line| line.starts_with("db0")).count() == 1);
    }
}
