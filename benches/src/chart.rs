//! The chart of a run: the speed of each contender relative to a native client.

use crate::{contenders::Contender, report::Report};
use std::fmt::Write;

const ROW: usize = 16;
const LABEL: usize = 230;
const WIDTH: usize = 860;

/// The cases in the chart, by their names in the report.
const CASES: [&str; 5] =
    ["ping-pong, 64 B", "ping-pong, 64 KiB", "plain loop, 64 B", "plain loop, 1 MiB", "bursts, 64 B"];

/// An SVG image.
pub(crate) fn draw(report: &Report) -> String {
    let mut body = String::new();
    let mut y = 40;
    let shown = |case: &str| report.websockets.iter().filter(move |row| row.case == case).collect::<Vec<_>>();
    let speeds = |case: &str| -> Vec<(Contender, f64)> {
        let rows = shown(case);
        let native = rows.iter().find(|row| row.contender == Contender::Native);
        rows.iter().filter_map(|row| Some((row.contender, row.speed(native?)?))).collect()
    };
    let most = CASES.iter().flat_map(|case| speeds(case)).map(|(_, speed)| speed).fold(1.0, f64::max);
    let scale = (WIDTH - LABEL - 60) as f64 / most;
    for case in CASES {
        let _ = writeln!(body, r#"<text x="10" y="{}" class="case">{case}</text>"#, y + 12);
        y += ROW + 4;
        for (contender, speed) in speeds(case) {
            let class = if contender == Contender::Guest { "guest" } else { "other" };
            let width = speed * scale;
            let _ = writeln!(
                body,
                r#"<text x="{}" y="{}" class="who">{}</text><rect x="{LABEL}" y="{y}" width="{width:.1}" height="{}" class="{class}"/><text x="{:.1}" y="{}">{speed:.2}</text>"#,
                LABEL - 8,
                y + 11,
                contender.name(),
                ROW - 3,
                LABEL as f64 + width + 6.0,
                y + 11,
            );
            y += ROW;
        }
        y += 10;
    }
    let native = LABEL as f64 + scale;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="11">
<style>text{{fill:black}}.case{{font-weight:bold;font-size:12px}}.who{{text-anchor:end}}.guest{{fill:steelblue}}.other{{fill:lightsteelblue}}line{{stroke:crimson;stroke-dasharray:3}}</style>
<rect width="{WIDTH}" height="{y}" fill="white"/>
<text x="10" y="20" font-size="14">Messages per second relative to tokio-tungstenite with a flush for each message (1.00)</text>
{body}<line x1="{native:.1}" y1="34" x2="{native:.1}" y2="{y}"/>
</svg>
"#
    )
}
