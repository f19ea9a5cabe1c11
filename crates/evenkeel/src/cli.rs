//! The command line.
//!
//! Owns names, help and defaults of commands and options. Never does what they say.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A highly available Redis (or Valkey) service behind one address.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = "Start with: evenkeel up")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the whole service: servers, gateway and page
    #[command(after_help = "Example: evenkeel up --detach --dir /var/lib/evenkeel")]
    Up(UpArgs),
    /// Stop a service that `up` started; its data is saved
    #[command(after_help = "Example: evenkeel down")]
    Down(DownArgs),
    /// Show the service: 0 = as it should be, 1 = something is missing or refused, 2 = not running
    #[command(after_help = "Example: evenkeel status --json | jq .health")]
    Status(StatusArgs),
    /// Give a shard another primary, without an error for any client
    #[command(
        after_help = "Examples: evenkeel failover node-7001 (its best replica takes over), evenkeel failover node-7004 \
        (this replica does), evenkeel failover 2 (the second shard)"
    )]
    Failover(FailoverArgs),
    /// Give one node, or all in turn, a new process: replicas first, and a primary only after its replica took over
    #[command(after_help = "Example: evenkeel restart all")]
    Restart(RestartArgs),
    /// Go on without data that nobody has any more, where `status` says that it waits for this
    #[command(after_help = "Example: evenkeel accept-loss node-7001")]
    AcceptLoss(AcceptLossArgs),
    /// Check a configuration file and print what is in force
    #[command(after_help = "Example: evenkeel check evenkeel.toml")]
    Check(CheckArgs),
    /// Run one role in this process, in the foreground
    #[command(
        after_help = "Example: evenkeel run --role gateway --listen 127.0.0.1:7010 --seeds 10.0.0.1:7001,10.0.0.2:7001"
    )]
    Run(RunArgs),
    /// Measure SET and GET at every value size, with every answer verified
    #[command(after_help = "Example: evenkeel bench --quick")]
    Bench(evenkeel_proof::bench::Args),
    /// Break one thing at a time under a verifying load, and see what clients notice
    #[command(after_help = "Example: evenkeel drill primary-killed --times 5")]
    Drill(evenkeel_proof::drill::Args),
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Configuration file; without one, every default applies
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where data, logs and secrets lie [default: evenkeel under the XDG state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Leave it running and return when it is healthy
    #[arg(long)]
    pub(crate) detach: bool,
    /// Install Debian's redis-server when there is no server program
    #[arg(long)]
    pub(crate) install_server: bool,
    /// This process is the one that `--detach` leaves running
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub(crate) in_background: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// The directory that was given to `up`
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The directory that was given to `up`
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print everything that is known, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FailoverArgs {
    /// A primary, the replica that shall take over, or the number of a shard in the order of the slots
    #[arg(value_name = "NODE|SHARD")]
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// A node, or `all`
    #[arg(value_name = "NODE|all")]
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AcceptLossArgs {
    /// The node whose data is lost, or `all` of them
    #[arg(value_name = "NODE|all")]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

/// How an order is given and followed.
#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    /// The directory that was given to `up`
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print the order and what happened as JSON, when it has ended
    #[arg(long)]
    pub(crate) json: bool,
    /// Return once the order is taken; it is carried out all the same
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Configuration file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print JSON instead of TOML
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The role
    #[arg(long, value_enum)]
    pub(crate) role: Role,
    /// Configuration file; of it the gateway alone takes limits, users and TLS
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// control, all: where data, logs and secrets lie
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// gateway: address that clients connect to
    #[arg(long, value_name = "ADDR", required_if_eq("role", "gateway"))]
    pub(crate) listen: Option<SocketAddr>,
    /// gateway: nodes of the cluster, any of which answers
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',', required_if_eq("role", "gateway"))]
    pub(crate) seeds: Vec<SocketAddr>,
    /// gateway: file with the password that clients must give
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// gateway: file with the password of the nodes
    #[arg(long, value_name = "FILE")]
    pub(crate) node_password_file: Option<PathBuf>,
    /// gateway: unix socket over which a new process takes the listening sockets over from this one, and this one from an
    /// older one, without a refused connection
    #[arg(long, value_name = "SOCKET")]
    pub(crate) handover: Option<PathBuf>,
    /// gateway: what the replies of writes wait for
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) durability: Option<WritesWaitFor>,
    /// gateway: worker threads; 0: one, and one more whenever all are full, up to the machine's cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: u16,
}

/// What the reply of a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WritesWaitFor {
    /// The primary
    Async,
    /// A replica too
    Replicated,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Requests of clients
    Gateway,
    /// Servers, and the page
    Control,
    /// Both
    All,
}
