//! A report as one page of HTML that needs nothing else: style and plots are inside.

mod plot;

use self::plot::{Line, Plot, Scale};
use crate::machine::Machine;
use crate::report::{Latencies, Made, Report, SetUp};

const STYLE: &str = include_str!("page/style.css");

/// The whole page.
#[must_use]
pub fn html(report: &Report) -> String {
    let Report { door, address, topics, bots, pace, payload_bytes, measured, missed, .. } = report;
    let verdict = match missed.as_slice() {
        [] => String::new(),
        missed => {
            let items: String =
                missed.iter().map(|miss| format!("<li>{}</li>", text(miss))).collect();
            format!("<section class=missed><h2>Missed</h2><ul>{items}</ul></section>")
        }
    };
    let title = format!("{} over {}", counted(*bots, "subscriber"), text(door));
    format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>instep bench: {title}</title><style>{STYLE}</style></head><body><main>\
         <header><p class=brand>instep bench</p><h1>{title}</h1>\
         <p>{} on {}, {pace}, {payload_bytes} bytes each, measured for {:.0} s. Publisher and \
         subscribers share one process and one clock.</p>{}</header>{verdict}\
         <div class=tiles>{}</div>{}{}{}<section class=pair>{}{}</section></main></body></html>\n",
        counted(*topics, "topic"),
        text(address),
        measured.seconds,
        made(&report.made),
        tiles(report),
        throughput(report),
        latency_over_time(report),
        quantiles(report),
        set_up(&report.set_up),
        coarse(report),
    )
}

/// Origin of the report: when, by what and where it was measured.
fn made(made: &Made) -> String {
    let Made { at, version, machine } = made;
    let Machine { cpu, cores, memory_bytes, system } = machine;
    let cores = match cores {
        1 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    let memory = *memory_bytes as f64 / f64::from(1 << 30);
    let day = at.get(..16).unwrap_or(at).replace('T', " ");
    let rows = [
        ("measured", format!("{day} UTC")),
        ("by", format!("instep {version}")),
        ("on", format!("{}, {cores}, {memory:.1} GiB, {}", text(cpu), text(system))),
    ];
    let rows = rows.map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>"));
    format!("<dl>{}</dl>", rows.concat())
}

fn tiles(report: &Report) -> String {
    let measured = &report.measured;
    let bad = measured.bad();
    let tile = |name: &str, figure: &str, class: &str| {
        format!("<div class=\"tile {class}\"><b>{figure}</b><span>{name}</span></div>")
    };
    let mut tiles = vec![
        tile("deliveries a second", &grouped(measured.per_second), ""),
        tile("p50 latency", &duration(measured.latency.p50_us), ""),
        tile("p99 latency", &duration(measured.latency.p99_us), ""),
        tile("longest latency", &duration(measured.latency.max_us), ""),
        tile("lost, late or wrong", &grouped(bad as f64), if bad == 0 { "good" } else { "bad" }),
    ];
    if let Some(per_cpu_second) = measured.per_cpu_second {
        tiles.push(tile("deliveries a CPU-second", &grouped(per_cpu_second), ""));
    }
    tiles.concat()
}

fn throughput(report: &Report) -> String {
    let slices = &report.measured.slices;
    let points = slices.iter().map(|slice| (slice.at_seconds, slice.per_second)).collect();
    Plot {
        title: "Deliveries a second",
        across: "seconds",
        lines: vec![Line { name: "deliveries a second", class: "a", filled: true, points }],
        scale: Scale::Linear,
        ticks: |value| short(value),
        across_ticks: |value| format!("{value:.1}"),
    }
    .svg()
}

fn latency_over_time(report: &Report) -> String {
    let slices = &report.measured.slices;
    let line = |name, class, of: fn(&Latencies) -> f64| {
        let some = slices.iter().filter(|slice| slice.latency.max_us > 0.0);
        let points = some.map(|slice| (slice.at_seconds, of(&slice.latency))).collect();
        Line { name, class, filled: false, points }
    };
    Plot {
        title: "Latency over time",
        across: "seconds",
        lines: vec![
            line("longest", "c", |latency| latency.max_us),
            line("p99", "b", |latency| latency.p99_us),
            line("p50", "a", |latency| latency.p50_us),
        ],
        scale: Scale::Logarithmic,
        ticks: duration,
        across_ticks: |value| format!("{value:.1}"),
    }
    .svg()
}

fn quantiles(report: &Report) -> String {
    let points = report.measured.curve.clone();
    Plot {
        title: "Latency by share of deliveries",
        across: "share of deliveries that took no longer",
        lines: vec![Line { name: "latency", class: "a", filled: true, points }],
        scale: Scale::Logarithmic,
        ticks: duration,
        across_ticks: share,
    }
    .svg()
}

/// Set-up is not a latency, and has a place of its own (JAN-R10).
fn set_up(set_up: &SetUp) -> String {
    let SetUp { connections, seconds, per_second, each, longest_pause_ms } = set_up;
    let rows = [
        ("connections", grouped(*connections as f64)),
        ("until all had subscribed", format!("{seconds:.2} s")),
        ("connections a second", grouped(*per_second)),
        ("ready, p50", duration(each.p50_us)),
        ("ready, longest", duration(each.max_us)),
        ("longest pause between two", duration(longest_pause_ms * 1e3)),
    ];
    format!("<div><h2>Set-up, before all measuring</h2>{}</div>", table(&rows))
}

fn coarse(report: &Report) -> String {
    let rows: Vec<(String, String)> = report
        .measured
        .coarse
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(step, count)| {
            (format!("{} to {} ms", step * 500, (step + 1) * 500), grouped(*count as f64))
        })
        .collect();
    let mut rows: Vec<(&str, String)> =
        rows.iter().map(|(name, count)| (name.as_str(), count.clone())).collect();
    let measured = &report.measured;
    rows.push(("late (over 5 s)", grouped(measured.late as f64)));
    rows.push(("lost", grouped(measured.lost as f64)));
    rows.push(("wrong", grouped(measured.wrong as f64)));
    rows.push(("connections that the server ended", grouped(measured.dropped as f64)));
    format!("<div><h2>Deliveries by latency</h2>{}</div>", table(&rows))
}

fn table(rows: &[(&str, String)]) -> String {
    let rows =
        rows.iter().map(|(name, figure)| format!("<tr><th>{name}</th><td>{figure}</td></tr>"));
    format!("<table>{}</table>", rows.collect::<String>())
}

/// `1` is 90 %, `2` is 99 %.
fn share(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10_f64.powf(-nines));
    let decimals = (nines.ceil() as usize).saturating_sub(2);
    format!("{percent:.decimals$} %")
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{} {noun}s", grouped(count as f64)),
    }
}

/// Microseconds for people.
fn duration(us: f64) -> String {
    match us {
        ..1_000.0 => format!("{us:.0} µs"),
        ..10_000.0 => format!("{:.1} ms", us / 1e3),
        ..1_000_000.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.1} s", us / 1e6),
    }
}

/// A number with its thousands apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn short(number: f64) -> String {
    match number {
        ..1_000.0 => format!("{number:.0}"),
        ..1_000_000.0 => format!("{} k", number / 1e3),
        _ => format!("{} M", number / 1e6),
    }
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
