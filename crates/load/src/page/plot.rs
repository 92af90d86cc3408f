//! Lines over an axis, as SVG.

use std::fmt::Write as _;

const LEFT: f64 = 70.0;
/// Room for half of the last label below.
const RIGHT: f64 = 38.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// A plot is drawn once for desks and once for phones: text that shrinks with its plot is not read.
const FRAMES: [Frame; 2] = [
    Frame { class: "wide", width: 960.0, height: 260.0, labels: 6.0 },
    Frame { class: "narrow", width: 340.0, height: 240.0, labels: 3.0 },
];

/// Size at which a plot is drawn.
#[derive(Clone, Copy)]
struct Frame {
    class: &'static str,
    width: f64,
    height: f64,
    /// Labels that fit below.
    labels: f64,
}

pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    /// Label of the horizontal axis.
    pub(super) across: &'a str,
    pub(super) lines: Vec<Line<'a>>,
    pub(super) scale: Scale,
    pub(super) ticks: fn(f64) -> String,
    pub(super) across_ticks: fn(f64) -> String,
}

pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'a str,
    /// True when the area below it is filled.
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

/// Axes of a plot: the place of each value on the page.
struct Axes {
    frame: Frame,
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
        let drawn: String =
            FRAMES.map(|frame| self.drawn(&Axes::around(frame, self.scale, points()))).concat();
        format!("<section><h2>{}{}</h2>{drawn}</section>", self.title, self.legend())
    }

    fn drawn(&self, axes: &Axes) -> String {
        let Frame { class, width, height, .. } = axes.frame;
        let mut svg = String::new();
        for value in axes.up_ticks() {
            let y = axes.y(value);
            let _ = write!(
                svg,
                "<line class=grid x1={LEFT} x2={} y1={y:.1} y2={y:.1} /><text x={} y={:.1} \
                 text-anchor=end>{}</text>",
                width - RIGHT,
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
                height - BOTTOM + 18.0,
                (self.across_ticks)(value)
            );
        }
        let _ = write!(
            svg,
            "<text class=across x={:.1} y={} text-anchor=middle>{}</text>",
            (LEFT + width - RIGHT) / 2.0,
            height - 6.0,
            self.across
        );
        for line in &self.lines {
            svg.push_str(&line.path(axes));
        }
        format!(
            "<svg class={class} viewBox=\"0 0 {width} {height}\" role=img \
             aria-label=\"{}\">{svg}</svg>",
            self.title
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
                let floor = axes.frame.height - BOTTOM;
                let (first, last) = (axes.x(*first), axes.x(*last));
                let end = format!("L{last:.1} {floor}L{first:.1} {floor}Z");
                format!("<path class=\"area {class}\" d=\"{path}{end}\"/>")
            }
            _ => String::new(),
        };
        format!("{area}<path class=\"line {class}\" d=\"{path}\"/>")
    }
}

impl Axes {
    fn around(
        frame: Frame,
        scale: Scale,
        points: impl Iterator<Item = (f64, f64)> + Clone,
    ) -> Self {
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
        Self { frame, scale, across, up }
    }

    fn x(&self, value: f64) -> f64 {
        let (low, high) = self.across;
        LEFT + (value - low) / (high - low) * (self.frame.width - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.up;
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(1.0).log10().max(low),
        };
        let Frame { height, .. } = self.frame;
        height - BOTTOM - (value - low) / (high - low) * (height - TOP - BOTTOM)
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
        let step = round_up((high - low) / self.frame.labels);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Horizontal extent of each text, if a character of 12 px is 7 px wide.
    fn reaches(svg: &str) -> Vec<(f64, f64)> {
        let texts = svg.split("<text").skip(1).map(|rest| rest.split("</text>").next().unwrap());
        let placed = texts.map(|text| {
            let (attributes, label) = text.split_once('>').unwrap();
            let after = attributes.split(" x=").nth(1).unwrap();
            let x: f64 = after.split(' ').next().unwrap().parse().unwrap();
            let wide = label.chars().count() as f64 * 7.0;
            if attributes.contains("anchor=end") {
                (x - wide, x)
            } else {
                (x - wide / 2.0, x + wide / 2.0)
            }
        });
        placed.collect()
    }

    #[test]
    fn no_label_is_cut_off_at_any_width() {
        let points = (0..=60).map(|at| (f64::from(at) / 10.0, f64::from(at) * 1e4)).collect();
        let lines = vec![Line { name: "latency", class: "a", filled: true, points }];
        let plot = Plot {
            title: "Latency",
            across: "share of deliveries that took no longer",
            lines,
            scale: Scale::Logarithmic,
            ticks: crate::page::duration,
            across_ticks: crate::page::share,
        };

        let svg = plot.svg();

        for (drawn, frame) in svg.split("<svg").skip(1).zip(FRAMES) {
            for (left, right) in reaches(drawn) {
                assert!(left >= 0.0 && right <= frame.width, "{left} to {right}: {drawn}");
            }
        }
        assert_eq!(svg.matches("<svg").count(), FRAMES.len());
    }
}
