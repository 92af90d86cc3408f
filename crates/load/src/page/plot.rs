//! Lines over an axis, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;

pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    /// What the axis below says.
    pub(super) across: &'a str,
    pub(super) lines: Vec<Line<'a>>,
    pub(super) scale: Scale,
    pub(super) ticks: fn(f64) -> String,
    pub(super) across_ticks: fn(f64) -> String,
}

pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'a str,
    /// Whether the area below it is filled.
    pub(super) filled: bool,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// From a power of ten to a power of ten.
    Logarithmic,
}

/// Where values are on the page.
struct Axes {
    scale: Scale,
    across: (f64, f64),
    up: (f64, f64),
}

impl Plot<'_> {
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points).copied();
        if points().count() < 2 {
            return String::new();
        }
        let axes = Axes::around(self.scale, points());
        let mut svg = String::new();
        for value in axes.up_ticks() {
            let y = axes.y(value);
            let _ = write!(
                svg,
                "<line class=grid x1={LEFT} x2={} y1={y:.1} y2={y:.1} /><text x={} y={:.1} \
                 text-anchor=end>{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                (self.ticks)(value)
            );
        }
        for value in axes.across_ticks() {
            let _ = write!(
                svg,
                "<text x={:.1} y={} text-anchor=middle>{}</text>",
                axes.x(value),
                HEIGHT - BOTTOM + 18.0,
                (self.across_ticks)(value)
            );
        }
        let _ = write!(
            svg,
            "<text class=across x={:.1} y={} text-anchor=middle>{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 6.0,
            self.across
        );
        for line in &self.lines {
            svg.push_str(&line.path(&axes));
        }
        let title = self.title;
        let legend = self.legend();
        format!(
            "<section><h2>{title}{legend}</h2><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img \
             aria-label=\"{title}\">{svg}</svg></section>"
        )
    }

    fn legend(&self) -> String {
        if self.lines.len() < 2 {
            return String::new();
        }
        let entries = self
            .lines
            .iter()
            .map(|line| format!("<span class=\"key {}\">{}</span>", line.class, line.name));
        entries.collect()
    }
}

impl Line<'_> {
    fn path(&self, axes: &Axes) -> String {
        let mut path = String::new();
        for (at, (x, y)) in self.points.iter().enumerate() {
            let command = if at == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", axes.x(*x), axes.y(*y));
        }
        let class = self.class;
        let area = match (self.filled, self.points.first(), self.points.last()) {
            (true, Some((first, _)), Some((last, _))) => {
                let (floor, first, last) = (HEIGHT - BOTTOM, axes.x(*first), axes.x(*last));
                let end = format!("L{last:.1} {floor}L{first:.1} {floor}Z");
                format!("<path class=\"area {class}\" d=\"{path}{end}\"/>")
            }
            _ => String::new(),
        };
        format!("{area}<path class=\"line {class}\" d=\"{path}\"/>")
    }
}

impl Axes {
    fn around(scale: Scale, points: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let fold = |of: fn((f64, f64)) -> f64| {
            let values = points.clone().map(of);
            values
                .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
        };
        let across = fold(|(x, _)| x);
        let (low, high) = fold(|(_, y)| y);
        let up = match scale {
            Scale::Linear => (0.0, round_up(high.max(1.0))),
            Scale::Logarithmic => {
                let low = low.max(1.0).log10().floor();
                (low, high.max(1.0).log10().ceil().max(low + 1.0))
            }
        };
        let across = (across.0, across.1.max(across.0 + f64::EPSILON));
        Self { scale, across, up }
    }

    fn x(&self, value: f64) -> f64 {
        let (low, high) = self.across;
        LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.up;
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(1.0).log10().max(low),
        };
        HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    }

    fn up_ticks(&self) -> Vec<f64> {
        let (low, high) = self.up;
        match self.scale {
            Scale::Linear => (0..=4).map(|step| high * f64::from(step) / 4.0).collect(),
            Scale::Logarithmic => {
                (low as i32..=high as i32).map(|power| 10_f64.powi(power)).collect()
            }
        }
    }

    fn across_ticks(&self) -> Vec<f64> {
        let (low, high) = self.across;
        let step = round_up((high - low) / 6.0);
        let mut ticks = vec![];
        let mut tick = low;
        while tick <= high * 1.001 {
            ticks.push(tick);
            tick += step;
        }
        ticks
    }
}

/// The next number that reads well: 1, 2, 4, 5 or 10 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 10.0];
    let found = steps.into_iter().find(|step| step * power >= value * 0.999);
    found.unwrap_or(10.0) * power
}
