//! The plot: for each adapter, how often a case is done while its floor is done once, by the
//! number of callers. Drawn as SVG that follows the reader's light or dark theme by itself.

use std::fmt::Write as _;

use crate::results::Report;

/// What is drawn, in this order, each with a colour that both themes can show. The first word that
/// a case's name begins with decides.
const SERIES: [(&str, &str); 6] = [
    ("usual recipe", "#8a8f98"),
    ("closure", "#c2603b"),
    ("one-shot, grouped", "#2f7ed8"),
    ("adjust, 10,000 accounts", "#2a9d6f"),
    ("adjust, one hot account", "#8b5fc7"),
    ("replay", "#c59a1b"),
];

const WIDTH: f64 = 250.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 34.0;
const GAP: f64 = 26.0;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}\
.g{stroke:#d0d7de;stroke-width:1}.one{stroke:#57606a;stroke-width:1.5;stroke-dasharray:4 3}\
.s{fill:none;stroke-width:2}.m{fill:#57606a}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.g{stroke:#30363d}.one{stroke:#9198a1}.m{fill:#9198a1}}";

/// One panel for each adapter that has something to draw, and a legend.
#[must_use]
pub fn plot(reports: &[Report]) -> String {
    let drawn: Vec<&Report> = reports
        .iter()
        .filter(|report| !lines(report).is_empty())
        .collect();
    let scale = Scale::over(&drawn);
    let width = LEFT + GAP + column(drawn.len());
    let height = TOP + HEIGHT + 96.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         role=\"img\" aria-label=\"Operations for one bare write, by the number of callers\">\
         <style>{STYLE}</style>"
    );
    for (at, report) in drawn.iter().enumerate() {
        panel(&mut svg, report, &scale, LEFT + column(at));
    }
    legend(&mut svg, LEFT, TOP + HEIGHT + 46.0);
    svg.push_str("</svg>\n");
    svg
}

#[allow(clippy::cast_precision_loss)] // a handful of panels
fn column(at: usize) -> f64 {
    at as f64 * (WIDTH + LEFT + GAP)
}

/// Both axes are logarithmic: callers from the fewest to the most, ratios in powers of two.
struct Scale {
    callers: Vec<usize>,
    low: f64,
    high: f64,
}

impl Scale {
    fn over(reports: &[&Report]) -> Self {
        let mut callers: Vec<usize> = reports.iter().flat_map(|report| report.callers()).collect();
        callers.sort_unstable();
        callers.dedup();
        let ratios = || {
            reports
                .iter()
                .flat_map(|report| lines(report))
                .flat_map(|line| line.points)
                .map(|(_, ratio)| ratio.log2())
        };
        Self {
            callers,
            low: ratios().fold(-1.0, f64::min).floor().max(-8.0),
            high: ratios().fold(1.0, f64::max).ceil(),
        }
    }

    fn x(&self, callers: usize) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let place = |callers: usize| (callers.max(1) as f64).log2();
        let first = self.callers.first().copied().map_or(0.0, place);
        let last = self.callers.last().copied().map_or(1.0, place);
        (place(callers) - first) / (last - first).max(1.0) * WIDTH
    }

    fn y(&self, ratio: f64) -> f64 {
        let place = ratio.log2().clamp(self.low, self.high);
        TOP + HEIGHT * (self.high - place) / (self.high - self.low)
    }
}

struct Line {
    colour: &'static str,
    points: Vec<(usize, f64)>,
}

/// The cases of a report that are drawn: the first case of each series.
fn lines(report: &Report) -> Vec<Line> {
    SERIES
        .iter()
        .filter_map(|(name, colour)| {
            let first = report.rows.iter().find(|row| row.case.starts_with(name))?;
            let points: Vec<(usize, f64)> = report
                .rows
                .iter()
                .filter(|row| row.case == first.case && row.ratio.median > 0.0)
                .map(|row| (row.callers, row.ratio.median))
                .collect();
            (!points.is_empty()).then_some(Line { colour, points })
        })
        .collect()
}

fn panel(svg: &mut String, report: &Report, scale: &Scale, left: f64) {
    let _ = write!(
        svg,
        "<text class=\"t\" x=\"{left:.0}\" y=\"18\">{}</text>",
        super::page::escape(&report.adapter)
    );
    #[allow(clippy::cast_possible_truncation)] // a dozen powers of two
    for power in (scale.low as i32..=scale.high as i32).filter(|power| power % 2 == 0) {
        let ratio = 2_f64.powi(power);
        let y = scale.y(ratio);
        let class = if power == 0 { "one" } else { "g" };
        let label = if power < 0 {
            format!("1/{:.0}", 1.0 / ratio)
        } else {
            format!("{ratio:.0}")
        };
        let _ = write!(
            svg,
            "<line class=\"{class}\" x1=\"{left:.0}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"m\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            left + WIDTH,
            left - 6.0,
            y + 4.0
        );
    }
    for callers in &scale.callers {
        let _ = write!(
            svg,
            "<text class=\"m\" x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{callers}</text>",
            left + scale.x(*callers),
            TOP + HEIGHT + 18.0
        );
    }
    for Line { colour, points } in lines(report) {
        let at = |(callers, ratio): &(usize, f64)| (left + scale.x(*callers), scale.y(*ratio));
        let path: Vec<String> = points
            .iter()
            .map(at)
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = write!(
            svg,
            "<polyline class=\"s\" stroke=\"{colour}\" points=\"{}\"/>",
            path.join(" ")
        );
        for (x, y) in points.iter().map(at) {
            let _ = write!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
    }
}

fn legend(svg: &mut String, left: f64, top: f64) {
    let _ = write!(
        svg,
        "<text class=\"m\" x=\"{left:.0}\" y=\"{:.0}\">callers at once; dashed: the bare write \
         without protection (1)</text>",
        top - 8.0
    );
    for (at, (name, colour)) in SERIES.iter().enumerate() {
        #[allow(clippy::cast_precision_loss)] // six
        let (x, y) = (
            left + (at % 3) as f64 * 210.0,
            top + (at / 3) as f64 * 20.0 + 8.0,
        );
        let _ = write!(
            svg,
            "<circle cx=\"{:.0}\" cy=\"{:.0}\" r=\"4\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{y:.0}\">{name}</text>",
            x + 4.0,
            y - 4.0,
            x + 14.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::Row, statistics::Spread};

    fn report(adapter: &str) -> Report {
        let row = |case: &str, callers, median| Row {
            case: case.to_owned(),
            callers,
            ratio: Spread {
                median,
                lower: median,
                upper: median,
            },
            ..Row::default()
        };
        Report {
            adapter: adapter.to_owned(),
            rows: vec![
                row("usual recipe", 1, 0.35),
                row("usual recipe", 32, 0.25),
                row("one-shot, grouped", 1, 0.75),
                row("one-shot, grouped", 32, 2.5),
            ],
            ..Report::default()
        }
    }

    #[test]
    fn quicker_is_higher_and_more_callers_are_further_right() {
        let report = report("postgres");
        let scale = Scale::over(&[&report]);
        assert!(scale.y(2.5) < scale.y(1.0) && scale.y(1.0) < scale.y(0.25));
        assert!(scale.x(1) < scale.x(32));
        assert!((scale.x(32) - WIDTH).abs() < 1e-9);
    }

    #[test]
    fn there_is_a_panel_for_each_adapter_and_a_line_for_each_series() {
        let svg = plot(&[report("postgres"), report("a<b"), Report::default()]);
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
    }
}
