//! `evenkeel run`: one role in this process, in the foreground.

use std::path::Path;
use std::process::ExitCode;

use evenkeel_control::engine::Lifetime;
use evenkeel_control::home::Home;
use evenkeel_control::server::Server;
use evenkeel_gateway::{Durability, Gateway, Offer, Predecessor, Settings};

use super::Outcome;
use crate::cli::{Role, RunArgs, WritesWaitFor};
use crate::run::{self, Parts, Service};
use crate::say::{complain, say};
use crate::secret::secret;

pub(crate) fn role(args: &RunArgs) -> Outcome {
    match args.role {
        Role::Gateway => gateway(args),
        Role::Control => cluster(args, Parts::Control),
        Role::All => cluster(args, Parts::All),
    }
}

/// Only a gateway, in front of any existing cluster.
fn gateway(args: &RunArgs) -> Outcome {
    refuse(&[("--dir", args.dir.is_some())], "control and all")?;
    let listen = args.listen.ok_or("--role gateway needs --listen ADDR")?;
    let mut settings = Settings::new(listen, args.seeds.clone());
    if let Some(file) = args.config.as_deref() {
        run::limits_users_and_tls(&mut settings, &run::config(Some(file))?.gateway)?;
    }
    settings.workers = args.threads.into();
    settings.client_password = args.password_file.as_deref().map(secret).transpose()?;
    settings.node_password = args.node_password_file.as_deref().map(secret).transpose()?;
    settings.durability = match args.durability {
        None | Some(WritesWaitFor::Async) => Durability::Async,
        Some(WritesWaitFor::Replicated) => Durability::Replicated,
    };
    let doors = [Some(listen), settings.tls.as_ref().map(|tls| tls.listen)];
    if settings.client_password.is_none()
        && let Some(open) = doors.into_iter().flatten().find(|addr| !addr.ip().is_loopback())
    {
        complain(format_args!("{open} is open to everyone who reaches it: there is no --password-file"));
    }
    let runtime = run::runtime()?;
    let failed = |path: &Path, error: std::io::Error| format!("--handover {}: {error}", path.display());
    let predecessor = match &args.handover {
        Some(path) => Predecessor::find(path).map_err(|error| failed(path, error))?,
        None => None,
    };
    let gateway = match predecessor {
        Some(predecessor) => Gateway::take_over(settings, predecessor)?,
        None => Gateway::start(settings)?,
    };
    say(format_args!("gateway listens on {}", gateway.listen()));
    if let Some(addr) = gateway.tls_listen() {
        say(format_args!("gateway listens with TLS on {addr}"));
    }
    let succeeded = match &args.handover {
        Some(path) => succeeded(gateway.offer(path).map_err(|error| failed(path, error))?)?,
        None => None,
    };
    runtime.block_on(async {
        tokio::select! {
            () = run::told_to_stop() => {}
            () = heard(succeeded) => say(format_args!("another process has taken over")),
        }
    });
    gateway.drain();
    Ok(ExitCode::SUCCESS)
}

type Heard = Option<tokio::sync::oneshot::Receiver<()>>;

/// Waits for a successor on a thread of its own, which ends with the process.
fn succeeded(offer: Offer) -> std::io::Result<Heard> {
    let (tell, heard) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("handover".into()).spawn(move || match offer.wait() {
        Ok(()) => drop(tell.send(())),
        Err(error) => tracing::error!(%error, "nobody can take over from this gateway any more"),
    })?;
    Ok(Some(heard))
}

async fn heard(succeeded: Heard) {
    let told = match succeeded {
        Some(heard) => heard.await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending::<()>().await;
    }
}

fn cluster(args: &RunArgs, parts: Parts) -> Outcome {
    let gateway_only = [
        ("--listen", args.listen.is_some()),
        ("--seeds", !args.seeds.is_empty()),
        ("--password-file", args.password_file.is_some()),
        ("--node-password-file", args.node_password_file.is_some()),
        ("--handover", args.handover.is_some()),
        ("--threads", args.threads != 0),
        ("--durability", args.durability.is_some()),
    ];
    refuse(&gateway_only, "gateway")?;
    let config = run::config(args.config.as_deref())?;
    let server = Server::find(&config.cluster.server)?;
    let home = Home::open(&run::dir(args.dir.as_deref())?)?;
    let runtime = run::runtime()?;
    runtime.block_on(async {
        let service = Service::start(&config, home, server, Lifetime::WithUs, parts).await?;
        say(format_args!("evenkeel runs with process id {}", std::process::id()));
        run::told_to_stop().await;
        service.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn refuse(options: &[(&str, bool)], roles: &str) -> Result<(), String> {
    match options.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(format!("{name} is an option of --role {roles} only")),
        None => Ok(()),
    }
}
