//! The door for orders: HTTP over a unix socket in the deployment's directory, which only its owner can open.
//!
//! Owns the routes. Never takes an order itself: the loop does, by what it sees.
//!
//! ```text
//! POST /orders        a Request as JSON ─► 200 an Account, 409 {"error": "why it was refused"}
//! GET  /orders/{id}   ─► 200 an Account, with what has happened since; 404
//! ```

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as Part, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use evenkeel_core::plan::Request;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::orders::{Account, Asked, Desk};
use crate::status::{Event, Status};

/// Name of the socket in the directory.
const SOCKET: &str = "control.sock";

/// An order, and what has happened since it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The order and its state.
    #[serde(flatten)]
    pub account: Account,
    /// Events since then, oldest first; at most as many as control keeps.
    pub events: Vec<Event>,
}

/// Why an order was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In words.
    pub error: String,
}

/// An open door.
#[derive(Debug)]
pub(crate) struct Door {
    task: JoinHandle<()>,
    path: PathBuf,
}

impl Door {
    /// Opens the door; the lock of the directory must be held.
    pub(crate) fn open(dir: &Path, desk: Desk, status: watch::Receiver<Arc<Status>>) -> io::Result<Door> {
        let path = dir.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = within(dir, |short| UnixListener::bind(short))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let routes = Router::new()
            .route("/orders", post(give))
            .route("/orders/{id}", get(follow))
            .with_state((desk, status));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!("orders are no longer taken: {error}");
            }
        });
        Ok(Door { task, path })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Connects to the door of a directory that another process holds.
pub fn connect(dir: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    within(dir, |short| std::os::unix::net::UnixStream::connect(short))
}

/// Gives the socket a path that is short whatever the directory's is: the system allows a hundred bytes.
fn within<T>(dir: &Path, use_it: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let open = File::open(dir)?;
    use_it(&Path::new("/proc/self/fd").join(open.as_raw_fd().to_string()).join(SOCKET))
}

type Both = (Desk, watch::Receiver<Arc<Status>>);

async fn give(Shared((desk, status)): Shared<Both>, Json(request): Json<Request>) -> Response {
    let (answer, told) = oneshot::channel();
    if desk.asked.try_send(Asked { request, answer }).is_err() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "control is busy with other requests, try again");
    }
    match told.await {
        Ok(Ok(id)) => account(&desk, &status, id),
        Ok(Err(why)) => refuse(StatusCode::CONFLICT, &why),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "control is stopping"),
    }
}

async fn follow(Shared((desk, status)): Shared<Both>, Part(id): Part<u64>) -> Response {
    account(&desk, &status, id)
}

fn account(desk: &Desk, status: &watch::Receiver<Arc<Status>>, id: u64) -> Response {
    let account = desk.accounts.borrow().iter().find(|account| account.order.id == id).cloned();
    let Some(account) = account else {
        return refuse(StatusCode::NOT_FOUND, &format!("there is no order {id}"));
    };
    let events = status.borrow().events.clone();
    let mut events: Vec<Event> = events.into_iter().filter(|event| event.at_ms >= account.order.at).collect();
    events.reverse();
    Json(Report { account, events }).into_response()
}

fn refuse(code: StatusCode, why: &str) -> Response {
    (code, Json(Refusal { error: why.to_owned() })).into_response()
}
