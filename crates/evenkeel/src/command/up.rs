//! `evenkeel up`: the whole service with one command.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use evenkeel_control::engine::Lifetime;
use evenkeel_control::home::Home;
use evenkeel_control::server::{Server, ServerError};
use evenkeel_control::status::{Health, Status};
use evenkeel_core::config::Config;

use super::Outcome;
use super::status::{read, word};
use crate::cli::UpArgs;
use crate::install;
use crate::progress::Progress;
use crate::run::{self, Parts, Service};
use crate::say::say;

/// How long `up --detach` waits for the service to become healthy.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long it waits for servers that run already: they may have been left in the middle of a restart.
const SETTLING: Duration = Duration::from_secs(15);

pub(crate) fn up(args: &UpArgs) -> Outcome {
    let config = run::config(args.config.as_deref())?;
    let dir = run::dir(args.dir.as_deref())?;
    let server = server(args, &config)?;
    if args.detach {
        return detach(args, &config, &dir);
    }
    let lifetime = if args.in_background {
        // a session of its own: closing the terminal must not reach it
        let _ = rustix::process::setsid();
        Lifetime::Detached
    } else {
        Lifetime::WithUs
    };
    let home = Home::open(&dir)?;
    run::runtime()?.block_on(foreground(&config, home, server, lifetime))
}

async fn foreground(config: &Config, home: Home, server: Server, lifetime: Lifetime) -> Outcome {
    say(format_args!("{} in {}", server.title(), home.dir().display()));
    let dir = home.dir().to_owned();
    let begun = Instant::now();
    let service = Service::start(config, home, server, lifetime, Parts::All).await?;
    let mut told = Box::pin(run::told_to_stop());
    let mut status = service.status();
    let mut progress = Progress::begin();
    loop {
        let seen = status.borrow_and_update().clone();
        progress.show(&seen);
        if seen.health != Health::Starting {
            progress.end();
            say(format_args!("{}", welcome(config, &dir, &seen, begun.elapsed())));
            break;
        }
        tokio::select! {
            biased;
            () = &mut told => {
                progress.end();
                say(format_args!("stopping"));
                service.stop().await;
                return Ok(ExitCode::SUCCESS);
            }
            changed = status.changed() => if changed.is_err() { break },
        }
    }
    told.await;
    say(format_args!("stopping: requests in flight are finished and data is saved"));
    service.stop().await;
    say(format_args!("stopped"));
    Ok(ExitCode::SUCCESS)
}

/// Finds the server program; where there is none, offers to install it.
fn server(args: &UpArgs, config: &Config) -> Result<Server, Box<dyn std::error::Error>> {
    match Server::find(&config.cluster.server) {
        Ok(server) => Ok(server),
        Err(error @ ServerError::Missing { .. }) => {
            install::offer(&error, args.install_server)?;
            Ok(Server::find(&config.cluster.server)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Starts this program again in the background and waits until it is healthy.
fn detach(args: &UpArgs, config: &Config, dir: &Path) -> Outcome {
    // everything that can be refused now is refused here, where a person reads it
    let home = Home::open(dir)?;
    home.suits(config)?;
    home.forget_status()?;
    let dir = home.dir().to_owned();
    drop(home);
    let log_path = dir.join("evenkeel.log");
    // on a full disk the child could not even say why it ends
    let cannot = |error: std::io::Error| format!("cannot write {}: {error}", log_path.display());
    let mut log = OpenOptions::new().append(true).create(true).mode(0o600).open(&log_path).map_err(cannot)?;
    let greeting = format!("evenkeel {} starts in the background\n{:4096}\n", env!("CARGO_PKG_VERSION"), "");
    log.write_all(greeting.as_bytes()).map_err(cannot)?;
    log.set_len(log.metadata()?.len() - 4097)?;
    let said_before = log.metadata()?.len();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["up", "--in-background", "--dir"]).arg(&dir);
    if let Some(config) = &args.config {
        command.arg("--config").arg(std::path::absolute(config)?);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut child = command.spawn()?;
    let begun = Instant::now();
    let mut progress = Progress::begin();
    let mut formed = None;
    while begun.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            progress.end();
            let words = tail(&log_path, said_before);
            return Err(format!("the service ended at once ({status}): {words}").into());
        }
        if let Some(status) = own_status(&child, &dir) {
            progress.show(&status);
            let settled = match status.health {
                Health::Ok => true,
                Health::Starting => false,
                Health::Degraded | Health::Down => {
                    formed.get_or_insert_with(Instant::now).elapsed() >= SETTLING
                }
            };
            if settled {
                progress.end();
                say(format_args!("{}", welcome(config, &dir, &status, begun.elapsed())));
                say(format_args!(
                    "It keeps running with process id {}; `evenkeel down{}` stops it.",
                    child.id(),
                    given(&dir)
                ));
                return Ok(if status.health == Health::Ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    progress.end();
    let because = own_status(&child, &dir).map(|status| status.because).unwrap_or_default();
    Err(format!(
        "not healthy after {} s: {because}; it goes on trying, see {}",
        PATIENCE.as_secs(),
        log_path.display()
    )
    .into())
}

/// What the child wrote, not what somebody wrote before it.
fn own_status(child: &Child, dir: &Path) -> Option<Status> {
    (Home::holder(dir) == Some(child.id())).then(|| read(dir))?
}

fn tail(log: &Path, from: u64) -> String {
    let mut text = String::new();
    let read = std::fs::File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.take(4096).read_to_string(&mut text)
    });
    match (read, text.trim()) {
        (Ok(_), words) if !words.is_empty() => {
            let last = words.lines().last().unwrap_or_default();
            last.strip_prefix("evenkeel: ").unwrap_or(last).to_owned()
        }
        (Ok(_) | Err(_), _) => format!("it said nothing in {}", log.display()),
    }
}

fn welcome(config: &Config, dir: &Path, status: &Status, took: Duration) -> String {
    let listen = config.gateway.listen;
    let host = if listen.ip().is_loopback() || listen.ip().is_unspecified() {
        String::new()
    } else {
        format!("-h {} ", listen.ip())
    };
    let secrets = dir.join("secrets.json");
    let login = |applies: bool, who: &str| {
        if applies { format!("\n({who} of {})", secrets.display()) } else { String::new() }
    };
    let (gate, page) = (config.gateway.auth.applies(listen), config.web.auth.applies(config.web.listen));
    let gate = login(gate, "clients give the gateway-password");
    let page_login = login(page, "the page asks for user evenkeel and the web-password");
    let login = format!("{gate}{page_login}");
    let primaries = status.desired.shards;
    let replicas = status.desired.shards * status.desired.replicas;
    let verdict = match status.health {
        Health::Ok => format!("Ready after {:.1} s", took.as_secs_f64()),
        Health::Degraded | Health::Down | Health::Starting => {
            format!(
                "Running after {:.1} s, but {}: {}",
                took.as_secs_f64(),
                word(status.health),
                status.because
            )
        }
    };
    let given = given(dir);
    let aim = match listen.port() {
        7010 => String::new(),
        _ => format!(" --addr {listen}"),
    };
    format!(
        "{verdict}: {primaries} primaries, {replicas} replicas, one address: {listen}{login}\n\n  \
         redis-cli {host}-p {port} set a 1    use it with any client\n  \
         http://{page}/stats    look at it\n  \
         evenkeel status{given}    look at it from here\n  \
         evenkeel bench{aim}    measure it\n",
        port = listen.port(),
        page = config.web.listen,
    )
}

/// The option that names the directory, where it is not the default one.
fn given(dir: &Path) -> String {
    if dir == run::dir(None).unwrap_or_default() {
        String::new()
    } else {
        format!(" --dir {}", dir.display())
    }
}
