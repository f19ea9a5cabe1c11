//! `evenkeel failover`, `restart` and `accept-loss`: hand an order to the control that runs, and follow it.
//!
//! Owns the talk over the control socket. An order belongs to control: it goes on when this command is stopped.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use evenkeel_control::door::{self, Refusal, Report};
use evenkeel_control::home::Home;
use evenkeel_control::orders::State;
use evenkeel_core::plan::Request;

use super::Outcome;
use super::status::NOT_RUNNING;
use crate::cli::OrderArgs;
use crate::run;
use crate::say::{complain, say};

/// How often control is asked how far it is.
const EVERY: Duration = Duration::from_millis(100);
/// How long one answer may take, and how long control may be gone, e.g. because it is being replaced.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const LONGEST: u64 = 16 << 20;

pub(crate) fn order(args: &OrderArgs, request: &Request) -> Outcome {
    let dir = run::dir(args.dir.as_deref())?;
    if Home::holder(&dir).is_none() {
        complain(format_args!("not running in {}: start it with `evenkeel up`", dir.display()));
        return Ok(ExitCode::from(NOT_RUNNING));
    }
    let begun = Instant::now();
    let given = talk(&dir, "POST", "/orders", &serde_json::to_vec(request)?);
    let mut report = read(given.map_err(|error| format!("control does not take orders: {error}"))?)?;
    let mut told = 0;
    while report.account.state == State::Open && !args.no_wait {
        told = tell(args, &report, told);
        std::thread::sleep(EVERY);
        report = again(&dir, report.account.order.id)?;
    }
    tell(args, &report, told);
    let (id, because) = (report.account.order.id, &report.account.because);
    if args.json {
        say(format_args!("{}", serde_json::to_string_pretty(&report)?));
    }
    Ok(match report.account.state {
        State::Open => {
            if !args.json {
                say(format_args!("order {id} is taken"));
            }
            ExitCode::SUCCESS
        }
        State::Done => {
            if !args.json {
                say(format_args!("done after {:.1} s: {because}", begun.elapsed().as_secs_f64()));
            }
            ExitCode::SUCCESS
        }
        State::Failed => {
            complain(format_args!("order {id} is given up: {because}"));
            ExitCode::FAILURE
        }
    })
}

/// Says what has happened since the last time; returns how many events were said.
fn tell(args: &OrderArgs, report: &Report, told: usize) -> usize {
    if !args.json {
        for event in report.events.iter().skip(told) {
            let because =
                if event.because.is_empty() { String::new() } else { format!(": {}", event.because) };
            say(format_args!("{} {}{because}", event.subject, event.what));
        }
    }
    report.events.len().max(told)
}

/// Asks how far an order is; control may be gone for a moment.
fn again(dir: &Path, id: u64) -> Result<Report, String> {
    let begun = Instant::now();
    loop {
        match talk(dir, "GET", &format!("/orders/{id}"), b"") {
            Ok(answer) => return read(answer),
            Err(error) if begun.elapsed() > PATIENCE => {
                return Err(format!(
                    "control has gone away ({error}); order {id} is kept and goes on when it runs again"
                ));
            }
            Err(_) => std::thread::sleep(EVERY),
        }
    }
}

/// One request and its answer: the code and the body.
fn talk(dir: &Path, method: &str, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = door::connect(dir)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: control\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    let strange = || io::Error::other("its answer is not HTTP");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(strange)?;
    let code = answer.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    Ok((code.ok_or_else(strange)?, answer.split_off(end + 4)))
}

fn read((code, body): (u16, Vec<u8>)) -> Result<Report, String> {
    if code == 200 {
        return serde_json::from_slice(&body)
            .map_err(|error| format!("control's answer is not understood: {error}"));
    }
    match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) => Err(refusal.error),
        Err(_) => Err(format!("control answers {code}: {}", String::from_utf8_lossy(&body).trim())),
    }
}
