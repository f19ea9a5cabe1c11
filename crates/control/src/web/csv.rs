//! `/stats;csv`: the columns of HAProxy 2.6's CSV, so that the scrapers people have read it.
//!
//! A gateway is a FRONTEND, a node is a server of the backend `redis`. What is known and true is filled in,
//! everything else is left empty: an empty field means "not reported" to those scrapers.

use std::collections::HashMap;
use std::fmt::Write as _;

use evenkeel_core::metric::Metric;

use super::health;
use crate::status::{Gateway, Health, Node, Role, Status};

/// The columns of every HAProxy 2.6, in its order. Module columns (`ssl_…`, `h2_…`) do not apply.
const COLUMNS: &[&str] = &[
    "pxname",
    "svname",
    "qcur",
    "qmax",
    "scur",
    "smax",
    "slim",
    "stot",
    "bin",
    "bout",
    "dreq",
    "dresp",
    "ereq",
    "econ",
    "eresp",
    "wretr",
    "wredis",
    "status",
    "weight",
    "act",
    "bck",
    "chkfail",
    "chkdown",
    "lastchg",
    "downtime",
    "qlimit",
    "pid",
    "iid",
    "sid",
    "throttle",
    "lbtot",
    "tracked",
    "type",
    "rate",
    "rate_lim",
    "rate_max",
    "check_status",
    "check_code",
    "check_duration",
    "hrsp_1xx",
    "hrsp_2xx",
    "hrsp_3xx",
    "hrsp_4xx",
    "hrsp_5xx",
    "hrsp_other",
    "hanafail",
    "req_rate",
    "req_rate_max",
    "req_tot",
    "cli_abrt",
    "srv_abrt",
    "comp_in",
    "comp_out",
    "comp_byp",
    "comp_rsp",
    "lastsess",
    "last_chk",
    "last_agt",
    "qtime",
    "ctime",
    "rtime",
    "ttime",
    "agent_status",
    "agent_code",
    "agent_duration",
    "check_desc",
    "agent_desc",
    "check_rise",
    "check_fall",
    "check_health",
    "agent_rise",
    "agent_fall",
    "agent_health",
    "addr",
    "cookie",
    "mode",
    "algo",
    "conn_rate",
    "conn_rate_max",
    "conn_tot",
    "intercepted",
    "dcon",
    "dses",
    "wrew",
    "connect",
    "reuse",
    "cache_lookups",
    "cache_hits",
    "srv_icur",
    "src_ilim",
    "qtime_max",
    "ctime_max",
    "rtime_max",
    "ttime_max",
    "eint",
    "idle_conn_cur",
    "safe_conn_cur",
    "used_conn_cur",
    "need_conn_est",
    "uweight",
    "agg_server_status",
    "agg_server_check_status",
    "agg_check_status",
];
/// Name of the backend that the nodes form.
const BACKEND: &str = "redis";
/// HAProxy's numbers for the kinds of rows.
const FRONTEND_TYPE: u64 = 0;
const BACKEND_TYPE: u64 = 1;
const SERVER_TYPE: u64 = 2;

/// The fields of one row by column.
type Row = HashMap<&'static str, String>;

/// The whole answer.
pub(super) fn table(status: &Status, now_ms: u64) -> String {
    let mut text = String::from("# ");
    for column in COLUMNS {
        text.push_str(column);
        text.push(',');
    }
    text.push('\n');
    let gateways = status.gateways.iter().enumerate().map(|(at, gateway)| frontend(at, gateway));
    let backend_id = status.gateways.len() as u64 + 1;
    let nodes = status.nodes.iter().enumerate().map(|(at, node)| server(at, backend_id, node));
    for row in gateways.chain(nodes).chain([backend(status, now_ms, backend_id)]) {
        debug_assert!(row.keys().all(|column| COLUMNS.contains(column)), "{row:?}");
        for column in COLUMNS {
            field(&mut text, row.get(column).map_or("", String::as_str));
        }
        text.push('\n');
    }
    text
}

/// Quoted where it must be, as RFC 4180 and HAProxy do; a line stays a line.
fn field(text: &mut String, value: &str) {
    let value = health::one_line(value);
    let written = if value.contains([',', '"']) {
        write!(text, "\"{}\",", value.replace('"', "\"\""))
    } else {
        write!(text, "{value},")
    };
    written.expect("writing to a string does not fail");
}

fn row(fields: &[(&'static str, &dyn std::fmt::Display)]) -> Row {
    fields.iter().map(|(column, value)| (*column, value.to_string())).collect()
}

fn frontend(at: usize, gateway: &Gateway) -> Row {
    let name = format!("gateway-{}", gateway.addr);
    let open = match gateway.health {
        Health::Ok | Health::Degraded => "OPEN",
        Health::Down | Health::Starting => "STOP",
    };
    let mut fields = row(&[
        ("pxname", &name),
        ("svname", &"FRONTEND"),
        ("status", &open),
        ("pid", &1),
        ("iid", &(at + 1)),
        ("sid", &0),
        ("type", &FRONTEND_TYPE),
        ("mode", &"tcp"),
        ("addr", &gateway.addr),
    ]);
    let Some(metrics) = &gateway.metrics else { return fields };
    let of = |metric: Metric| metrics.values.get(metric.name()).copied().unwrap_or(0);
    fields.extend(row(&[
        ("scur", &of(Metric::Clients)),
        ("stot", &of(Metric::ClientsTotal)),
        ("bin", &of(Metric::ClientBytesIn)),
        ("bout", &of(Metric::ClientBytesOut)),
        ("ereq", &of(Metric::ProtocolErrors)),
        ("req_rate", &whole(gateway.requests_per_s)),
        ("req_tot", &of(Metric::Requests)),
        ("conn_tot", &of(Metric::ClientsTotal)),
        ("dcon", &of(Metric::ClientsRefused)),
    ]));
    fields
}

fn server(at: usize, backend_id: u64, node: &Node) -> Row {
    let (active, backup) = match node.role {
        Role::Primary => (1, 0),
        Role::Replica => (0, 1),
        Role::Unknown => (0, 0),
    };
    let mut fields = row(&[
        ("pxname", &BACKEND),
        ("svname", &node.name),
        ("status", &if is_up(node.health) { "UP" } else { "DOWN" }),
        ("weight", &1),
        ("act", &active),
        ("bck", &backup),
        ("pid", &1),
        ("iid", &backend_id),
        ("sid", &(at + 1)),
        ("type", &SERVER_TYPE),
        ("last_chk", &node.because),
        ("addr", &node.addr),
        ("mode", &"tcp"),
    ]);
    if is_up(node.health) {
        fields.extend(row(&[("scur", &node.clients), ("req_rate", &whole(node.ops_per_s))]));
    }
    fields
}

fn backend(status: &Status, now_ms: u64, backend_id: u64) -> Row {
    let up = |wanted: fn(Role) -> bool| {
        status.nodes.iter().filter(|node| wanted(node.role) && is_up(node.health)).count()
    };
    let serves = health::check(status, now_ms).is_ok();
    let metrics = || status.gateways.iter().filter_map(|gateway| gateway.metrics.as_ref());
    let total = |metric: Metric| -> u64 {
        metrics()
            .filter_map(|metrics| metrics.values.get(metric.name()))
            .fold(0, |sum, value| sum.saturating_add(*value))
    };
    let mut fields = row(&[
        ("pxname", &BACKEND),
        ("svname", &"BACKEND"),
        ("status", &if serves { "UP" } else { "DOWN" }),
        ("act", &up(|role| matches!(role, Role::Primary))),
        ("bck", &up(|role| matches!(role, Role::Replica))),
        ("pid", &1),
        ("iid", &backend_id),
        ("sid", &0),
        ("type", &BACKEND_TYPE),
        ("mode", &"tcp"),
    ]);
    if metrics().next().is_some() {
        fields.extend(row(&[
            ("qcur", &total(Metric::ParkedNow)),
            ("scur", &total(Metric::Upstreams)),
            ("stot", &total(Metric::UpstreamConnects)),
            ("bin", &total(Metric::NodeBytesOut)),
            ("bout", &total(Metric::NodeBytesIn)),
            ("econ", &total(Metric::UpstreamLost)),
            ("wretr", &total(Metric::Retries)),
            ("wredis", &total(Metric::Redirects)),
            ("req_tot", &total(Metric::Requests)),
        ]));
    }
    fields
}

fn is_up(health: Health) -> bool {
    match health {
        Health::Ok | Health::Degraded => true,
        Health::Down | Health::Starting => false,
    }
}

/// HAProxy reports rates as whole numbers.
fn whole(rate: f64) -> u64 {
    rate.round().max(0.0) as u64
}
