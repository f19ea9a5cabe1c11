//! Starts and stops the roles in this process.
//!
//! Owns their order: the gateway and the page take their ports before any server is started, and a stop drains the
//! gateway before the servers end.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel_control::engine::Lifetime;
use evenkeel_control::home::{Home, HomeError, Secrets};
use evenkeel_control::server::Server;
use evenkeel_control::status::Status;
use evenkeel_control::{Control, Watched};
use evenkeel_core::config::{Config, Threads};
use evenkeel_gateway::{Gateway, Settings, TlsSettings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::secret::{durability, named_users};

/// Which roles run in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    All,
    Control,
}

/// Running roles.
pub(crate) struct Service {
    control: Control,
    gateway: Option<Gateway>,
    page: Page,
}

impl Service {
    pub(crate) async fn start(
        config: &Config,
        home: Home,
        server: Server,
        lifetime: Lifetime,
        parts: Parts,
    ) -> Result<Service, Box<dyn std::error::Error>> {
        home.suits(config)?;
        let listener = TcpListener::bind(config.web.listen).await;
        let listener = listener.map_err(|error| taken("web.listen", config.web.listen, &error))?;
        home.announce(reachable(config.web.listen))?;
        let settings = settings(config, home.secrets())?;
        let watched =
            Watched { addr: reachable(settings.listen), password: settings.client_password.clone() };
        let gateway = match parts {
            Parts::All => {
                free("gateway.listen", settings.listen)?;
                if let Some(tls) = &settings.tls {
                    free("gateway.tls.listen", tls.listen)?;
                }
                Some(Gateway::start(settings)?)
            }
            Parts::Control => None,
        };
        let password =
            config.web.auth.applies(config.web.listen).then(|| home.secrets().web_password.clone());
        let control = Control::start(config, home, server, lifetime, vec![watched])?;
        let page = Page::open(listener, control.status(), password);
        Ok(Service { control, gateway, page })
    }

    pub(crate) fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.control.status()
    }

    /// Requests in flight are finished first, then the servers save their data and end.
    pub(crate) async fn stop(self) {
        if let Some(gateway) = self.gateway {
            let _ = tokio::task::spawn_blocking(|| gateway.drain()).await;
        }
        self.control.stop().await;
        self.page.close().await;
    }
}

/// The page and its API.
struct Page {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Page {
    fn open(listener: TcpListener, status: watch::Receiver<Arc<Status>>, password: Option<String>) -> Page {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let shutdown = async move { drop(stopped.wait_for(|stop| *stop).await) };
            if let Err(error) = evenkeel_control::web::serve(listener, status, password, shutdown).await {
                tracing::error!("the page has ended: {error}");
            }
        });
        Page { stop, task }
    }

    async fn close(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Reads a configuration file; without one, every default applies.
pub(crate) fn config(file: Option<&Path>) -> Result<Config, Box<dyn std::error::Error>> {
    let Some(file) = file else { return Ok(Config::default()) };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    Ok(Config::parse(&text, &name)?)
}

/// The directory that was asked for, or the default one.
pub(crate) fn dir(asked: Option<&Path>) -> Result<PathBuf, HomeError> {
    match asked {
        Some(dir) => Ok(dir.to_owned()),
        None => Home::default_dir(),
    }
}

pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Resolves at Ctrl-C, SIGTERM or SIGHUP.
pub(crate) async fn told_to_stop() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Logs go to standard error: transitions in the background, only trouble in the foreground. `EVENKEEL_LOG` says otherwise.
pub(crate) fn log(cli: &Cli) {
    let level = match &cli.command {
        Command::Up(args) if args.in_background => "info",
        Command::Run(_) => "info",
        Command::Up(_)
        | Command::Down(_)
        | Command::Status(_)
        | Command::Failover(_)
        | Command::Restart(_)
        | Command::AcceptLoss(_)
        | Command::Check(_)
        | Command::Bench(_)
        | Command::Drill(_) => "error",
    };
    let filter = EnvFilter::try_from_env("EVENKEEL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal();
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_target(false)
        .log_internal_errors(false);
    let _ = format.with_writer(std::io::stderr).try_init();
}

fn settings(config: &Config, secrets: &Secrets) -> Result<Settings, String> {
    let seeds = config.ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    let mut settings = Settings::new(config.gateway.listen, seeds);
    settings.node_password = Some(secrets.node_password.clone());
    limits_users_and_tls(&mut settings, &config.gateway)?;
    let mut doors =
        [Some(settings.listen), settings.tls.as_ref().map(|tls| tls.listen)].into_iter().flatten();
    settings.client_password =
        doors.any(|addr| config.gateway.auth.applies(addr)).then(|| secrets.gateway_password.clone());
    settings.workers = match config.gateway.threads {
        Threads::Auto => 0,
        Threads::Count(count) => count.into(),
    };
    Ok(settings)
}

/// What a gateway takes of its section wherever it runs.
pub(crate) fn limits_users_and_tls(
    settings: &mut Settings,
    gateway: &evenkeel_core::config::Gateway,
) -> Result<(), String> {
    settings.max_clients = gateway.max_clients as usize;
    settings.max_private = gateway.max_private as usize;
    settings.hold = gateway.hold.duration();
    settings.merge_reads = gateway.merge_reads;
    settings.durability = durability(gateway.durability);
    settings.durability_wait = gateway.durability_wait.duration();
    settings.users = named_users(&gateway.users)?;
    settings.tls = gateway.tls.as_ref().map(|tls| TlsSettings {
        listen: tls.listen,
        cert: PathBuf::from(&tls.cert),
        key: PathBuf::from(&tls.key),
        ca: tls.ca.as_ref().map(PathBuf::from),
        durability: tls.durability.map(durability),
    });
    Ok(())
}

/// The address at which this machine itself reaches a listener.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut addr = listen;
    if listen.ip().is_unspecified() {
        match listen {
            SocketAddr::V4(_) => addr.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => addr.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        }
    }
    addr
}

/// Refuses an address that somebody listens on, before anything is started for it.
fn free(key: &str, listen: SocketAddr) -> Result<(), String> {
    std::net::TcpListener::bind(listen).map(drop).map_err(|error| taken(key, listen, &error))
}

fn taken(key: &str, addr: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!(
                "{key} is {addr}, but another program listens there: stop that program, or choose another port"
            )
        }
        _ => format!("{key} is {addr}, which cannot be listened on: {error}"),
    }
}
