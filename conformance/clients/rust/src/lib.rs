//! Code shared by the clients: they have the test do what they cannot do themselves.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// Timeout of an answer on a busy machine.
pub const ANSWER: Duration = Duration::from_secs(20);
/// Longer than the server bears silence.
pub const SILENCE: Duration = Duration::from_millis(2500);

/// Has the test do something, and waits until it is done.
pub fn ask(what: &Value) {
    println!("{what}");
    std::io::stdout().flush().expect("the test reads");
    std::io::stdin().read_line(&mut String::new()).expect("the test answers");
}

/// Has the server killed and started again.
pub fn restart() {
    ask(&json!({"do": "restart"}));
}

/// The address of the socket.
#[must_use]
pub fn address() -> String {
    std::env::args().nth(1).expect("an address")
}
