//! A line chart as SVG, for docs/: both axes are logarithmic, as what is compared differs by orders of magnitude.
//!
//! It has no size of its own on a page and follows the reader's choice of light or dark.

use std::fmt::Write;

/// Wide enough for a label at the end of each line.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 52.0;
/// Two labels are at least so far apart.
const LINE: f64 = 16.0;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2933}.title{font-size:15px;font-weight:600}\
    .paper{fill:#fff}.grid{stroke:#e3e8ee}.line{fill:none;stroke-width:2}.faint{fill:#6b7887}\
    .s0{stroke:#2f7ed8}.s1{stroke:#d9822b}.s2{stroke:#7a8794}.s3{stroke:#8e5bd0}\
    .d0{fill:#2f7ed8}.d1{fill:#d9822b}.d2{fill:#7a8794}.d3{fill:#8e5bd0}\
    @media(prefers-color-scheme:dark){text{fill:#e4e9ef}.paper{fill:#10161c}.grid{stroke:#2b3641}.faint{fill:#93a1b0}}";

/// What is to be drawn.
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    /// Under the horizontal axis.
    pub(crate) across: &'a str,
    /// Above the vertical one.
    pub(crate) up: &'a str,
    /// Each line's name and its points, from left to right; all are above 0.
    pub(crate) lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// One axis: from which power to which, on how much paper.
struct Axis {
    from: f64,
    to: f64,
    at: f64,
    length: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        self.at + self.length * (value.log10() - self.from) / (self.to - self.from)
    }
}

impl Chart<'_> {
    /// The whole file.
    pub(crate) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points.iter().copied());
        let spread = |values: Vec<f64>| {
            let low = values.iter().copied().fold(f64::INFINITY, f64::min).log10();
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max).log10();
            (low, high.max(low + 0.1))
        };
        let (left, right) = spread(points().map(|(x, _)| x).collect());
        let (low, high) = spread(points().map(|(_, y)| y).collect());
        let x = Axis { from: left, to: right, at: LEFT, length: WIDTH - LEFT - RIGHT };
        // Upwards is towards smaller numbers, on paper.
        let (low, high) = (low - 0.1, high + 0.1);
        let y = Axis { from: low, to: high, at: HEIGHT - BOTTOM, length: TOP + BOTTOM - HEIGHT };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"22\">{title}</text>\n\
             <text class=\"faint\" x=\"{LEFT}\" y=\"{}\">{}</text>\n\
             <text class=\"faint\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            TOP - 8.0,
            self.up,
            LEFT + x.length / 2.0,
            HEIGHT - 10.0,
            self.across,
            title = self.title,
        );
        self.grid(&mut svg, &x, &y);
        self.draw(&mut svg, &x, &y);
        svg + "</svg>\n"
    }

    fn grid(&self, svg: &mut String, x: &Axis, y: &Axis) {
        for value in steps(y.from, y.to) {
            let at = y.place(value);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                LEFT + x.length,
                LEFT - 8.0,
                at + 4.0,
            );
        }
        let mut all: Vec<f64> =
            self.lines.iter().flat_map(|(_, points)| points.iter().map(|(x, _)| *x)).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        for value in all {
            let (at, under) = (x.place(value), HEIGHT - BOTTOM + 18.0);
            let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{under}\" text-anchor=\"middle\">{value}</text>");
        }
    }

    fn draw(&self, svg: &mut String, x: &Axis, y: &Axis) {
        let mut labels = Vec::new();
        for (number, (name, points)) in self.lines.iter().enumerate() {
            let placed: Vec<_> = points.iter().map(|&(across, up)| (x.place(across), y.place(up))).collect();
            let path: Vec<_> = placed.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            let _ = writeln!(svg, "<path class=\"line s{number}\" d=\"M{}\"/>", path.join("L"));
            for ((x, y), (_, value)) in placed.iter().zip(points) {
                let _ = writeln!(
                    svg,
                    "<circle class=\"d{number}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{name}: {value:.2}</title></circle>"
                );
            }
            labels
                .extend(placed.last().zip(points.last()).map(|(&(x, y), &(_, value))| (y, x, *name, value)));
        }
        labels.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
        let mut free = f64::NEG_INFINITY;
        for (y, x, name, value) in labels {
            let at = y.max(free);
            free = at + LINE;
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\">{name}, {}</text>",
                x + 9.0,
                at + 4.0,
                short(value)
            );
        }
    }
}

/// 1, 2 and 5 of each power of ten between two logarithms.
fn steps(from: f64, to: f64) -> Vec<f64> {
    let powers = from.floor() as i32..=to.ceil() as i32;
    let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    all.filter(|value| (from..=to).contains(&value.log10())).collect()
}

/// Three digits are enough for an eye.
fn short(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
