//! `drill.html`: one page without anything from outside, made from a [`Report`]. Pure.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Outcome;
use super::chart::{Chart, class, level};
use super::course;
use super::report::{DrillReport, Report, Run, Spread, Who};
use super::table::{errors, spread};
use super::timeline::Timeline;
use crate::units;

/// The page.
pub(crate) fn page(report: &Report) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "evenkeel drill" }
                style { (PreEscaped(include_str!("../bench/page.css"))) (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main {
                    (head(report))
                    (overview(report))
                    @for drill in &report.drills { (card(drill)) }
                    (method(report))
                    footer { "The same for programs: drill.json." }
                }
            }
        }
    }
    .into_string()
}

fn head(report: &Report) -> Markup {
    let (class, verdict) = match report.outcome {
        Outcome::Held => ("good", "every promise held"),
        Outcome::Unable => ("warn", "some drills could not be run"),
        Outcome::Broken => ("bad", "a promise was broken"),
        Outcome::Stopped => ("warn", "stopped early"),
    };
    let machine = &report.machine;
    html! {
        header {
            div {
                h1 { "What clients notice when things break" }
                p {
                    "evenkeel " (report.evenkeel) " · " (report.target) " · " (report.clients) " clients · "
                    (report.started.replace('T', " ").replace('Z', " UTC"))
                }
                p {
                    (machine.cores) " × " (machine.cpu) ", " (units::bytes(machine.memory_bytes)) ", " (machine.os)
                    ", Linux " (machine.kernel) ", load before " (machine.load_average)
                }
            }
            div class=(format!("verdict {class}")) { (verdict) }
        }
    }
}

/// Class and word of a drill's verdict.
fn verdict(drill: &DrillReport) -> (&'static str, &'static str) {
    let class = match (drill.breaches.is_empty(), drill.unable.is_some() || drill.runs.is_empty(), drill.who)
    {
        (false, _, _) => "bad",
        (true, true, _) => "warn",
        (true, false, Who::Evenkeel) => "good",
        (true, false, Who::RedisAlone) => "plain",
    };
    (class, drill.word())
}

fn overview(report: &Report) -> Markup {
    html! {
        section.card {
            h2 { "All drills" }
            div.scroll { table.dense {
                tr {
                    th.left { "Drill" } th.left { "" } th { "Runs" } th { "Writes" } th { "Lost" }
                    th { "Twice" } th { "Stale" } th.left { "Errors" } th { "Longest wait" } th { "elsewhere" }
                    th { "before" } th { "Healed" }
                }
                @for drill in &report.drills {
                    @let (class, word) = verdict(drill);
                    @let summary = &drill.summary;
                    tr {
                        td.left { a href=(format!("#{}", drill.anchor())) { (drill.title()) } }
                        td.left { span class=(format!("verdict {class}")) { (word) } }
                        td { (drill.runs.len()) }
                        td { (units::grouped(summary.acknowledged_writes)) }
                        td { (units::grouped(summary.lost_writes)) }
                        td { (units::grouped(summary.doubled_writes)) }
                        td { (units::grouped(summary.stale_reads)) }
                        td.left.errors { (errors(&summary.errors)) }
                        td { (spread(summary.stall_ms)) }
                        td { (spread(summary.elsewhere_ms)) }
                        td { (spread(summary.noise_ms)) }
                        td { (spread(summary.heal_ms)) }
                    }
                }
            } }
        }
    }
}

fn card(drill: &DrillReport) -> Markup {
    let (class, word) = verdict(drill);
    // the run that was worst is the one to look at
    let wait = |run: &Run| run.figures.stall_ms.unwrap_or(0.0);
    let worst = drill.runs.iter().enumerate().max_by(|one, other| wait(one.1).total_cmp(&wait(other.1)));
    html! {
        section.card id=(drill.anchor()) {
            div.drill-head {
                div { h2 { (drill.title()) } p { (drill.about) } }
                div class=(format!("verdict {class}")) { (word) }
            }
            (figures(drill))
            @for breach in &drill.breaches { p.broken { (breach) } }
            @if let Some(why) = &drill.unable { p.broken { "Could not be run: " (why) } }
            details { summary { "What is promised" } ul.promises { @for promise in &drill.promises { li { (promise) } } } }
            @if let Some((worst, run)) = worst {
                (run_course(drill, worst, run))
                @if drill.runs.len() > 1 {
                    details {
                        summary { @if drill.runs.len() == 2 { "The other run" } @else { "The other " (drill.runs.len() - 1) " runs" } }
                        @for (at, run) in drill.runs.iter().enumerate().filter(|(at, _)| *at != worst) {
                            (run_course(drill, at, run))
                        }
                    }
                }
            }
        }
    }
}

fn figures(drill: &DrillReport) -> Markup {
    let summary = &drill.summary;
    let time = |name: &str, value: Option<Spread>| html! { li { b { (spread(value)) } " " span { (name) } } };
    let count = |name: &str, value: u64| html! { li { b { (units::grouped(value)) } " " span { (name) } } };
    html! {
        @if !drill.runs.is_empty() {
            ul.chips {
                (time("longest wait of a client", summary.stall_ms))
                (time("on other shards", summary.elsewhere_ms))
                (time("before the fault", summary.noise_ms))
                (time("until all was as before", summary.heal_ms))
                (count("acknowledged writes", summary.acknowledged_writes))
                (count("lost", summary.lost_writes))
                (count("applied twice", summary.doubled_writes))
                (count("stale reads", summary.stale_reads))
                (count("read before confirmed, then gone", summary.undone_reads))
                li { b { (errors(&summary.errors)) } " " span { "errors" } }
            }
        }
    }
}

fn run_course(drill: &DrillReport, at: usize, run: &Run) -> Markup {
    let timeline = &run.timeline;
    let title = format!("{}, run {}: requests a second of each shard, and failures", drill.title(), at + 1);
    html! {
        @if drill.runs.len() > 1 { p { "Run " (at + 1) " of " (drill.runs.len()) ": " (run.figures.words()) } }
        div.plot { (PreEscaped(Chart::new(timeline).svg(&title))) }
        (legend(timeline))
        @for finding in &run.figures.findings { p.promises { (finding) } }
        (events(timeline))
    }
}

fn legend(timeline: &Timeline) -> Markup {
    html! {
        div.legend.under {
            @for (at, lane) in timeline.shards.iter().enumerate() {
                span {
                    svg class=(class(at, lane)) viewBox="0 0 24 12" aria-hidden="true" { polyline points="1,6 23,6" {} }
                    "slots " (lane.slots) @if lane.struck { " (struck)" }
                }
            }
            span { i.swatch.fault {} "fault" }
            span { i.swatch.healing {} "until all is as before" }
            span { i.swatch.failed {} "failed requests" }
        }
    }
}

fn events(timeline: &Timeline) -> Markup {
    html! {
        @if !timeline.events.is_empty() {
            details {
                summary { (timeline.events.len()) " events: what the drill did, and what control saw and did" }
                div.scroll { table {
                    tr { th.left { "" } th { "Time" } th.left { "About" } th.left { "What" } th.left { "Because" } }
                    @for (at, event) in timeline.events.iter().enumerate() {
                        tr {
                            td.left.number { (at + 1) }
                            td { (format!("{:+.3} s", event.at_ms as f64 / 1e3)) }
                            td.left { (event.subject) }
                            td class=(format!("left {}", level(event.level))) { (event.what) }
                            td.left.wide { (event.because) }
                        }
                    }
                } }
            }
        }
    }
}

fn method(report: &Report) -> Markup {
    html! {
        section.card {
            h2 { "How to read this" }
            ul {
                @if let Some(remark) = report.remark() { li { b { (remark) } } }
                li {
                    "Each client writes and reads keys of one shard in a closed loop with a few requests in flight: registers "
                    "with growing versions, counters, and lists that are only appended to. It knows what every key may hold, "
                    "so losses, duplicates and old values show. In the end every key is read once more."
                }
                li {
                    "A wait is the time that one client was without a right answer; it counts the load's own pause of "
                    (course::PAUSE.as_millis()) " ms. "
                    "The same before the fault is the noise of this machine; twice that is allowed on top of what is promised, \
                     since the time after the fault is the longer one."
                }
                li { "The fault comes at a random moment. Times of several runs are median (least–most)." }
                li {
                    "A drill called replicated was run with durability \"replicated\": a write is acknowledged when a replica has it, \
                     so none may be lost. UNREPLICATED tells the client that no replica has confirmed its write, NOREPLICAS that it \
                     was refused as there is none."
                }
                @if report.has_alone() {
                    li {
                        "Redis alone: the same servers, with nobody who looks after them and no gateway. As Redis has it by itself, "
                        "one counts as dead after 5 s of silence, and a shard without an owner stops all shards. "
                        "The load speaks to the servers and follows MOVED; it gives up a silent one after "
                        (course::ALONE.as_millis()) " ms and asks another. All is called as before when the replica has "
                        "taken over: nobody starts again what was killed. Nothing is promised of it."
                    }
                }
                li { "UNCERTAIN tells the client that its write may or may not have been applied. It is never sent twice." }
                @if report.drills.iter().any(|drill| drill.runs.len() < 5) {
                    li { "Fewer than five runs of a drill say little about its median." }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue;
    use super::super::figures::Figures;
    use super::super::judge::{Durability, Times};
    use super::super::timeline::{Lane, Mark};
    use super::*;
    use crate::machine::Machine;
    use evenkeel_control::status::Level;

    fn report(lost: u64) -> Report {
        let lane =
            Lane { slots: "0-9".to_owned(), struck: true, acknowledged: vec![5; 40], failed: vec![0; 40] };
        let event = Mark {
            at_ms: 3,
            level: Level::Warning,
            subject: "node <1>".to_owned(),
            what: "dies".to_owned(),
            because: "it must".to_owned(),
        };
        let timeline = Timeline {
            begin_ms: -500,
            sample_ms: 50,
            over_ms: 0,
            healed_ms: Some(900),
            shards: vec![lane],
            events: vec![event],
        };
        let figures =
            Figures { lost_writes: lost, heal_ms: Some(900), stall_ms: Some(12.0), ..Figures::default() };
        let drill = catalogue::named("primary-killed").unwrap();
        let cast = &catalogue::Cast { drill, durability: Durability::Replicated };
        let mut done = DrillReport::begin(cast);
        done.runs.push(Run { figures, timeline });
        done.conclude(cast, Times::Judged);
        let mut report = Report {
            schema: 1,
            evenkeel: "0".to_owned(),
            verdict: "held",
            outcome: Outcome::Held,
            started: units::timestamp(0),
            ended: String::new(),
            target: "a test".to_owned(),
            clients: 12,
            times: Times::Judged,
            machine: Machine::default(),
            drills: Vec::new(),
        };
        report.add(done);
        report.end();
        report
    }

    #[test]
    fn the_page_is_whole_and_asks_for_nothing_from_outside() {
        let page = page(&report(0));
        assert!(page.contains("every promise held") && page.contains("primary-killed, replicated"));
        assert!(page.contains("node &lt;1&gt;"), "what a deployment says is escaped");
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_broken_promise_is_loud() {
        let report = report(7);
        assert_eq!(report.verdict, "broken");
        assert!(page(&report).contains("7 acknowledged writes were lost"));
        assert!(report.json().contains("\"lost_writes\": 7"));
    }
}
