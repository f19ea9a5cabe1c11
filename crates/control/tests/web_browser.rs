//! The page in a real browser: headless Chromium through chromedriver, both from Debian.
//!
//! With `EVENKEEL_SCREENSHOTS` set to a directory it leaves the pictures there.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod web_fixtures;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_control::status::Status;
use evenkeel_control::web;
use thirtyfour::{By, ChromiumLikeCapabilities, DesiredCapabilities, LoggingPrefsLogLevel, WebDriver};
use tokio::sync::{oneshot, watch};

/// A running chromedriver and the directory of its browser's profile; both end with the value.
struct Chromedriver {
    child: Child,
    url: String,
    profile: tempfile::TempDir,
}

impl Chromedriver {
    fn start() -> Self {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs chromedriver: apt-get install chromium-driver");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            Some(line.strip_suffix('.')?.rsplit_once("started successfully on port ")?.1.to_owned())
        });
        // It must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let port = port.expect("chromedriver ended before it listened");
        Self { child, url: format!("http://127.0.0.1:{port}"), profile: tempfile::tempdir().unwrap() }
    }

    async fn browser(&self) -> WebDriver {
        let mut wanted = DesiredCapabilities::chrome();
        for flag in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--hide-scrollbars",
        ] {
            wanted.add_arg(flag).unwrap();
        }
        wanted.add_arg(&format!("--user-data-dir={}", self.profile.path().display())).unwrap();
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        WebDriver::new(&self.url, wanted).await.expect("chromedriver starts a headless Chromium")
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The page on a free port, and the other end of what it shows.
struct Served {
    url: String,
    publish: watch::Sender<Arc<Status>>,
    stop: Option<oneshot::Sender<()>>,
    done: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    async fn start(status: Status) -> Self {
        Self::guarded(status, None).await
    }

    async fn guarded(status: Status, password: Option<&str>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/stats", listener.local_addr().unwrap());
        let (publish, status) = watch::channel(Arc::new(now(status)));
        let password = password.map(str::to_owned);
        let (stop, stopped) = oneshot::channel::<()>();
        let done = tokio::spawn(web::serve(listener, status, password, async { drop(stopped.await) }));
        Self { url, publish, stop: Some(stop), done }
    }

    fn show(&self, status: Status) {
        self.publish.send_replace(Arc::new(now(status)));
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.done.await.unwrap().unwrap();
    }
}

/// A fixed status, moved to the present.
fn now(mut status: Status) -> Status {
    let now_ms = web::wall_clock()();
    let shift = now_ms - web_fixtures::NOW_MS;
    status.at_ms = now_ms;
    status.since_ms = status.since_ms.saturating_add(shift);
    status.events.iter_mut().for_each(|event| event.at_ms = event.at_ms.saturating_add(shift));
    status
}

async fn text(page: &WebDriver, css: &str) -> String {
    // In one step: an element may be replaced between finding and reading it.
    let script = "return document.querySelector(arguments[0]).innerText";
    let text = page.execute(script, vec![css.into()]).await.unwrap_or_else(|error| panic!("{css}: {error}"));
    text.convert::<String>().unwrap().replace(['\u{a0}', '\u{202f}'], " ")
}

/// Waits until an element's text contains something.
async fn until(page: &WebDriver, css: &str, wanted: &str) {
    let started = Instant::now();
    loop {
        let seen = text(page, css).await;
        if seen.contains(wanted) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{css} says {seen:?}, expected {wanted:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn number(page: &WebDriver, script: &str) -> f64 {
    page.execute(format!("return {script}"), Vec::new()).await.unwrap().convert().unwrap()
}

/// Sets width and colour scheme, and the height to the whole page.
async fn dress(page: &WebDriver, scheme: &str, width: u32) {
    let media = serde_json::json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
    page.cdp().send_raw("Emulation.setEmulatedMedia", media).await.unwrap();
    let mut height = 900;
    for _ in 0..2 {
        let size =
            serde_json::json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        page.cdp().send_raw("Emulation.setDeviceMetricsOverride", size).await.unwrap();
        height = number(page, "document.documentElement.scrollHeight").await as u32;
    }
}

/// Leaves a picture where one is wanted.
async fn picture(page: &WebDriver, name: &str) {
    let png = page.screenshot_as_png().await.unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    if let Some(directory) = std::env::var_os("EVENKEEL_SCREENSHOTS") {
        let path = std::path::Path::new(&directory).join(name).with_extension("png");
        std::fs::write(&path, png).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Both schemes at both widths; nothing may stick out of a phone's screen.
async fn pictures(page: &WebDriver, name: &str) {
    for (scheme, width) in [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)] {
        dress(page, scheme, width).await;
        let wide = number(page, "document.documentElement.scrollWidth").await;
        assert!(wide <= f64::from(width), "{name} is {wide} px wide on a screen of {width} px");
        picture(page, &format!("{name}-{scheme}-{width}")).await;
    }
}

async fn no_complaints(page: &WebDriver) {
    let log = page.browser_log().await.unwrap();
    assert!(log.is_empty(), "the browser's console has {log:?}");
}

async fn shows_and_updates(page: WebDriver, served: &Served) -> Result<(), std::convert::Infallible> {
    page.goto(&served.url).await.unwrap();
    until(&page, "#link-text", "Live").await;
    assert_eq!(page.title().await.unwrap(), "evenkeel · stats");
    assert_eq!(text(&page, "#verdict h1").await, "Healthy. Every slot is served");
    assert_eq!(page.find_all(By::Css("table.of-nodes tbody tr")).await.unwrap().len(), 6);
    assert_eq!(page.find_all(By::Css("svg.band rect.seg")).await.unwrap().len(), 3);
    until(&page, "#node-1", "of node-7001").await;
    until(&page, "#gateway-0 .big dd", "45.2 k/s").await;
    until(&page, "#timeline", "replica caught up").await;
    until(&page, "#timeline time", "1 min ago").await;

    // A change arrives without a reload: what the script put into the window is still there. What a reader
    // unfolded stays unfolded although its part was replaced.
    page.execute("window.sameDocument = 1; document.querySelector('#older').open = true", Vec::new())
        .await
        .unwrap();
    served.show(web_fixtures::primary_down());
    until(&page, "#verdict h1", "Down. 10 923 of 16 384 slots served").await;
    until(&page, "#verdict p", "node-7002 was killed by signal 9").await;
    until(&page, "#slots .legend", "node-7002, down").await;
    until(&page, "#timeline", "asked to take over").await;
    assert_eq!(number(&page, "window.sameDocument").await, 1.0);
    assert_eq!(number(&page, "document.querySelector('#older').open ? 1 : 0").await, 1.0);
    assert_eq!(number(&page, "document.querySelectorAll('.seg-stopped').length").await, 1.0);
    // Nodes come and go as a whole.
    served.show(web_fixtures::empty());
    until(&page, "#nodes", "No node is wanted or seen").await;
    served.show(web_fixtures::healthy());
    until(&page, "#nodes", "node-7006").await;
    assert_eq!(number(&page, "window.sameDocument").await, 1.0);
    no_complaints(&page).await;
    Ok(())
}

async fn looks_right(page: WebDriver, served: &Served) -> Result<(), std::convert::Infallible> {
    for (name, status) in [
        ("healthy", web_fixtures::healthy()),
        ("down", web_fixtures::primary_down()),
        ("starting", web_fixtures::starting()),
        ("empty", web_fixtures::empty()),
        ("large", web_fixtures::large()),
        ("hostile", web_fixtures::hostile()),
    ] {
        served.show(status);
        page.goto(&served.url).await.unwrap();
        until(&page, "#link-text", "Live").await;
        pictures(&page, name).await;
        assert_eq!(
            number(&page, "document.querySelectorAll('img, script:not([nonce]), iframe').length").await,
            0.0
        );
        no_complaints(&page).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_the_page_and_keeps_it_up_to_date() {
    let served = Served::start(web_fixtures::healthy()).await;
    let chromedriver = Chromedriver::start();
    let page = chromedriver.browser().await;
    page.run_and_quit(|page| shows_and_updates(page, &served)).await.unwrap();
    served.stop().await;
}

async fn reads_without_javascript(page: WebDriver, served: &Served) -> Result<(), std::convert::Infallible> {
    let off = serde_json::json!({"value": true});
    page.cdp().send_raw("Emulation.setScriptExecutionDisabled", off).await.unwrap();
    page.goto(&served.url).await.unwrap();
    let read = async |css| page.find(By::Css(css)).await.unwrap().text().await.unwrap();
    assert_eq!(read("#verdict h1").await, "Healthy. Every slot is served");
    assert!(
        read("#timeline").await.replace('\u{a0}', " ").contains("1 min ago"),
        "ages are written by the server, too"
    );
    assert_eq!(read("#link-text").await, "Snapshot");
    // The page asks for itself again after five seconds.
    served.show(web_fixtures::primary_down());
    let started = Instant::now();
    let shows_down = async || {
        // Between finding a heading and reading it the page may have renewed itself: then it is looked for again.
        let Ok(heading) = page.find(By::Css("#verdict h1")).await else { return false };
        heading.text().await.is_ok_and(|text| text.starts_with("Down."))
    };
    while !shows_down().await {
        assert!(started.elapsed() < Duration::from_secs(15), "the page does not renew itself");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

async fn tells_its_age(page: WebDriver, served: Served) -> Result<(), std::convert::Infallible> {
    let url = served.url.replace("http://", "http://evenkeel:correct%20horse@");
    page.goto(&url).await.unwrap();
    until(&page, "#link-text", "Live").await;
    // Control goes silent: the stream goes on and says so.
    let mut silent = now(web_fixtures::healthy());
    silent.at_ms -= 9_000;
    served.publish.send_replace(Arc::new(silent));
    until(&page, "#verdict h1", "No fresh observation").await;
    served.show(web_fixtures::healthy());
    until(&page, "#verdict h1", "Healthy").await;
    no_complaints(&page).await;
    // The server goes away: the page keeps what it has and says how it is.
    served.stop().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    until(&page, "#link-text", "Connection lost, trying again").await;
    until(&page, "#verdict h1", "Healthy").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_tells_how_old_it_is() {
    let served = Served::guarded(web_fixtures::healthy(), Some("correct horse")).await;
    let chromedriver = Chromedriver::start();
    let page = chromedriver.browser().await;
    page.run_and_quit(|page| tells_its_age(page, served)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_works_without_javascript() {
    let served = Served::start(web_fixtures::healthy()).await;
    let chromedriver = Chromedriver::start();
    let page = chromedriver.browser().await;
    page.run_and_quit(|page| reads_without_javascript(page, &served)).await.unwrap();
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_fits_a_desk_and_a_phone_in_light_and_dark() {
    let served = Served::start(web_fixtures::healthy()).await;
    let chromedriver = Chromedriver::start();
    let page = chromedriver.browser().await;
    page.run_and_quit(|page| looks_right(page, &served)).await.unwrap();
    served.stop().await;
}
