//! The plots of a record: bars as SVG, a file for each work and measure, written by hand: bars need no library.
//!
//! A panel for each number of clients has a scale of its own, since one client and 256 differ a hundredfold; every bar carries
//! its number. A thin line goes from the lowest round to the highest.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;

use crate::record::Record;
use crate::stats::{Latency, Spread};
use crate::table::{Cell, cells, works};

const WIDTH: f64 = 720.0;
/// Where bars begin, and where the longest ends.
const BARS: (f64, f64) = (150.0, 620.0);
const ROW: f64 = 22.0;
const HEAD: f64 = 44.0;
const PANEL_HEAD: f64 = 26.0;
/// One for each system, in the order of the record; told apart also by those who do not see red and green (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#56b4e9", "#d55e00", "#cc79a7", "#999999", "#f0e442"];

/// One measure of a work.
struct Measure {
    /// Part of the file's name.
    word: &'static str,
    /// Below the title.
    says: &'static str,
    of: fn(&Cell<'_>) -> Option<Spread>,
}

const MEASURES: [Measure; 3] = [
    Measure { word: "rate", says: "operations a second; more is better", of: |cell| cell.rates() },
    Measure {
        word: "p99",
        says: "milliseconds within which 99 of 100 were answered; less is better",
        of: |cell| cell.latency_ms(|latency: Latency| latency.p99),
    },
    Measure {
        word: "cpu",
        says: "CPU seconds of all servers for 10,000 operations; less is better",
        of: |cell| cell.cpu(),
    },
];

/// A bar.
struct Bar<'a> {
    name: &'a str,
    colour: &'static str,
    spread: Spread,
}

/// Bars on one scale.
struct Panel<'a> {
    title: String,
    bars: Vec<Bar<'a>>,
}

/// Writes all plots of a record into a folder.
///
/// # Errors
/// A file cannot be written.
pub fn write(record: &Record, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in drawn(record) {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Every plot, with its file's name.
fn drawn(record: &Record) -> Vec<(String, String)> {
    let colour = |system: &str| {
        let at = record.systems.iter().position(|about| about.name == system).unwrap_or(0);
        COLOURS[at % COLOURS.len()]
    };
    let mut all = Vec::new();
    for work in works(record) {
        let cells = cells(record, work);
        for measure in &MEASURES {
            let mut panels: Vec<Panel<'_>> = Vec::new();
            for cell in &cells {
                let title = format!("clients: {}", cell.clients);
                let Some(spread) = (measure.of)(cell) else { continue };
                let bar = Bar { name: cell.system, colour: colour(cell.system), spread };
                match panels.last_mut() {
                    Some(panel) if panel.title == title => panel.bars.push(bar),
                    _ => panels.push(Panel { title, bars: vec![bar] }),
                }
            }
            all.push((
                format!("{}-{}.svg", work.word(), measure.word),
                chart(work.word(), measure.says, &panels),
            ));
        }
    }
    let gaps = record.failovers.iter().filter_map(|failover| {
        let spread = Spread::of(failover.gaps_ms.iter().copied())?;
        Some(Bar { name: &failover.system, colour: colour(&failover.system), spread })
    });
    let bars: Vec<Bar<'_>> = gaps.collect();
    if !bars.is_empty() {
        let panels = [Panel { title: "kill -9 of the leader".to_owned(), bars }];
        let says = "milliseconds without an acknowledged write; less is better";
        all.push(("failover.svg".to_owned(), chart("failover", says, &panels)));
    }
    all
}

fn chart(title: &str, says: &str, panels: &[Panel<'_>]) -> String {
    let rows: usize = panels.iter().map(|panel| panel.bars.len()).sum();
    let height = HEAD + PANEL_HEAD * panels.len() as f64 + ROW * rows as f64 + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, (12.0, 20.0), " font-size=\"15\" font-weight=\"bold\"", title);
    text(&mut svg, (12.0, 37.0), " fill=\"#555555\"", says);
    let mut y = HEAD;
    for panel in panels {
        text(&mut svg, (12.0, y + 18.0), " font-weight=\"bold\"", &panel.title);
        y += PANEL_HEAD;
        let most = panel.bars.iter().map(|bar| bar.spread.max).fold(0.0, f64::max);
        for bar in &panel.bars {
            draw_bar(&mut svg, bar, y, most);
            y += ROW;
        }
    }
    svg + "</svg>\n"
}

fn draw_bar(svg: &mut String, bar: &Bar<'_>, y: f64, most: f64) {
    let (left, right) = BARS;
    let at = |number: f64| if most > 0.0 { left + (right - left) * number / most } else { left };
    let Spread { min, median, max } = bar.spread;
    text(svg, (left - 8.0, y + 14.0), " text-anchor=\"end\"", bar.name);
    let (width, middle) = (at(median) - left, y + 9.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" fill=\"{}\"/>",
        y + 2.0,
        bar.colour
    );
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {middle}H{:.1}M{:.1} {}v6M{:.1} {}v6\" stroke=\"#222222\"/>",
        at(min),
        at(max),
        at(min),
        middle - 3.0,
        at(max),
        middle - 3.0
    );
    text(svg, (at(max) + 6.0, y + 14.0), "", &number(median));
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\"{style}>{words}</text>");
}

/// Three digits that count, and thousands apart.
fn number(number: f64) -> String {
    match number {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => {
            let whole = format!("{number:.0}");
            let groups = whole.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
            groups.collect::<Vec<_>>().join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::record;

    #[test]
    fn each_measure_of_each_work_is_a_file_and_each_system_a_bar() {
        let all = drawn(&record());
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["order-hot-rate.svg", "order-hot-p99.svg", "order-hot-cpu.svg", "failover.svg"]);
        let rate = &all[0].1;
        assert!(rate.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" ") && rate.ends_with("</svg>\n"));
        // A bar each, beside the ground.
        assert_eq!(rate.matches("<rect ").count(), 3, "{rate}");
        assert!(
            rate.contains(">clients: 64</text>")
                && rate.contains(">2,000</text>")
                && rate.contains(">1,000</text>"),
            "{rate}"
        );
        // The median of feira's rounds is two thirds of its highest, which fills the scale.
        assert!(rate.contains("width=\"313.3\" height=\"14\" fill=\"#0072b2\""), "{rate}");
    }

    #[test]
    fn names_cannot_break_a_plot() {
        let mut record = record();
        record.systems[1].name = "a<b&c".to_owned();
        record.failovers[0].system = "a<b&c".to_owned();
        let all = drawn(&record);
        assert!(all.last().is_some_and(|(_, svg)| svg.contains(">a&lt;b&amp;c</text>")));
    }

    #[test]
    fn nothing_measured_is_nothing_drawn() {
        assert!(drawn(&Record::default()).is_empty());
        let zero = Bar { name: "x", colour: COLOURS[0], spread: Spread { min: 0.0, median: 0.0, max: 0.0 } };
        let svg = chart("a", "b", &[Panel { title: "c".to_owned(), bars: vec![zero] }]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn numbers_have_thousands_apart() {
        assert_eq!([1.234, 45.678, 999.6, 1_234_567.0].map(number), ["1.23", "45.7", "1,000", "1,234,567"]);
    }
}
