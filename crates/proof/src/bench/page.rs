//! `report.html`: one page without anything from outside, made from a [`Report`]. Pure.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{Chart, Mark, Series, range};
use super::report::{Ending, Figures, Latency, Report, SizeReport};
use super::tally::Op;
use crate::units;

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let title = format!("evenkeel bench: {}", report.target.addr);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main {
                    (head(report))
                    (tiles(report))
                    (charts(&report.sizes))
                    (failures(report))
                    (table(&report.sizes))
                    div.pair { (method(report)) (circumstances(report)) }
                    footer {
                        "The same figures for programs: report.json. Figures per size and per batch of 1000 requests: "
                        "results-*-client" (report.client) ".txt and results-raw-*-client" (report.client) ".txt."
                    }
                }
            }
        }
    }
    .into_string()
}

fn head(report: &Report) -> Markup {
    let totals = &report.totals;
    let (class, verdict) = match (totals.errors, report.ending) {
        (0, Ending::Complete) => ("good", "every answer was right".to_owned()),
        (0, Ending::Stopped) => ("warn", "stopped early, every answer was right".to_owned()),
        (errors, _) => {
            ("bad", format!("{} of {} failed", units::grouped(errors), units::grouped(totals.requests)))
        }
    };
    html! {
        header {
            div {
                h1 { "SET and GET by value size" }
                p { (report.target.addr) (described(report)) " · " (report.started.replace('T', " ").replace('Z', " UTC")) }
            }
            div class=(format!("verdict {class}")) { (verdict) }
        }
        @if totals.wrong_values > 0 {
            p.alarm.bad {
                "Wrong values: " (units::grouped(totals.wrong_values))
                " answers to GET were not what had been set there."
            }
        }
    }
}

fn described(report: &Report) -> String {
    let facts = &report.target.facts;
    let gateway =
        if facts.gateway.is_empty() { String::new() } else { format!("evenkeel {}", facts.gateway) };
    [&gateway, &facts.server, &facts.mode]
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| format!(" · {text}"))
        .collect()
}

fn tiles(report: &Report) -> Markup {
    let best = |op: Op, figure: fn(&Figures) -> f64| {
        report
            .sizes
            .iter()
            .filter_map(|size| size.figures(op).map(|figures| (figure(figures), size.bytes as u64)))
            .max_by(|one, other| one.0.total_cmp(&other.0))
    };
    let tile = |name: &str, value: String, below: String| {
        html! { div.card.tile { span { (name) } b { (value) } small { (below) } } }
    };
    let rate = |op| best(op, |figures| figures.requests_per_second);
    let bandwidth = Op::ALL
        .into_iter()
        .filter_map(|op| best(op, |figures| figures.bandwidth_bits_per_second).map(|found| (found, op)))
        .max_by(|one, other| one.0.0.total_cmp(&other.0.0));
    let first = report.sizes.iter().find_map(|size| Some((size.bytes, size.get.as_ref()?.latency_seconds?)));
    html! {
        div.tiles {
            @for op in Op::ALL {
                @if let Some((figure, bytes)) = rate(op) {
                    (tile(
                        &format!("Most {}", op.name()),
                        format!("{}/s", units::grouped(figure.round() as u64)),
                        format!("at {}", units::bytes(bytes)),
                    ))
                }
            }
            @if let Some(((figure, bytes), op)) = bandwidth {
                (tile(
                    "Highest bandwidth",
                    units::bits_per_second(figure),
                    format!("{} of {}", op.name(), units::bytes(bytes)),
                ))
            }
            @if let Some((bytes, latency)) = first {
                (tile(
                    "GET latency p99",
                    units::seconds(latency.p99),
                    format!("at {}, half within {}", units::bytes(bytes as u64), units::seconds(latency.p50)),
                ))
            }
            (tile(
                "Requests",
                units::grouped(report.totals.requests),
                format!("{} failed", units::grouped(report.totals.errors)),
            ))
        }
    }
}

fn charts(sizes: &[SizeReport]) -> Markup {
    let bytes: Vec<u64> = sizes.iter().map(|size| size.bytes as u64).collect();
    let both = |figure: fn(&Figures) -> f64| {
        [(Op::Set, "set", Mark::Circle), (Op::Get, "get", Mark::Square)].map(|(op, class, mark)| {
            series(sizes, op, (op.name(), class, mark), |figures| Some(figure(figures)))
        })
    };
    let percentiles = |op| {
        let line = |name, class, mark, figure: fn(Latency) -> f64| {
            series(sizes, op, (name, class, mark), move |figures| figures.latency_seconds.map(figure))
        };
        [
            line("p50", "p50", Mark::Circle, |latency| latency.p50),
            line("p99", "p99", Mark::Square, |latency| latency.p99),
            line("p99.9", "p999", Mark::Diamond, |latency| latency.p999),
        ]
    };
    let throughput = both(|figures| figures.requests_per_second);
    let bandwidth = both(|figures| figures.bandwidth_bits_per_second);
    let (set, get) = (percentiles(Op::Set), percentiles(Op::Get));
    // One range for both latency charts, so that they can be compared by eye.
    let latency = range(set.iter().chain(&get));
    let per_second = |figure| format!("{}/s", units::scaled(figure).trim_end());
    html! {
        div.charts {
            (figure("Throughput, requests a second", per_second, &throughput, &bytes, range(&throughput)))
            (figure("Bandwidth of values", units::bits_per_second, &bandwidth, &bytes, range(&bandwidth)))
            (figure("SET latency", units::seconds, &set, &bytes, latency))
            (figure("GET latency", units::seconds, &get, &bytes, latency))
        }
    }
}

fn series(
    sizes: &[SizeReport],
    op: Op,
    (name, class, mark): (&'static str, &'static str, Mark),
    figure: impl Fn(&Figures) -> Option<f64>,
) -> Series {
    let points =
        sizes.iter().filter_map(|size| Some((size.bytes as u64, figure(size.figures(op)?)?))).collect();
    Series { name, class, mark, points }
}

fn figure(
    title: &str,
    format: fn(f64) -> String,
    series: &[Series],
    sizes: &[u64],
    range: (f64, f64),
) -> Markup {
    let chart = Chart { title, format, series, sizes, range };
    html! {
        figure.card {
            figcaption {
                h2 { (title) }
                div.legend {
                    @for line in series {
                        span {
                            svg class=(format!("series {}", line.class)) viewBox="0 0 24 12" aria-hidden="true" {
                                polyline points="1,6 23,6" {}
                                (PreEscaped(line.mark.svg(12.0, 6.0)))
                            }
                            (line.name)
                        }
                    }
                }
            }
            (PreEscaped(chart.svg()))
        }
    }
}

fn failures(report: &Report) -> Markup {
    html! {
        @if !report.totals.errors_by_kind.is_empty() {
            section.card {
                h2 { "Failed requests" }
                div.scroll { table {
                    tr { th.left { "Kind" } th { "Requests" } th { "Share" } th.left { "The first one said" } }
                    @for (kind, failures) in &report.totals.errors_by_kind {
                        tr {
                            td.left { b { (kind) } }
                            td { (units::grouped(failures.count)) }
                            td { (format!("{:.3}%", failures.count as f64 * 100.0 / report.totals.requests as f64)) }
                            td.left.wide { (failures.example) }
                        }
                    }
                } }
            }
        }
    }
}

fn table(sizes: &[SizeReport]) -> Markup {
    html! {
        section.card {
            h2 { "All figures" }
            div.scroll { table {
                tr {
                    th.left { "Value" } th { "Bits" } th.left { "" } th { "Requests/s" } th { "Bandwidth" }
                    th { "Mean" } th { "p50" } th { "p90" } th { "p99" } th { "p99.9" } th { "Max" }
                    th { "Requests" } th { "Failed" } th { "Keys" }
                }
                @for size in sizes {
                    @for op in Op::ALL {
                        @if let Some(figures) = size.figures(op) { (row(size, op, figures)) }
                    }
                    @if let Some(why) = &size.skipped {
                        tr.get-row { td.left { (units::bytes(size.bytes as u64)) } td.left.wide colspan="13" { (why) } }
                    }
                }
            } }
        }
    }
}

fn row(size: &SizeReport, op: Op, figures: &Figures) -> Markup {
    let time = |pick: fn(Latency) -> f64| {
        figures.latency_seconds.map_or("–".to_owned(), |latency| units::seconds(pick(latency)))
    };
    html! {
        tr class=(format!("{}-row", op.file())) {
            td.left { (units::bytes(size.bytes as u64)) }
            td { (units::grouped(size.bits)) }
            td class=(format!("left {}", op.file())) { (op.name()) }
            td { (units::grouped(figures.requests_per_second.round() as u64)) }
            td { (units::bits_per_second(figures.bandwidth_bits_per_second)) }
            td { (time(|latency| latency.mean)) }
            td { (time(|latency| latency.p50)) }
            td { (time(|latency| latency.p90)) }
            td { (time(|latency| latency.p99)) }
            td { (time(|latency| latency.p999)) }
            td { (time(|latency| latency.max)) }
            td { (units::grouped(figures.requests)) }
            td { @if figures.errors == 0 { "0" } @else { (format!("{:.3}%", figures.error_percentage)) } }
            td { (units::grouped(size.keys)) }
        }
    }
}

fn method(report: &Report) -> Markup {
    html! {
        section.card {
            h2 { "How to read this" }
            ul {
                @for text in &report.remarks { li { b { (text) } } }
                @for text in &report.method { li { (text) } }
            }
        }
    }
}

fn circumstances(report: &Report) -> Markup {
    let (arguments, machine, facts) = (&report.arguments, &report.machine, &report.target.facts);
    let memory = match facts.max_memory_bytes {
        None => "unknown".to_owned(),
        Some(0) => "no limit".to_owned(),
        Some(bytes) => format!("{} ({})", units::bytes(bytes), facts.max_memory_policy),
    };
    let rows = [
        ("Target", report.target.addr.clone()),
        ("Server", described(report).trim_start_matches(" · ").to_owned()),
        ("Its maxmemory", memory),
        ("Connections", arguments.connections.to_string()),
        ("Pipeline", arguments.pipeline.to_string()),
        ("Threads of the generator", arguments.threads.to_string()),
        ("Each phase", format!("{} s", arguments.seconds)),
        ("Most data on the target", units::bytes(arguments.max_data_bytes)),
        ("Time limit of a request", format!("{} s", arguments.timeout_seconds)),
        ("Keys afterwards", if arguments.keep { "kept" } else { "removed" }.to_owned()),
        ("Client machine", format!("{} × {}", machine.cores, machine.cpu)),
        ("Its memory", units::bytes(machine.memory_bytes)),
        ("Its system", format!("{}, Linux {}", machine.os, machine.kernel)),
        ("Its load before", machine.load_average.clone()),
        ("Client", format!("evenkeel {}, number {}, run {}", report.evenkeel, report.client, report.run)),
        ("Began and ended", format!("{} – {}", report.started, report.ended)),
    ];
    html! {
        section.card {
            h2 { "Circumstances" }
            dl { @for (name, value) in rows { dt { (name) } dd { (value) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::report::{Arguments, Measured, Target, Totals, method};
    use super::super::tally::{ByKind, Failures, empty_histogram};
    use super::super::target::Facts;
    use super::*;
    use crate::machine::Machine;

    fn figures(bytes: usize, kinds: ByKind) -> Option<Figures> {
        let mut latency = empty_histogram();
        latency.record_n(80_000, 10_000).unwrap();
        let failed = kinds.values().map(|failures| failures.count).sum();
        let elapsed = Duration::from_secs(1);
        let measured = Measured {
            bytes,
            elapsed,
            latency: &latency,
            failed,
            kinds,
            pipeline: 1,
            processor_seconds: 0.5,
        };
        Some(Figures::new(measured))
    }

    fn report(kinds: ByKind) -> Report {
        let size = |bytes: usize| SizeReport {
            bytes,
            bits: bytes as u64 * 8,
            keys: 10,
            skipped: None,
            set: figures(bytes, ByKind::new()),
            get: figures(bytes, kinds.clone()),
        };
        let mut sizes: Vec<_> = (4..12).map(|shift| size(1 << shift)).collect();
        sizes.push(SizeReport { bytes: 4096, skipped: Some("no room".to_owned()), ..SizeReport::default() });
        let facts = Facts { server: "redis <7>".to_owned(), ..Facts::default() };
        Report {
            schema: 1,
            evenkeel: "0".to_owned(),
            run: "ab".to_owned(),
            client: 1,
            started: units::timestamp(0),
            ended: units::timestamp(9),
            ending: Ending::Complete,
            target: Target { addr: "127.0.0.1:7010".to_owned(), facts },
            machine: Machine::default(),
            arguments: Arguments {
                seconds: 1.0,
                connections: 8,
                pipeline: 1,
                threads: 1,
                sizes: vec![16],
                max_data_bytes: 1,
                timeout_seconds: 5.0,
                keep: false,
            },
            method: method(),
            remarks: vec!["a remark".to_owned()],
            totals: Totals::of(&sizes),
            sizes,
        }
    }

    #[test]
    fn the_page_is_whole_and_asks_for_nothing_from_outside() {
        let page = page(&report(ByKind::new()));
        assert!(page.contains("every answer was right") && page.contains("closed loop"));
        assert!(page.contains("redis &lt;7&gt;"), "what a target says is escaped");
        assert_eq!(page.matches("<figure").count(), 4);
        assert!(page.contains("no room") && page.contains("a remark"));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn wrong_values_are_loud() {
        let failures = Failures { count: 3, example: "key 1 <was> odd".to_owned() };
        let page = page(&report(ByKind::from([("wrong value".to_owned(), failures)])));
        assert!(page.contains("Wrong values: 24"), "eight sizes with three each");
        assert!(page.contains("key 1 &lt;was&gt; odd"));
        assert!(!page.contains("every answer was right"));
    }
}
