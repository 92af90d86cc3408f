//! The shop alone, embedded in a program of one page: `cargo run -p instep-shop --example stand`.

use std::error::Error;
use std::path::PathBuf;

use instep::{Config, Server};
use instep_shop::Shop;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let data = PathBuf::from(value("--data").unwrap_or_else(|| "data".into()));
    let mut config = Config::in_directory(&data);
    if let Some(address) = value("--http") {
        config.http = address.parse()?;
    }
    let shop = Shop::in_directory(&data)?;
    let mut server = Server::start(config, shop.app()?).await?;
    #[allow(clippy::print_stdout, reason = "a program says where it is")]
    {
        println!("listening http://{}", server.address());
    }
    server.ready().await?;
    server
        .run_until(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}
