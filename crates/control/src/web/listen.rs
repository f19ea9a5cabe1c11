//! The listening side: accepts connections, limits them, closes them in peace. Never looks into a request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::{routes, wall_clock};
use crate::status::Status;

/// Connections at the same time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// Time for a request's head, and for which an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;
/// Time for running answers when the server stops.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after an accept failed, e.g. because file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves all routes until `shutdown` completes, then ends the streams, lets running answers finish for a
/// moment and returns. With a password every route but `/healthz` asks for it (user `evenkeel`).
///
/// # Errors
/// When the listener has no local address any more, that is, was not a listener.
pub async fn serve(
    listener: TcpListener,
    status: watch::Receiver<Arc<Status>>,
    password: Option<String>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    listener.local_addr()?;
    let (close, closing) = watch::channel(false);
    let router = routes(status, password, wall_clock(), closing);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                failing = false;
                connections.spawn(converse(stream, router.clone(), place, &graceful));
            }
            Err(error) => {
                if !failing {
                    warn!(%error, "the page cannot accept connections, trying on");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    close.send_replace(true);
    // What has not finished by then is dropped with the set.
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

fn converse(
    stream: TcpStream,
    router: Router,
    place: OwnedSemaphorePermit,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    // Events are small and must not wait for each other; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let connection = graceful.watch(connection);
    async move {
        if let Err(error) = connection.await {
            debug!(%error, "a connection to the page ended early");
        }
        drop(place);
    }
}
