//! The page, the API and the formats that scrapers read: everything that is served over HTTP.
//!
//! Owns the routes and what a request sees. Never observes or changes anything itself: it shows the latest
//! [`Status`] that control published, and every answer is made from that one value.

mod access;
mod csv;
mod health;
mod listen;
mod live;
mod metrics;
mod page;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, watch};

use crate::status::Status;
use access::{Access, Nonce};
use page::Rendered;

pub use listen::serve;

/// How many pages may be kept up to date at the same time.
const STREAMS: usize = 64;

/// Says what time it is, in milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The wall clock of this machine.
pub fn wall_clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}

/// What every route works from.
#[derive(Clone)]
struct Web {
    status: watch::Receiver<Arc<Status>>,
    clock: Clock,
    /// Becomes true when the server wants to stop: streams end then.
    closing: watch::Receiver<bool>,
    streams: Arc<Semaphore>,
    /// The fragments of the newest status, so that many open pages cost one rendering.
    rendered: Arc<Mutex<Option<Arc<Rendered>>>>,
}

impl Web {
    fn latest(&self) -> (Arc<Status>, u64) {
        (self.status.borrow().clone(), (self.clock)())
    }
}

/// All routes. With a password they ask for it (user `evenkeel`), except `/healthz`.
pub fn router(status: watch::Receiver<Arc<Status>>, password: Option<String>, clock: Clock) -> Router {
    let (open, closing) = watch::channel(false);
    // The streams of a router that nobody closes end with their connections.
    drop(open);
    routes(status, password, clock, closing)
}

fn routes(
    status: watch::Receiver<Arc<Status>>,
    password: Option<String>,
    clock: Clock,
    closing: watch::Receiver<bool>,
) -> Router {
    let streams = Arc::new(Semaphore::new(STREAMS));
    let web = Web { status, clock, closing, streams, rendered: Arc::default() };
    let access = Access::new(password.as_deref());
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/stats") }))
        .route("/stats", get(stats))
        .route("/stats/events", get(live::events))
        .route("/stats;csv", get(stats_csv))
        .route("/stats;csv;norefresh", get(stats_csv))
        .route("/metrics", get(prometheus))
        .route("/api/status", get(api_status))
        .route("/healthz", get(healthz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is no such page, see /stats\n") })
        .layer(axum::middleware::from_fn_with_state(access, access::guard))
        .with_state(web)
}

async fn stats(State(web): State<Web>, nonce: Nonce) -> Response {
    let (status, now_ms) = web.latest();
    let body = page::whole(&status, now_ms, nonce.as_str());
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response()
}

async fn stats_csv(State(web): State<Web>) -> Response {
    let (status, now_ms) = web.latest();
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], csv::table(&status, now_ms)).into_response()
}

async fn prometheus(State(web): State<Web>, headers: HeaderMap) -> Response {
    let (status, now_ms) = web.latest();
    let wanted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let dialect = metrics::Dialect::wanted(wanted);
    match metrics::exposition(status, now_ms, dialect) {
        Ok(text) => ([(header::CONTENT_TYPE, dialect.content_type())], text).into_response(),
        // Writing to a string does not fail; if it ever does, say so instead of serving half a page.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn api_status(State(web): State<Web>) -> Response {
    Json(&*web.latest().0).into_response()
}

async fn healthz(State(web): State<Web>) -> Response {
    let (status, now_ms) = web.latest();
    match health::check(&status, now_ms) {
        Ok(()) => "ok\n".into_response(),
        Err(unfit) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unfit}\n")).into_response(),
    }
}
