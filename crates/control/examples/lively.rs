//! Serves the page with a made-up cluster that lives: numbers move, a primary dies every minute and heals.
//!
//! `cargo run -p evenkeel-control --example lively -- [healthy|down|starting|empty|large|hostile]`
//! prints the address it serves. Not part of the product.

#[path = "../tests/web_fixtures/mod.rs"]
mod web_fixtures;

use std::sync::Arc;
use std::time::Duration;

use evenkeel_control::status::Status;
use evenkeel_control::web;

fn scene(name: &str, second: u64) -> Status {
    match name {
        "down" => web_fixtures::primary_down(),
        "starting" => web_fixtures::starting(),
        "empty" => web_fixtures::empty(),
        "large" => web_fixtures::large(),
        "hostile" => web_fixtures::hostile(),
        "lively" if second % 60 >= 50 => web_fixtures::primary_down(),
        _ => web_fixtures::healthy(),
    }
}

fn at(name: &str, second: u64, now_ms: u64) -> Status {
    let mut status = scene(name, second);
    let shift = now_ms.saturating_sub(web_fixtures::NOW_MS);
    status.at_ms = now_ms;
    status.since_ms = status.since_ms.saturating_add(shift);
    for event in &mut status.events {
        event.at_ms = event.at_ms.saturating_add(shift);
    }
    for (index, gateway) in
        status.gateways.iter_mut().enumerate().filter(|(_, gateway)| gateway.metrics.is_some())
    {
        let phase = (index * 61) as f64 + second as f64;
        gateway.history = (0..300).map(|past| web_fixtures::traffic(phase + f64::from(past))).collect();
        gateway.requests_per_s = gateway.history.last().copied().unwrap_or(0.0);
    }
    status
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "lively".to_owned());
    let listener =
        tokio::net::TcpListener::bind(arguments.next().as_deref().unwrap_or("127.0.0.1:0")).await?;
    println!("http://{}/stats", listener.local_addr()?);
    let clock = web::wall_clock();
    let (publish, status) = tokio::sync::watch::channel(Arc::new(at(&name, 0, clock())));
    tokio::spawn(async move {
        for second in 1.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            publish.send_replace(Arc::new(at(&name, second, clock())));
        }
    });
    let shutdown = async {
        // Without a signal handler it stays up, which is what is wanted.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    web::serve(listener, status, None, shutdown).await
}
