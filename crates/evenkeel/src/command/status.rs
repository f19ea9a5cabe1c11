//! `evenkeel status`: what control sees, as a table or as JSON. The page is asked; what control wrote to disk last
//! stands in for a page that does not answer.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use comfy_table::{Cell, Color, ContentArrangement, Table};
use evenkeel_control::home::Home;
use evenkeel_control::status::{Health, Node, Role, Status};

use super::Outcome;
use crate::cli::StatusArgs;
use crate::run;
use crate::say::{complain, say};

/// Nothing runs there.
pub(super) const NOT_RUNNING: u8 = 2;
/// How long the page may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A status older than this is no status, in milliseconds.
const STALE: u64 = 10_000;

pub(crate) fn status(args: &StatusArgs) -> Outcome {
    let dir = run::dir(args.dir.as_deref())?;
    let Some(pid) = Home::holder(&dir) else {
        if args.json {
            say(format_args!("null"));
        }
        complain(format_args!("not running in {}: start it with `evenkeel up`", dir.display()));
        return Ok(ExitCode::from(NOT_RUNNING));
    };
    let status = ask(&dir).or_else(|| read(&dir));
    let status = status.ok_or_else(|| format!("evenkeel with process id {pid} has not said anything yet"))?;
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    if now > status.at_ms + STALE {
        let silent = (now - status.at_ms) / 1_000;
        return Err(format!("evenkeel with process id {pid} has said nothing for {silent} s").into());
    }
    if args.json {
        say(format_args!("{}", serde_json::to_string_pretty(&status)?));
    } else {
        show(&status, pid);
    }
    Ok(match status.health {
        Health::Ok => ExitCode::SUCCESS,
        Health::Degraded | Health::Down | Health::Starting => ExitCode::FAILURE,
    })
}

/// The status of this moment, from the page; it is true even where the disk is full.
fn ask(dir: &Path) -> Option<Status> {
    let (page, secrets) = (Home::page(dir)?, Home::secrets_of(dir)?);
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None).build();
    let url = format!("http://evenkeel:{}@{page}/api/status", secrets.web_password);
    let mut answer = ureq::Agent::new_with_config(config).get(url).call().ok()?;
    serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
}

/// The status that control wrote last, if it wrote one.
pub(crate) fn read(dir: &Path) -> Option<Status> {
    serde_json::from_slice(&std::fs::read(Home::status_path(dir)).ok()?).ok()
}

fn show(status: &Status, pid: u32) {
    let because = if status.because.is_empty() { String::new() } else { format!(": {}", status.because) };
    say(format_args!("{}{because}", word(status.health)));
    say(format_args!(
        "{} of 16384 slots served, {}, evenkeel {} (process {pid})",
        status.slots_served, status.server, status.version
    ));
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["NODE", "ADDRESS", "ROLE", "SLOTS", "KEYS", "MEMORY", "LAG", "PID", "HEALTH"]);
    for node in &status.nodes {
        table.add_row(row(node));
    }
    say(format_args!("\n{table}"));
    for gateway in &status.gateways {
        let because =
            if gateway.because.is_empty() { String::new() } else { format!(" ({})", gateway.because) };
        say(format_args!(
            "\ngateway {}: {}{because}, {:.0} requests/s",
            gateway.addr,
            word(gateway.health),
            gateway.requests_per_s
        ));
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
