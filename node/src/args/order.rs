//! The words of `drain`, `undrain`, `weight`, `priority`, `step-down`, `pause` and `resume`.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

/// `rustbalance drain` and `undrain`.
#[derive(Debug, Args)]
pub struct Effect {
    /// Its name, or the first 8 or more hex digits of its node id [default: the node that runs here].
    #[arg(value_name = "NODE")]
    pub node: Option<String>,
    #[command(flatten)]
    pub waiting: Waiting,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// For how long to wait for an order's effect.
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// Wait until the whole cluster follows: what it publishes, if the order is for that; else all live nodes know it.
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
}

/// How what was changed in the whole cluster is waited for and shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct Change {
    #[command(flatten)]
    pub waiting: Waiting,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `rustbalance weight` and `priority`.
#[derive(Debug, Args)]
#[command(after_help = "What is ordered goes before the configuration, over restarts too, until `default` is ordered.")]
pub struct Share<T: Clone + Send + Sync + FromStr + 'static> {
    /// Its name, or the first 8 or more hex digits of its node id, as `status` shows them.
    #[arg(value_name = "NODE")]
    pub node: String,
    /// The new number; or `default`: what the node's configuration says.
    #[arg(value_name = "N|default", value_parser = OrDefault::<T>::parse)]
    pub value: OrDefault<T>,
    #[command(flatten)]
    pub waiting: Waiting,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A number, or none for the configuration's.
#[derive(Clone, Copy, Debug)]
pub struct OrDefault<T>(pub Option<T>);

impl<T: FromStr> OrDefault<T> {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self(None));
        }
        text.parse().map(|value| Self(Some(value))).map_err(|_| "not a number in range; or write `default`".to_owned())
    }
}

/// `rustbalance step-down`.
#[derive(Debug, Args)]
pub struct StepDown {
    /// For so long its priority counts as the worst: it publishes only if nobody else can. At most 24h.
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = order_duration)]
    pub for_: Duration,
    #[command(flatten)]
    pub waiting: Waiting,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `rustbalance pause`.
#[derive(Debug, Args)]
#[command(
    after_help = "What is published is renewed as ever, another node takes over from a publisher that dies, and orders \
    are followed. But who is down, silent or unwell stays in the descriptor, and nobody takes the lease for its better \
    priority."
)]
pub struct Pause {
    /// It ends by itself after this. At most 24h.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = order_duration)]
    pub for_: Duration,
    #[command(flatten)]
    pub waiting: Waiting,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Of an order.
fn order_duration(text: &str) -> Result<Duration, String> {
    super::duration(text, "1s", "24h")
}
