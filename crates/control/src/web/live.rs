//! The stream that keeps open pages up to date: each event carries the fragments that changed.
//!
//! The fragments are the very ones of the page, rendered by the server; the script only puts them in place.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Web;
use super::page::{Part, Rendered};
use crate::status::Status;

/// Without news an event goes out all the same: the page sees that it is connected, and a status that nobody
/// renews is seen to grow stale.
const TICK: Duration = Duration::from_secs(3);
/// After this many seconds the browser is asked to connect anew, so that no stream is for ever.
const LIFETIME: Duration = Duration::from_secs(3600);

/// `/stats/events`.
pub(super) async fn events(State(web): State<Web>) -> Response {
    let Ok(place) = web.streams.clone().try_acquire_owned() else {
        let why = "too many live pages are open, reload later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], why).into_response();
    };
    let viewer = Viewer {
        status: web.status.clone(),
        closing: web.closing.clone(),
        until: tokio::time::Instant::now() + LIFETIME,
        shown: None,
        web,
        _place: place,
    };
    let updates = stream::unfold(viewer, |mut viewer| async move {
        let event = viewer.next().await?;
        Some((Ok::<_, Infallible>(event), viewer))
    });
    Sse::new(updates).into_response()
}

/// One open page.
struct Viewer {
    web: Web,
    status: watch::Receiver<Arc<Status>>,
    closing: watch::Receiver<bool>,
    until: tokio::time::Instant,
    shown: Option<Arc<Rendered>>,
    _place: OwnedSemaphorePermit,
}

/// What the script receives.
#[derive(Serialize)]
struct Update<'a> {
    /// The server's time, so that ages are right on a machine whose clock is not.
    now: u64,
    /// The whole content, when parts came or went.
    #[serde(skip_serializing_if = "Option::is_none")]
    main: Option<&'a str>,
    /// The parts that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<&'a Part>,
}

impl Viewer {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if self.shown.is_some() {
            tokio::select! {
                // Without a sender nothing ever closes; the status channel decides then.
                Ok(_) = self.closing.wait_for(|closing| *closing) => return None,
                () = tokio::time::sleep_until(self.until) => return None,
                changed = self.status.changed() => changed.ok()?,
                () = tokio::time::sleep(TICK) => {}
            }
        }
        let status = self.status.borrow_and_update().clone();
        let now_ms = (self.web.clock)();
        let rendered = self.web.rendered(&status, now_ms);
        let event = Event::default().json_data(update(self.shown.as_deref(), &rendered, now_ms)).ok();
        self.shown = Some(rendered);
        event
    }
}

impl Web {
    fn rendered(&self, status: &Arc<Status>, now_ms: u64) -> Arc<Rendered> {
        let mut cached = self.rendered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*cached {
            Some(rendered) if rendered.is_of(status, now_ms) => rendered.clone(),
            Some(_) | None => cached.insert(Arc::new(Rendered::new(status.clone(), now_ms))).clone(),
        }
    }
}

fn update<'a>(shown: Option<&Rendered>, rendered: &'a Rendered, now: u64) -> Update<'a> {
    let same_layout = |shown: &&Rendered| {
        shown.parts.iter().map(|part| &part.id).eq(rendered.parts.iter().map(|part| &part.id))
    };
    let Some(shown) = shown.filter(same_layout) else {
        return Update { now, main: Some(&rendered.main), parts: Vec::new() };
    };
    let pairs = shown.parts.iter().zip(&rendered.parts);
    let parts = pairs.filter(|(old, new)| old.html != new.html).map(|(_, new)| new).collect();
    Update { now, main: None, parts }
}
