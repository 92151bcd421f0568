//! What the commands take that are about machines of a cloud.
//! Invariant: numbers have their range here, so that no command checks them again.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{MOST_POINTS, within};
use crate::output::TextOrJson;

/// Most machines that are planned for.
const MOST_MACHINES: i64 = 10_000;
/// A year.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The sweep file
    pub(crate) file: PathBuf,
    /// Workers on spot machines [default: as `workers.spot` says, else on demand]
    #[arg(long)]
    pub(crate) spot: bool,
    /// How long a trial takes: 90s, 20m, 1.5h [default: the mean of earlier ones in the data directory]
    #[arg(long, value_name = "DURATION", value_parser = trial_time)]
    pub(crate) trial_time: Option<Duration>,
    /// How long the machines are kept, whatever the trials take
    #[arg(long = "for", value_name = "DURATION", value_parser = trial_time)]
    pub(crate) kept: Option<Duration>,
    /// How many machines work, if they are of the first type [default: `workers.count`, else 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_MACHINES))]
    pub(crate) machines: Option<u32>,
    /// A type of the workers' machines; once for each [default: `workers.instance`, else c6i.xlarge]
    #[arg(long, value_name = "TYPE")]
    pub(crate) instance: Vec<String>,
    /// The type of the master's machine, which is on demand
    #[arg(long, value_name = "TYPE", default_value = "c6i.large")]
    pub(crate) master_type: String,
    /// What a spot machine costs an hour, instead of the table's example: c5.xlarge=0.06
    #[arg(long, value_name = "TYPE=DOLLARS", value_parser = spot_price)]
    pub(crate) spot_price: Vec<SpotPrice>,
    /// How often a spot machine is taken away, an hour; 1,442 machines of Google's cloud were 0.06 times
    #[arg(long, value_name = "N", default_value = "0.06", allow_negative_numbers = true, value_parser = interruptions)]
    pub(crate) interruptions: f64,
    /// How many points a random search draws, where the file does not say it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_POINTS))]
    pub(crate) count: Option<u64>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
}

/// Where in AWS, and whose.
#[derive(Debug, Args)]
pub(crate) struct CloudArgs {
    /// A region of AWS; once for each [default: AWS_REGION, else the profile's]
    #[arg(long, value_name = "REGION", value_parser = region)]
    pub(crate) region: Vec<String>,
    /// Also what other callers of this account have made
    #[arg(long)]
    pub(crate) any_owner: bool,
    /// How long to wait until it is gone
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = patience)]
    pub(crate) wait: Duration,
    /// How to print what is left
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
}

#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// The sweep, by its name
    #[arg(conflicts_with = "all")]
    pub(crate) sweep: Option<String>,
    /// Every sweep
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// A price of a spot machine, in dollars an hour.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpotPrice {
    pub(crate) instance: String,
    pub(crate) dollars: f64,
}

fn trial_time(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(1), YEAR)
}

fn patience(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(1), Duration::from_secs(86_400))
}

/// A region's name becomes part of a host's: nothing else is let through.
pub(super) fn region(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (3..=32).contains(&text.len()) && text.bytes().all(plain) && text.contains('-');
    if good { Ok(text.to_owned()) } else { Err("regions look like us-east-1".to_owned()) }
}

pub(super) fn spot_price(text: &str) -> Result<SpotPrice, String> {
    let help = || "expected a type and dollars an hour, as in c5.xlarge=0.06".to_owned();
    let (instance, dollars) = text.split_once('=').ok_or_else(help)?;
    let dollars: f64 = dollars.trim_start_matches('$').parse().map_err(|_| help())?;
    if instance.is_empty() || !(dollars > 0.0 && dollars < 1_000.0) {
        return Err(help());
    }
    Ok(SpotPrice { instance: instance.to_owned(), dollars })
}

fn interruptions(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=60.0).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to 60".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_and_rates_have_a_range() {
        for text in
            ["c5.xlarge", "=0.1", "c5.xlarge=", "c5.xlarge=-1", "c5.xlarge=NaN", "c5.xlarge=0", "a=1e9"]
        {
            assert!(spot_price(text).is_err(), "{text}");
        }
        let price = SpotPrice { instance: "c5.xlarge".to_owned(), dollars: 0.06 };
        assert_eq!(spot_price("c5.xlarge=$0.06"), Ok(price));
        for text in ["-1", "61", "NaN", "inf", ""] {
            assert!(interruptions(text).is_err(), "{text}");
        }
        for text in ["", "us", "US-EAST-1", "us-east-1.evil.example", "us-east-1/x", "a b-c"] {
            assert!(region(text).is_err(), "{text}");
        }
        assert_eq!(region("us-gov-west-1"), Ok("us-gov-west-1".to_owned()));
        assert!(trial_time("0s").is_err() && trial_time("90").is_err() && trial_time("400d").is_err());
    }
}
