//! `instep demo`: the shop, filled and ready to be looked at, and sites that follow it.

mod sites;

use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use instep::{App, Config, Dataset, LivePattern, PresenceMode, Server, StartError};
use instep_client::Client;
use instep_shop::Shop;
use instep_shop::domain::{catalogue, seed};
use instep_shop::sites::{Desk, Order};
use tokio::sync::{mpsc, oneshot};

use self::sites::Fleet;
use crate::access::{self, PORT};
use crate::failure::Failure;
use crate::output;
use crate::running;
use crate::supervisor;
use crate::telemetry::{self, LogFormat};

/// Messages that each `room:` topic keeps for clients that come back.
const ROOM_HISTORY: usize = 100;
/// Port of the plain TCP door.
const TCP_PORT: u16 = 4001;
/// Port of the Janus wire.
const JANUS_PORT: u16 = 8081;

/// Run the demonstration shop.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Data directory, which also holds the admin key.
    #[arg(long, value_name = "DIR", default_value = "data/demo")]
    data: PathBuf,
    /// Address of HTTP and WebSocket; without it 127.0.0.1:4000, or a free port if that is taken.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Listen on a public address; nothing in the shop is secret but the admin key.
    #[arg(long)]
    insecure_public: bool,
    /// Do not open a browser.
    #[arg(long)]
    no_open: bool,
    /// Format of the log on stderr; RUST_LOG sets its level.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let _log = telemetry::start(arguments.log_format)?;
    let stop = running::stop_signal()?;
    let http = arguments.http.unwrap_or((Ipv4Addr::LOCALHOST, PORT).into());
    // On a public address strangers may look, and end no process.
    let (desk, orders) = Desk::new(http.ip().is_loopback());
    let mut server = start(&arguments, desk).await?;
    let opened = supervisor::while_loading(async {
        server.ready().await?;
        fill(&server).await
    });
    tokio::pin!(stop);
    tokio::select! {
        opened = opened => opened?,
        () = &mut stop => {
            supervisor::stopping();
            return Ok(server.stop().await?);
        }
    }
    supervisor::ready(&server);
    // Only now: a user who reads this line finds a filled shelf.
    running::announce(&server);
    let welcome = welcome(&server, &arguments);
    // A demo whose output is not read is still a demo.
    let _ = output::lines(welcome.as_bytes());
    if !arguments.no_open && std::io::stdout().is_terminal() {
        open_browser(&running::url(&server));
    }
    let (end_sites, told) = oneshot::channel();
    let sites = tokio::spawn(fleet(&server, &arguments, orders)?.run(told));
    running::stop_after(server, async {
        stop.await;
        // The sites first: they acknowledge what they have applied.
        let _ = end_sites.send(());
        let _ = sites.await;
    })
    .await
}

/// The sites of the shop, which are agents of this server.
fn fleet(
    server: &Server,
    arguments: &Arguments,
    orders: mpsc::Receiver<Order>,
) -> Result<Fleet, Failure> {
    let mut address = server.address();
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let url = format!("http://{address}");
    let key = access::key_of(&arguments.data)?;
    let client = Client::new(&url, Some(key))?;
    let of = (server.node().clone(), shop(server)?);
    Ok(Fleet::new(of, (client, url), arguments.data.clone(), orders))
}

/// The dataset of the shop.
fn shop(server: &Server) -> Result<Dataset, Failure> {
    let missing = || Failure::System("the shop has no dataset".into());
    server.node().dataset(instep_shop::DATASET).ok_or_else(missing)
}

/// Starts on the usual port, or on a free one if no port is asked for.
async fn start(arguments: &Arguments, desk: Desk) -> Result<Server, Failure> {
    let app = app(&arguments.data, desk)?;
    let mut config = Config::in_directory(&arguments.data);
    config.live = vec![LivePattern {
        topic: "room:*".into(),
        anyone_publishes: true,
        history: ROOM_HISTORY,
        presence: Some(PresenceMode::List),
        ..LivePattern::default()
    }];
    config.insecure_public = arguments.insecure_public;
    config.http = arguments.http.unwrap_or((Ipv4Addr::LOCALHOST, PORT).into());
    config.tcp = Some((Ipv4Addr::LOCALHOST, TCP_PORT).into());
    config.janus = Some((Ipv4Addr::LOCALHOST, JANUS_PORT).into());
    loop {
        let taken = match Server::start(config.clone(), app.clone()).await {
            Err(StartError::Listen { address, error })
                if error.kind() == ErrorKind::AddrInUse && address.port() != 0 =>
            {
                address
            }
            started => return Ok(started?),
        };
        if Some(taken) == config.tcp {
            config.tcp = Some((taken.ip(), 0).into());
        } else if Some(taken) == config.janus {
            config.janus = Some((taken.ip(), 0).into());
        } else if arguments.http.is_none() {
            config.http.set_port(0);
        } else {
            return Ok(Server::start(config, app).await?);
        }
        tracing::warn!(%taken, "the port is taken, a free one is used");
    }
}

fn app(data: &Path, desk: Desk) -> Result<App, Failure> {
    let shop = |error: &dyn std::fmt::Display| Failure::Storage(error.to_string());
    std::fs::create_dir_all(data).map_err(|error| {
        Failure::Storage(format!("the data directory {}: {error}", data.display()))
    })?;
    let opened = Shop::in_directory(data).map_err(|error| shop(&error))?;
    opened.sites(desk).app().map_err(|error| shop(&error))
}

/// Fills the shelf at the first start.
async fn fill(server: &Server) -> Result<(), Failure> {
    let dataset = shop(server)?;
    if !catalogue::products(&dataset.state().tables).is_empty() {
        return Ok(());
    }
    let seeded = seed::seed(&dataset, &seed::catalogue(), seed::DEFAULT_STOCK).await;
    let seeded = seeded.map_err(|error| Failure::Storage(format!("filling the shelf: {error}")))?;
    tracing::info!(products = seeded.products, items = seeded.items, "shelf filled");
    Ok(())
}

fn welcome(server: &Server, arguments: &Arguments) -> String {
    let url = running::url(server);
    let key = arguments.data.join("admin.key");
    let mut access = String::new();
    if server.address().port() != PORT {
        let _ = write!(access, " --server {url}");
    }
    if access::key_file(None).as_deref() != Some(&key) {
        let _ = write!(access, " --data {}", arguments.data.display());
    }
    let mut text = String::new();
    if arguments.http.is_none() && server.address().port() != PORT {
        let _ = writeln!(text, "port {PORT} is taken, so this is another one");
    }
    let _ = write!(
        text,
        "\n  The shop         {url}/\n  Live counts      {url}/shop/admin\n  \
         Its sites        {url}/sites\n  \
         API reference    {url}/reference\n  \
         Admin key        {}\n\n  \
         Open the shop in two windows, then try in another terminal:\n\n    \
         instep shop release 1{access}\n    \
         instep shop sell-until-gone 1{access}\n\n  \
         Ctrl-C ends it; the data stays.\n\n",
        key.display(),
    );
    text
}

/// Asks the desktop to show the shop; where there is none, the address on the screen must do.
fn open_browser(url: &str) {
    let program = match std::env::consts::OS {
        "macos" => "open",
        _ => "xdg-open",
    };
    let spawned = std::process::Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = spawned {
        tracing::debug!(%error, program, "no browser was opened");
    }
}
