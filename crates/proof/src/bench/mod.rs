//! `evenkeel bench`: SET and GET at every value size against any address, with every answer verified.
//!
//! ```text
//! Args ─► Plan ─► Sweep ──order──► Crew (threads) ─► Lane (a connection's closed loop)
//!                   ▲                                   │ Tally: histogram, failures, batches of 1000
//!                   └────────────notes──────────────────┘
//!                   └─► Files: the seed's four files · Report ─► report.json, report.html (page, chart)
//! ```
//! What is decided (keys, figures, page) is pure and apart from what is done (drive, crew, sweep).

mod args;
mod chart;
mod crew;
mod drive;
mod files;
mod keys;
mod page;
mod progress;
mod report;
mod sweep;
mod tally;
mod target;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::machine::Machine;
pub use args::Args;
use args::{Afterwards, Output, Plan};
use crew::Crew;
use drive::Stop;
use files::{Clock, Files};
use keys::Memory;
use progress::Progress;
use report::{Arguments, Ending, Report, Target, Totals};
use sweep::Sweep;
use target::Facts;

use crate::link::{Link, Lost};
use crate::noise::Noise;
use crate::units;

/// Why nothing could be measured, or why it had to be given up.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Not an address.
    #[error("--addr is {0}, expected host:port such as 127.0.0.1:7010")]
    Address(String),
    /// A user without a password.
    #[error("--user is given without a password, expected --password-file or EVENKEEL_PASSWORD")]
    NoPassword,
    /// The password file cannot be read.
    #[error("--password-file {path} cannot be read: {source}", path = path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The password file has nothing in its first line.
    #[error("--password-file {path} has an empty first line, expected the password", path = .0.display())]
    PasswordEmpty(PathBuf),
    /// Nobody answers at the address.
    #[error(
        "cannot connect to {addr}: {reason}; start the service (evenkeel up) or name another with --addr"
    )]
    Connect {
        /// The address.
        addr: String,
        /// What the attempt gave.
        reason: String,
    },
    /// The target does not let us in.
    #[error(
        "{addr} refuses the login: {reason}; give --password-file or EVENKEEL_PASSWORD, and --user if needed"
    )]
    Login {
        /// The address.
        addr: String,
        /// What it answered.
        reason: String,
    },
    /// A result cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// File or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Threads, random numbers or signals cannot be had.
    #[error("cannot start measuring: {0}")]
    System(io::Error),
    /// A thread has ended by a bug.
    #[error("a measuring thread ended too early, expected it to live until the end; please report this")]
    Crew,
}

/// How a run ended, as a script may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was measured and every answer was right.
    Clean,
    /// Everything was measured; some requests failed.
    Failures,
    /// A GET answered a value that was never set there.
    WrongValues,
    /// Stopped early by the user; what was measured is written.
    Stopped,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(match outcome {
            Outcome::Clean => 0,
            Outcome::Failures => 3,
            Outcome::WrongValues => 4,
            Outcome::Stopped => 130,
        })
    }
}

/// Measures as the arguments say and writes the results. Blocks until it is done; it may be called from
/// anywhere, also from within an asynchronous runtime (which it then blocks). From then on the process takes
/// Ctrl-C and SIGTERM as the wish to stop measuring.
pub fn run(args: Args) -> Result<Outcome, BenchError> {
    // A thread of its own, because a runtime cannot wait inside another runtime.
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| measure(&args));
        measuring.join().unwrap_or(Err(BenchError::Crew))
    })
}

fn measure(args: &Args) -> Result<Outcome, BenchError> {
    let clock = Clock::now();
    let started = clock.seconds(Instant::now());
    let password = std::env::var("EVENKEEL_PASSWORD").ok();
    let plan = Plan::new(args, password, &units::compact_time(started))?;
    let seed = getrandom::u64().map_err(|error| BenchError::System(io::Error::other(error)))?;
    let run = format!("{:08x}", seed >> 32);
    let machine = Machine::look();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::System)?;
    let (facts, memory) = greet(&runtime, &plan)?;
    let files = Files::create(&plan.out, plan.client, clock)?;
    let stop = listen_for_stop()?;
    let longest = plan.sizes.last().copied().unwrap_or(0);
    let depth = plan.pipeline;
    let crew = Crew::start(&plan.door, plan.threads, plan.connections, depth).map_err(BenchError::System)?;
    let progress = Progress::new(plan.time * 2 * plan.sizes.len() as u32, plan.output);
    progress.say(&introduction(&plan, &facts));
    let noise = Arc::new(Noise::new(seed, longest));
    let (sizes, remarks) = (Vec::new(), first_remarks(&facts));
    let mut sweep =
        Sweep { plan: &plan, run: &run, noise, crew, files, progress, stop, memory, sizes, remarks };
    let swept = sweep.run(&runtime);
    sweep.progress.finish();
    let closed = sweep.files.finish();
    swept.and(closed)?;
    let ending = if sweep.stopped() { Ending::Stopped } else { Ending::Complete };
    let Sweep { crew, files, progress, sizes, mut remarks, .. } = sweep;
    crew.end();
    let totals = Totals::of(&sizes);
    remarks.extend(busy_generator(&plan, &sizes));
    remarks.extend(sent_elsewhere(&totals));
    let report = Report {
        schema: 1,
        evenkeel: env!("CARGO_PKG_VERSION").to_owned(),
        run,
        client: plan.client,
        started: units::timestamp(started),
        ended: units::timestamp(clock.seconds(Instant::now())),
        ending,
        target: Target { addr: plan.door.addr.clone(), facts },
        machine,
        arguments: arguments(&plan),
        method: report::method(),
        remarks,
        totals,
        sizes,
    };
    let path = files.report(&report, &page::page(&report))?;
    conclude(&plan, &progress, &report, &path);
    Ok(outcome(&report))
}

/// Connects once before anything is written, so that a wrong address or password is said at once.
fn greet(runtime: &Runtime, plan: &Plan) -> Result<(Facts, Option<Memory>), BenchError> {
    let addr = &plan.door.addr;
    let failed = |lost: Lost| match lost {
        Lost::Refused(reason) => BenchError::Login { addr: addr.clone(), reason },
        Lost::Connect(_) | Lost::Closed | Lost::Socket(_) | Lost::Silent(_) | Lost::Garbage(_) => {
            BenchError::Connect { addr: addr.clone(), reason: lost.to_string() }
        }
    };
    runtime.block_on(async {
        let patience = plan.door.patience;
        let mut link = Link::open(&plan.door, 0).await.map_err(failed)?;
        if let Err(reason) = target::admits(&mut link, patience).await.map_err(failed)? {
            return Err(BenchError::Login { addr: addr.clone(), reason });
        }
        // A target that closes on INFO can still be measured; then less is known about it.
        Ok(target::ask(&mut link, patience).await.unwrap_or_default())
    })
}

/// Counts Ctrl-C and SIGTERM.
fn listen_for_stop() -> Result<Stop, BenchError> {
    let stop: Stop = Arc::new(AtomicU8::new(0));
    let counted = Arc::clone(&stop);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::System)?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let listen = |kind| signal(kind).map_err(BenchError::System);
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    let listening = move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
    };
    std::thread::Builder::new()
        .name("bench-signals".to_owned())
        .spawn(listening)
        .map_err(BenchError::System)?;
    Ok(stop)
}

fn introduction(plan: &Plan, facts: &Facts) -> String {
    let server = if facts.server.is_empty() { "unknown server" } else { &facts.server };
    format!(
        "{} ({server}{}{}), {} connection(s), pipeline {}, {} thread(s), {} s a phase, into {}",
        plan.door.addr,
        if facts.mode.is_empty() { "" } else { ", " },
        facts.mode,
        plan.connections,
        plan.pipeline,
        plan.threads,
        plan.time.as_secs_f64(),
        plan.out.display()
    )
}

fn first_remarks(facts: &Facts) -> Vec<String> {
    let unknown = "The target does not say its maxmemory, so only --max-data bounds the keys on it.";
    facts.max_memory_bytes.is_none().then(|| unknown.to_owned()).into_iter().collect()
}

/// A generator that used all of its threads has measured itself.
fn busy_generator(plan: &Plan, sizes: &[report::SizeReport]) -> Option<String> {
    let limit = 0.9 * plan.threads as f64;
    let busy: Vec<_> = sizes
        .iter()
        .filter(|size| [&size.set, &size.get].into_iter().flatten().any(|one| one.generator_cores > limit))
        .map(|size| units::bytes(size.bytes as u64))
        .collect();
    (!busy.is_empty()).then(|| {
        format!(
            "The load generator itself used over 90% of its {} thread(s) at {}: the target may be faster than \
             shown there, try a larger --threads.",
            plan.threads,
            busy.join(", ")
        )
    })
}

/// A node of a cluster has answered for itself only.
fn sent_elsewhere(totals: &Totals) -> Option<String> {
    totals.errors_by_kind.contains_key("MOVED").then(|| {
        "The target sends requests elsewhere (MOVED): it is one node of a cluster, which a plain client cannot use \
         as a whole. Measure the address of a gateway instead."
            .to_owned()
    })
}

fn arguments(plan: &Plan) -> Arguments {
    Arguments {
        seconds: plan.time.as_secs_f64(),
        connections: plan.connections,
        pipeline: plan.pipeline,
        threads: plan.threads,
        sizes: plan.sizes.clone(),
        max_data_bytes: plan.max_data,
        timeout_seconds: plan.door.patience.as_secs_f64(),
        keep: plan.afterwards == Afterwards::Keep,
    }
}

fn conclude(plan: &Plan, progress: &Progress, report: &Report, page: &std::path::Path) {
    let totals = &report.totals;
    progress.say(&format!(
        "{} requests, {} failed{}; open {}",
        units::grouped(totals.requests),
        units::grouped(totals.errors),
        if report.ending == Ending::Stopped { ", stopped early" } else { "" },
        page.display()
    ));
    for remark in &report.remarks {
        progress.say(remark);
    }
    for (kind, failures) in &totals.errors_by_kind {
        progress.say(&format!("  {} × {kind}, first: {}", units::grouped(failures.count), failures.example));
    }
    if totals.wrong_values > 0 {
        progress.say(&format!(
            "WRONG VALUES: {} answers to GET were not what had been set",
            units::grouped(totals.wrong_values)
        ));
    }
    if plan.output == Output::Json {
        let json = serde_json::to_string_pretty(report).expect("a report has only keys that JSON takes");
        // A reader that has gone away has its reasons; the files are written.
        let _ = io::Write::write_all(&mut io::stdout(), format!("{json}\n").as_bytes());
    }
}

fn outcome(report: &Report) -> Outcome {
    if report.totals.wrong_values > 0 {
        Outcome::WrongValues
    } else if report.ending == Ending::Stopped {
        Outcome::Stopped
    } else if report.totals.errors > 0 {
        Outcome::Failures
    } else {
        Outcome::Clean
    }
}
