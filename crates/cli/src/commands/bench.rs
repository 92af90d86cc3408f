//! `instep bench`: load on a server, and a report of it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use instep_load::machine::Machine;
use instep_load::report::{Made, Measured, Report};
use instep_load::{Door, Error, Load, Pace, Plan, Run, page};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::access::Access;
use crate::failure::Failure;
use crate::output;

/// Timeout of connecting, and of messages under way at the end.
const PATIENCE: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(10);

/// Connect bots, wait until all have subscribed, publish, and report losses and latencies.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A live topic that every client may publish to; with --topics its name gets numbers.
    #[arg(default_value = "room:bench")]
    topic: String,
    /// The transport of the bots.
    #[arg(long, value_name = "DOOR", default_value = "websocket")]
    door: DoorName,
    /// Its address, if it is not HTTP's: 127.0.0.1:4001 for tcp, 127.0.0.1:8081 for janus.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
    /// Bots, dealt out to the topics in turn.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    bots: usize,
    /// Topics.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    topics: usize,
    /// Messages a second on each topic.
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = rate)]
    rate: f64,
    /// As fast as it goes instead: messages of each topic that not every bot has yet.
    #[arg(long, value_name = "N", conflicts_with = "rate", value_parser = positive)]
    window: Option<usize>,
    /// Bytes of a message's payload.
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    payload: usize,
    /// Duration of the measurement.
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// Duration of publishing before anything counts.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    warm_up: u64,
    /// Handshakes under way at a time.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive)]
    at_once: usize,
    /// The server's process on this machine, for deliveries per second of its CPU.
    #[arg(long, value_name = "PID")]
    process: Option<u32>,
    /// Also write the report as a page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    access: Access,
}

/// Limits that the server must keep; a miss ends the command with exit code 8.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// Maximum p50 of the latency.
    #[arg(long, value_name = "MS")]
    max_p50_ms: Option<f64>,
    /// Maximum p99 of the latency.
    #[arg(long, value_name = "MS")]
    max_p99_ms: Option<f64>,
    /// Maximum latency.
    #[arg(long, value_name = "MS")]
    max_ms: Option<f64>,
    /// Maximum number of lost deliveries.
    #[arg(long, value_name = "N")]
    max_lost: Option<u64>,
    /// Maximum number of deliveries that are lost, later than 5 s, or wrong.
    #[arg(long, value_name = "N")]
    max_bad: Option<u64>,
    /// Minimum rate of deliveries, in deliveries a second.
    #[arg(long, value_name = "N")]
    min_per_second: Option<f64>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum DoorName {
    Websocket,
    Tcp,
    Janus,
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let html = arguments.html.clone();
    let work = tokio::task::spawn_blocking(move || measure(&arguments));
    let report = work.await.map_err(|error| Failure::System(error.to_string()))??;
    if let Some(path) = html {
        std::fs::write(&path, page::html(&report))
            .map_err(|error| Failure::Storage(format!("{}: {error}", path.display())))?;
    }
    if json {
        output::json(&report)?
    } else {
        print(&report)?
    }
    if report.missed.is_empty() { Ok(()) } else { Err(Failure::Missed(report.missed.join("; "))) }
}

fn measure(arguments: &Arguments) -> Result<Report, Failure> {
    let plan = plan(arguments)?;
    let made = made()?;
    let pace = arguments.window.map_or(Pace::Rate(arguments.rate), Pace::Window);
    let bar = output::bar(0, "{spinner} {msg}");
    bar.set_message(format!("{} bots connect", plan.bots));
    let (mut run, set_up) = Run::connect(plan.clone()).map_err(|error| failure(&error))?;
    bar.set_message("all have subscribed, messages flow");
    let load = Load {
        pace,
        warm_up: Duration::from_secs(arguments.warm_up),
        measured: Duration::from_secs(arguments.seconds.max(1)),
        drain: DRAIN,
        process: arguments.process,
    };
    let measured = run.load(&load).map_err(|error| failure(&error))?;
    bar.finish_and_clear();
    let pace = match pace {
        Pace::Rate(rate) => format!("{rate} messages a second on each"),
        Pace::Window(window) => format!("{window} messages under way on each"),
    };
    Ok(Report {
        made,
        door: name(plan.door).into(),
        address: plan.address.to_string(),
        topics: plan.topics.len(),
        bots: plan.bots,
        pace,
        payload_bytes: plan.payload_bytes,
        set_up,
        missed: arguments.limits.missed(&measured),
        measured,
    })
}

/// Origin of the report, which makes its figures comparable with those of another run.
fn made() -> Result<Made, Failure> {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0);
    let at = now.map_err(time::Error::from).and_then(|now| Ok(now.format(&Rfc3339)?));
    let at = at.map_err(|error| Failure::System(format!("the time: {error}")))?;
    Ok(Made { at, version: env!("CARGO_PKG_VERSION").into(), machine: Machine::here() })
}

fn plan(arguments: &Arguments) -> Result<Plan, Failure> {
    let Arguments { topic, door, address, bots, topics, payload, at_once, .. } = arguments;
    if topic.contains(['"', '\\', '~']) {
        return Err(Failure::Usage("TOPIC: no quotes, backslashes or tildes".into()));
    }
    if bots < topics {
        return Err(Failure::Usage(format!("--bots {bots}: fewer than --topics {topics}")));
    }
    let http = || resolve(arguments.access.server());
    let at = |port| address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], port)));
    let (door, address, publish) = match door {
        DoorName::Websocket => (Door::WebSocket, address.map_or_else(http, Ok)?, None),
        DoorName::Tcp => (Door::Tcp, at(4001), None),
        // A publisher through Janus is disconnected each time.
        DoorName::Janus => (Door::Janus, at(8081), Some((Door::WebSocket, http()?))),
    };
    let topics = match topics {
        1 => vec![topic.clone()],
        topics => (0..*topics).map(|number| format!("{topic}-{number}")).collect(),
    };
    Ok(Plan {
        door,
        address,
        publish,
        topics,
        bots: *bots,
        subscribe: true,
        at_once: *at_once,
        payload_bytes: *payload,
        patience: PATIENCE,
        awake: false,
    })
}

/// The address of a URL.
fn resolve(url: &str) -> Result<SocketAddr, Failure> {
    let unknown =
        |error: &dyn std::fmt::Display| Failure::Usage(format!("--server {url}: {error}"));
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| unknown(&"not http://; load is made without TLS"))?;
    let host = rest.split('/').next().unwrap_or_default();
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut found = host.to_socket_addrs().map_err(|error| unknown(&error))?;
    found.next().ok_or_else(|| unknown(&"no address"))
}

fn name(door: Door) -> &'static str {
    match door {
        Door::Tcp => "TCP",
        Door::Janus => "Janus",
        _ => "WebSocket",
    }
}

fn failure(error: &Error) -> Failure {
    let text = error.to_string();
    match error {
        Error::Descriptors { .. } => Failure::System(text),
        Error::System { .. } | Error::Refused { .. } | Error::Patience { .. } => {
            Failure::Connect(text)
        }
    }
}

impl Limits {
    fn missed(&self, measured: &Measured) -> Vec<String> {
        let latency = &measured.latency;
        let mut missed = vec![];
        let mut at_most = |what: &str, found: f64, most: Option<f64>| {
            if let Some(most) = most.filter(|most| found > *most) {
                missed.push(format!("{what} {found:.1}, at most {most} wanted"));
            }
        };
        at_most("p50 in ms", latency.p50_us / 1e3, self.max_p50_ms);
        at_most("p99 in ms", latency.p99_us / 1e3, self.max_p99_ms);
        at_most("the longest in ms", latency.max_us / 1e3, self.max_ms);
        at_most("lost", measured.lost as f64, self.max_lost.map(|most| most as f64));
        at_most("bad", measured.bad() as f64, self.max_bad.map(|most| most as f64));
        if let Some(least) = self.min_per_second.filter(|least| measured.per_second < *least) {
            let found = measured.per_second;
            missed.push(format!("deliveries a second {found:.0}, at least {least} wanted"));
        }
        // Nothing came: then no limit means anything.
        if measured.measured == 0 {
            missed.push("nothing was delivered".into());
        }
        missed
    }
}

fn print(report: &Report) -> Result<(), Failure> {
    let Report { set_up, measured, .. } = report;
    let ms = |us: f64| format!("{:.2} ms", us / 1e3);
    let latency = &measured.latency;
    let mut rows = vec![
        ("set-up", format!("{} connections in {:.2} s", set_up.connections, set_up.seconds)),
        ("connections/s", format!("{:.0}", set_up.per_second)),
        ("published", format!("{} in {:.0} s", measured.published, measured.seconds)),
        ("deliveries/s", format!("{:.0}", measured.per_second)),
        ("good", format!("{}", measured.measured - measured.late)),
        ("bad", format!("{}", measured.bad())),
        ("bad: lost", format!("{}", measured.lost)),
        ("bad: later than 5 s", format!("{}", measured.late)),
        ("bad: wrong", format!("{}", measured.wrong)),
        ("connections lost", format!("{}", measured.dropped)),
        ("latency, least", ms(latency.min_us)),
        ("latency, p50", ms(latency.p50_us)),
        ("latency, p90", ms(latency.p90_us)),
        ("latency, p99", ms(latency.p99_us)),
        ("latency, p99.9", ms(latency.p999_us)),
        ("latency, longest", ms(latency.max_us)),
        ("last bot, p50", ms(measured.last_delivery.p50_us)),
    ];
    if let Some(per_cpu_second) = measured.per_cpu_second {
        rows.push(("deliveries/CPU-s", format!("{per_cpu_second:.0}")));
    }
    let mut rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, figure)| vec![name.to_owned(), figure]).collect();
    for (step, count) in measured.coarse.iter().enumerate().filter(|(_, count)| **count > 0) {
        rows.push(vec![format!("{} to {} ms", step * 500, (step + 1) * 500), count.to_string()]);
    }
    let bots = output::counted(report.bots as u64, "bot");
    let heading = format!("{bots} over {}", report.door);
    output::table(&[&heading, &report.pace], rows, "")
}

fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().map_err(|_| "not a number".to_owned())?;
    if number == 0 { Err("at least 1".into()) } else { Ok(number) }
}

fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number <= 1e6 {
        Ok(number)
    } else {
        Err("more than 0 and at most a million".into())
    }
}
