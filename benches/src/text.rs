//! The report for people: tables of plain text.

use std::fmt::Write;

use crate::{
    report::{Report, Start},
    statistics::Spread,
    targets::Target,
};

/// Rows of cells; the first cell of each is a name, the others are numbers.
pub(crate) struct Table {
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn headed(cells: &[&str]) -> Self {
        Table { rows: vec![cells.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Names to the left, numbers to the right; nothing if there are only headings.
    pub(crate) fn print(&self, text: &mut String) {
        if self.rows.len() < 2 {
            return;
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ =
                    if index == 0 { write!(line, "{cell:width$}") } else { write!(line, "  {cell:>width$}") };
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.push('\n');
    }
}

/// All of it.
pub(crate) fn text(report: &Report) -> String {
    let mut text = String::new();
    let host = &report.host;
    let _ =
        writeln!(text, "{} × {}, Linux {}, load {}", host.processors, host.processor, host.kernel, host.load);
    for tool in &host.tools {
        let _ = writeln!(text, "{tool}");
    }
    let _ = writeln!(text, "{} rounds; medians, and the range of four runs in five\n", report.rounds);
    starts(report, &mut text);
    memory(report, &mut text);
    phases(report, &mut text);
    instructions(report, &mut text);
    targets(&report.targets, &mut text);
    for skipped in &report.skipped {
        let _ = writeln!(text, "SKIP {}: {}", skipped.name, skipped.reason);
    }
    text
}

fn starts(report: &Report, text: &mut String) {
    let mut table =
        Table::headed(&["start", "first byte ms", "range", "exit ms", "range", "by runc's", "TCG's by this"]);
    for start in &report.starts {
        let Start { name, first_byte_ms, exit_ms, to_runc, emulator_to_it } = start;
        table.rows.push(vec![
            name.clone(),
            format!("{:.2}", first_byte_ms.median),
            range(first_byte_ms),
            format!("{:.2}", exit_ms.median),
            range(exit_ms),
            to_runc.map_or_else(String::new, |ratio| format!("{:.2}", ratio.median)),
            emulator_to_it.map_or_else(String::new, |ratio| format!("{:.1}", ratio.median)),
        ]);
    }
    table.print(text);
}

pub(crate) fn range(spread: &Spread) -> String {
    format!("{:.2}-{:.2}", spread.p10, spread.p90)
}

fn memory(report: &Report, text: &mut String) {
    let mut table =
        Table::headed(&["memory while idle, KiB of PSS", "processes", "total", "guest's", "above"]);
    for held in &report.memory {
        let numbers = [held.processes, held.total_kib, held.guest_kib, held.above_guest_kib];
        table
            .rows
            .push([held.name.clone()].into_iter().chain(numbers.map(|number| number.to_string())).collect());
    }
    table.print(text);
}

fn phases(report: &Report, text: &mut String) {
    for breakdown in &report.phases {
        let mut table = Table::headed(&[&breakdown.name, "ms", "range"]);
        for phase in &breakdown.phases {
            let name = format!("  {}", phase.name);
            table.rows.push(vec![name, format!("{:.2}", phase.ms.median), range(&phase.ms)]);
        }
        table.print(text);
    }
}

fn instructions(report: &Report, text: &mut String) {
    let mut table =
        Table::headed(&["in the guest, ns", "host", "runu", "TCG", "by the host's", "TCG's by runu's"]);
    for cost in &report.instructions {
        let ns = |ns: Option<f64>| ns.map_or_else(String::new, |ns| format!("{ns:.1}"));
        let ratio = |of: Option<f64>, to: Option<f64>| {
            of.zip(to).map_or_else(String::new, |(of, to)| format!("{:.2}", of / to))
        };
        table.rows.push(vec![
            cost.name.clone(),
            ns(cost.native_ns),
            ns(cost.runu_ns),
            ns(cost.emulated_ns),
            ratio(cost.runu_ns, cost.native_ns),
            ratio(cost.emulated_ns, cost.runu_ns),
        ]);
    }
    table.print(text);
}

/// What became of the targets.
pub(crate) fn targets(all: &[Target], text: &mut String) {
    let mut table = Table::headed(&["target", "bound", "measured", ""]);
    for target in all {
        let sign = if target.at_least { "≥" } else { "≤" };
        let verdict = if target.met { "pass" } else { "MISS" };
        let (bound, measured) = (format!("{sign} {}", target.bound), format!("{:.2}", target.measured));
        table.rows.push(vec![target.what.clone(), bound, measured, verdict.to_owned()]);
    }
    table.print(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_aligns_names_left_and_numbers_right() {
        let mut table = Table::headed(&["name", "n"]);
        table.rows.push(vec!["a".to_owned(), "100".to_owned()]);
        let mut text = String::new();
        table.print(&mut text);
        assert_eq!(text, "name    n\na     100\n\n");
    }

    #[test]
    fn table_without_rows_is_not_printed() {
        let mut text = String::new();
        Table::headed(&["name", "n"]).print(&mut text);
        assert_eq!(text, "");
    }
}
