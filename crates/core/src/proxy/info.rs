//! INFO of all primaries as one text: the first one's lines, with sums where sums are right and the gateway's own
//! facts where a node's would mislead.

use super::Proxy;
use crate::resp::text;
use std::collections::HashMap;
use std::fmt::Write;

/// Fields that are added up over the primaries.
const SUMS: &[&str] = &[
    "blocked_clients",
    "evicted_keys",
    "expired_keys",
    "instantaneous_input_kbps",
    "instantaneous_ops_per_sec",
    "instantaneous_output_kbps",
    "io_threaded_reads_processed",
    "io_threaded_writes_processed",
    "keyspace_hits",
    "keyspace_misses",
    "lazyfree_pending_objects",
    "lazyfreed_objects",
    "maxmemory",
    "mem_clients_normal",
    "number_of_cached_scripts",
    "number_of_functions",
    "number_of_libraries",
    "rdb_changes_since_last_save",
    "total_commands_processed",
    "total_connections_received",
    "total_error_replies",
    "total_net_input_bytes",
    "total_net_output_bytes",
    "total_reads_processed",
    "total_system_memory",
    "total_writes_processed",
    "used_cpu_sys",
    "used_cpu_user",
    "used_memory",
    "used_memory_dataset",
    "used_memory_lua",
    "used_memory_overhead",
    "used_memory_peak",
    "used_memory_rss",
    "used_memory_scripts",
    "used_memory_vm_eval",
    "used_memory_vm_total",
];

/// Prefixes of lines `name:field=number,…` whose numbers are added up; lines that only some nodes have count too.
const GROUPS: &[&str] = &["db", "cmdstat_", "errorstat_"];

impl Proxy {
    /// One INFO text from the replies of all primaries; `None` when one of them is not a text.
    pub(super) fn info(&self, parts: &[&[u8]]) -> Option<String> {
        let texts: Vec<&str> =
            parts.iter().map(|part| std::str::from_utf8(text(part)?).ok()).collect::<Option<_>>()?;
        let mut merged = merge(&texts);
        let own = [
            ("redis_mode", "cluster".to_owned()),
            ("role", "master".to_owned()),
            ("connected_slaves", "0".to_owned()),
            ("connected_clients", self.sessions.len().to_string()),
            ("cluster_enabled", "1".to_owned()),
        ];
        for (field, value) in own {
            replace(&mut merged, field, &value);
        }
        Some(merged)
    }
}

/// The first text with the sums of all.
fn merge(texts: &[&str]) -> String {
    let mut sums: HashMap<&str, f64> = HashMap::new();
    let mut groups: Vec<(&str, Vec<(&str, f64)>)> = Vec::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let Some((field, value)) = line.split_once(':') else { continue };
        if SUMS.contains(&field) {
            *sums.entry(field).or_default() += value.trim().parse::<f64>().unwrap_or(0.0);
        } else if is_group(field, value) {
            add_group(&mut groups, field, value);
        }
    }
    let mut out = String::new();
    let mut written: Vec<&str> = Vec::new();
    for line in texts.first().copied().unwrap_or_default().lines() {
        let Some((field, value)) = line.split_once(':') else {
            let _ = write!(out, "{line}\r\n");
            push_new_groups(&mut out, line, &groups, &mut written);
            continue;
        };
        if let Some(sum) = sums.get(field) {
            let _ = write!(out, "{field}:{}\r\n", number(*sum, value));
        } else if let Some(human) = field.strip_suffix("_human")
            && let Some(sum) = sums.get(human)
        {
            let _ = write!(out, "{field}:{}\r\n", human_bytes(*sum));
        } else if !is_group(field, value) && !is_replica_line(field) {
            let _ = write!(out, "{line}\r\n");
        }
    }
    out
}

/// Behind a section's headline: all lines of its group, whichever node has them.
fn push_new_groups<'a>(
    out: &mut String,
    headline: &str,
    groups: &[(&'a str, Vec<(&'a str, f64)>)],
    written: &mut Vec<&'a str>,
) {
    let prefix = match headline {
        "# Keyspace" => "db",
        "# Commandstats" => "cmdstat_",
        "# Errorstats" => "errorstat_",
        _ => return,
    };
    for (field, values) in groups.iter().filter(|(field, _)| field.starts_with(prefix)) {
        if written.contains(field) {
            continue;
        }
        written.push(field);
        let pairs: Vec<String> =
            values.iter().map(|(key, value)| format!("{key}={}", number(*value, ""))).collect();
        let _ = write!(out, "{field}:{}\r\n", pairs.join(","));
    }
}

fn is_group(field: &str, value: &str) -> bool {
    value.contains('=') && GROUPS.iter().any(|group| field.starts_with(group))
}

/// Lines about the node's own replicas say nothing about the whole.
fn is_replica_line(field: &str) -> bool {
    field
        .strip_prefix("slave")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty())
}

fn add_group<'a>(groups: &mut Vec<(&'a str, Vec<(&'a str, f64)>)>, field: &'a str, value: &'a str) {
    let at = groups.iter().position(|(known, _)| *known == field).unwrap_or_else(|| {
        groups.push((field, Vec::new()));
        groups.len() - 1
    });
    for (key, value) in value.split(',').filter_map(|pair| pair.split_once('=')) {
        let value: f64 = value.trim().parse().unwrap_or(0.0);
        match groups[at].1.iter_mut().find(|(known, _)| *known == key) {
            // An average over nodes: the largest is the honest one to show without their weights.
            Some((_, sum)) if key.contains("avg") || key.contains("per_call") => *sum = sum.max(value),
            Some((_, sum)) => *sum += value,
            None => groups[at].1.push((key, value)),
        }
    }
}

/// A number with as many decimals as its model has.
fn number(value: f64, model: &str) -> String {
    match model.trim().split_once('.') {
        Some((_, decimals)) => format!("{value:.*}", decimals.len()),
        None if value.fract() != 0.0 => format!("{value:.2}"),
        None => format!("{value:.0}"),
    }
}

/// Bytes as the server's `bytesToHuman` writes them.
fn human_bytes(bytes: f64) -> String {
    let steps = [(1024f64.powi(4), "T"), (1024f64.powi(3), "G"), (1024f64.powi(2), "M"), (1024.0, "K")];
    match steps.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.2}{unit}", bytes / size),
        None => format!("{bytes:.0}B"),
    }
}

fn replace(info: &mut String, field: &str, value: &str) {
    let lines: Vec<String> = info
        .lines()
        .map(|line| match line.split_once(':') {
            Some((name, _)) if name == field => format!("{field}:{value}"),
            _ => line.to_owned(),
        })
        .collect();
    *info = lines.iter().map(|line| format!("{line}\r\n")).collect();
}

#[cfg(test)]
mod tests {
    use super::merge;

    #[test]
    fn sums_groups_and_the_rest() {
        let one = "# Server\r\nredis_version:7.0.15\r\n\r\n# Memory\r\nused_memory:1000\r\nused_memory_human:1000B\r\n\
                   \r\n# Replication\r\nslave0:ip=1.2.3.4,port=1\r\n\r\n# Keyspace\r\n";
        let two = "# Server\r\nredis_version:7.0.15\r\n\r\n# Memory\r\nused_memory:1048\r\nused_memory_human:1.02K\r\n\
                   \r\n# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=5\r\n";
        let three = "# Memory\r\nused_memory:0\r\n\r\n# Keyspace\r\ndb0:keys=40,expires=0,avg_ttl=0\r\n";
        let merged = merge(&[one, two, three]);
        for line in [
            "redis_version:7.0.15",
            "used_memory:2048",
            "used_memory_human:2.00K",
            "db0:keys=42,expires=1,avg_ttl=5",
        ] {
            assert!(merged.lines().any(|found| found == line), "{line} is missing in\n{merged}");
        }
        assert!(!merged.contains("slave0") && merged.ends_with("\r\n"));
    }
}
