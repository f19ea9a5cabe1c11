//! The report as plain text for a terminal, and the list of drills.

use std::collections::BTreeMap;

use super::catalogue;
use super::figures::Figures;
use super::judge::Durability;
use super::report::{DrillReport, Report, Spread};
use crate::units;

/// Every drill with what it does and promises.
pub(crate) fn list(durability: Durability) -> String {
    let mut text = String::new();
    for drill in catalogue::ALL {
        text += &format!("{}: {}\n", drill.name, drill.about);
        for promise in drill.promises.words(durability) {
            text += &format!("    {promise}\n");
        }
    }
    text + match durability {
        Durability::Async => "\nwhat holds with durability replicated: --list --durability replicated\n",
        Durability::Replicated => "",
    }
}

/// The table, and what was broken below it.
pub(crate) fn table(report: &Report) -> String {
    let head = [
        "DRILL",
        "CLASS",
        "RUNS",
        "WRITES",
        "LOST",
        "TWICE",
        "STALE",
        "ERRORS",
        "STALL",
        "ELSEWHERE",
        "NOISE",
        "HEALED",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(report.drills.iter().map(row));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            text += &format!("{cell:<width$}  ");
        }
        let verdict = at.checked_sub(1).map_or("VERDICT", |at| word(&report.drills[at]));
        text += verdict;
        text.push('\n');
    }
    text += "\nSTALL: longest time that a client of a struck shard was without a right answer; ELSEWHERE: of another \
             shard;\nNOISE: of any before the fault. Times are median (least–most) over the runs. CLASS: what writes waited for,\n\
             the primary (async) or a replica too (replicated).\n";
    if report.has_alone() {
        text += "Redis alone: the same servers without gateway and control, with its own 5 s of silence until one counts as dead; \
                 its\nload follows MOVED as a client for clusters does, and HEALED ends when the replica has taken over.\n";
    }
    if let Some(remark) = report.remark() {
        text += &format!("{remark}\n");
    }
    for drill in &report.drills {
        for breach in &drill.breaches {
            text += &format!("\n{}: {breach}", drill.title());
        }
        if let Some(why) = &drill.unable {
            text += &format!("\n{}: could not be run: {why}", drill.title());
        }
    }
    text
}

fn row(drill: &DrillReport) -> Vec<String> {
    let summary = &drill.summary;
    vec![
        drill.name.to_owned(),
        drill.class().to_owned(),
        drill.runs.len().to_string(),
        units::grouped(summary.acknowledged_writes),
        units::grouped(summary.lost_writes),
        units::grouped(summary.doubled_writes),
        units::grouped(summary.stale_reads),
        errors(&summary.errors),
        spread(summary.stall_ms),
        spread(summary.elsewhere_ms),
        spread(summary.noise_ms),
        spread(summary.heal_ms),
    ]
}

fn word(drill: &DrillReport) -> &'static str {
    if drill.breaches.is_empty() { drill.word() } else { "BROKEN" }
}

/// `14 (10–19) ms`, or one figure where all are the same
pub(crate) fn spread(spread: Option<Spread>) -> String {
    let Some(Spread { median, least, most }) = spread else { return "–".to_owned() };
    let (unit, factor) = if most < 1e3 { ("ms", 1.0) } else { ("s", 1e-3) };
    let figure = |ms: f64| match ms * factor {
        figure @ 99.95.. => format!("{figure:.0}"),
        figure @ 9.995.. if unit == "ms" => format!("{figure:.0}"),
        figure => format!("{figure:.1}"),
    };
    match (figure(least), figure(most)) {
        (least, most) if least == most => format!("{most} {unit}"),
        (least, most) => format!("{} ({least}–{most}) {unit}", figure(median)),
    }
}

/// `12 UNCERTAIN, 3 OOM`
pub(crate) fn errors(errors: &BTreeMap<String, u64>) -> String {
    if errors.is_empty() {
        return "0".to_owned();
    }
    let errors: Vec<String> =
        errors.iter().map(|(kind, count)| format!("{} {kind}", units::grouped(*count))).collect();
    errors.join(", ")
}

impl Figures {
    /// One run in a line.
    pub(crate) fn words(&self) -> String {
        let at = |ms: Option<i64>| ms.map_or(String::new(), |ms| format!(" at {:+.2} s", ms as f64 / 1e3));
        let or_dash = |ms: Option<f64>| ms.map_or("–".to_owned(), |ms| units::seconds(ms / 1e3));
        let all: BTreeMap<String, u64> = self.errors.iter().chain(&self.errors_elsewhere).fold(
            BTreeMap::new(),
            |mut all, (kind, count)| {
                *all.entry(kind.clone()).or_insert(0) += count;
                all
            },
        );
        format!(
            "{} writes, {} lost, {} twice, {} stale, {} undone, errors: {}, stall {}{} (elsewhere {}{}, noise {}), healed after {}",
            units::grouped(self.acknowledged_writes),
            self.lost_writes,
            self.doubled_writes,
            self.stale_reads,
            self.undone_reads,
            errors(&all),
            or_dash(self.stall_ms),
            at(self.stall_at_ms),
            or_dash(self.elsewhere_ms),
            at(self.elsewhere_at_ms),
            or_dash(Some(self.noise_ms)),
            or_dash(self.heal_ms.map(|ms| ms as f64)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(spread(Spread::of([14.0])), "14 ms");
        assert_eq!(spread(Spread::of([19.2, 9.3, 14.0])), "14 (9.3–19) ms");
        assert_eq!(spread(Spread::of([4_020.0, 380.0])), "2.2 (0.4–4.0) s");
        assert_eq!(spread(None), "–");
        assert_eq!(errors(&BTreeMap::from([("OOM".to_owned(), 1200)])), "1,200 OOM");
    }

    #[test]
    fn the_list_names_every_drill() {
        for durability in [Durability::Async, Durability::Replicated] {
            let list = list(durability);
            assert!(
                catalogue::ALL.iter().all(|drill| list.contains(drill.name) && list.contains(drill.about))
            );
        }
    }
}
