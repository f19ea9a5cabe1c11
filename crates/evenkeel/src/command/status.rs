//! `evenkeel status`: what control saw last, as a table or as JSON.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use comfy_table::{Cell, Color, ContentArrangement, Table};
use evenkeel_control::home::Home;
use evenkeel_control::status::{Health, Node, Role, Status};

use super::Outcome;
use crate::cli::StatusArgs;
use crate::run;

/// Nothing runs there.
const NOT_RUNNING: u8 = 2;
/// A status older than this is no status, in milliseconds.
const STALE: u64 = 10_000;

pub(crate) fn status(args: &StatusArgs) -> Outcome {
    let dir = run::dir(args.dir.as_deref())?;
    let Some(pid) = Home::holder(&dir) else {
        if args.json {
            println!("null");
        }
        eprintln!("evenkeel: not running in {}: start it with `evenkeel up`", dir.display());
        return Ok(ExitCode::from(NOT_RUNNING));
    };
    let status =
        read(&dir).ok_or_else(|| format!("evenkeel with process id {pid} has not said anything yet"))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        show(&status, pid);
    }
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    if now > status.at_ms + STALE {
        return Err(format!(
            "evenkeel with process id {pid} has said nothing for {} s",
            (now - status.at_ms) / 1_000
        )
        .into());
    }
    Ok(match status.health {
        Health::Ok => ExitCode::SUCCESS,
        Health::Degraded | Health::Down | Health::Starting => ExitCode::FAILURE,
    })
}

/// The status that control wrote last, if it wrote one.
pub(crate) fn read(dir: &Path) -> Option<Status> {
    serde_json::from_slice(&std::fs::read(Home::status_path(dir)).ok()?).ok()
}

fn show(status: &Status, pid: u32) {
    let because = if status.because.is_empty() { String::new() } else { format!(": {}", status.because) };
    println!("{}{because}", word(status.health));
    println!(
        "{} of 16384 slots served, {}, evenkeel {} (process {pid})",
        status.slots_served, status.server, status.version
    );
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["NODE", "ADDRESS", "ROLE", "SLOTS", "KEYS", "MEMORY", "LAG", "PID", "HEALTH"]);
    for node in &status.nodes {
        table.add_row(row(node));
    }
    println!("\n{table}");
    for gateway in &status.gateways {
        let because =
            if gateway.because.is_empty() { String::new() } else { format!(" ({})", gateway.because) };
        println!(
            "\ngateway {}: {}{because}, {:.0} requests/s",
            gateway.addr,
            word(gateway.health),
            gateway.requests_per_s
        );
    }
}

fn row(node: &Node) -> Vec<Cell> {
    let role = match (node.role, &node.replica_of) {
        (Role::Primary, _) => "primary".to_owned(),
        (Role::Replica, Some(primary)) => format!("replica of {primary}"),
        (Role::Replica, None) => "replica".to_owned(),
        (Role::Unknown, _) => "-".to_owned(),
    };
    let slots: Vec<String> = node.slots.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    let or_dash =
        |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
    let health = match node.because.as_str() {
        "" => word(node.health).to_owned(),
        because => format!("{}: {because}", word(node.health)),
    };
    let cells = [
        node.name.clone(),
        node.addr.clone(),
        role,
        or_dash(Some(slots.join(" "))),
        node.keys.to_string(),
        format!("{:.1} MiB", node.memory.0 as f64 / f64::from(1 << 20)),
        or_dash(node.lag_bytes.map(|lag| lag.to_string())),
        or_dash(node.pid.map(|pid| pid.to_string())),
    ];
    let mut row: Vec<Cell> = cells.into_iter().map(Cell::new).collect();
    row.push(coloured(health, node.health));
    row
}

fn coloured(text: String, health: Health) -> Cell {
    if !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return Cell::new(text);
    }
    let colour = match health {
        Health::Ok => Color::Green,
        Health::Degraded | Health::Starting => Color::Yellow,
        Health::Down => Color::Red,
    };
    Cell::new(text).fg(colour)
}

pub(crate) fn word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Down => "down",
        Health::Starting => "starting",
    }
}
