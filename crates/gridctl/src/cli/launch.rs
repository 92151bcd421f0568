//! What the commands take that set up an account of AWS, and launch sweeps there.
//! Invariant: numbers and names have their range here, so that no command checks them again.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::args::{AgainArgs, MOST_POINTS, within};
use super::cloud::{SpotPrice, region, spot_price};

/// Most machines of one launch.
const MOST_MACHINES: i64 = 10_000;

#[derive(Debug, Subcommand)]
pub(crate) enum AwsCommand {
    /// Make what launches need, once an account and region: a bucket, and the roles of machines
    Init(AccountArgs),
    /// Remove what `init` made
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AccountArgs {
    /// Only say what would be made
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Let machines read data here: s3://bucket/prefix; once for each
    #[arg(long, value_name = "ADDRESS", value_parser = s3_address)]
    pub(crate) read: Vec<String>,
    /// Let machines read and write here, for `output:`: s3://bucket/prefix; once for each
    #[arg(long, value_name = "ADDRESS", value_parser = s3_address)]
    pub(crate) write: Vec<String>,
    /// A region of AWS [default: AWS_REGION, else the profile's]
    #[arg(long, value_name = "REGION", value_parser = region)]
    pub(crate) region: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The results in the bucket as well, for good
    #[arg(long)]
    pub(crate) with_results: bool,
    /// A region of AWS [default: AWS_REGION, else the profile's]
    #[arg(long, value_name = "REGION", value_parser = region)]
    pub(crate) region: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// The sweep file
    pub(crate) file: PathBuf,
    /// Workers on spot machines [default: as `workers.spot` says, else on demand]
    #[arg(long)]
    pub(crate) spot: bool,
    /// Start without being asked
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Most machines that work at once [default: `workers.count`, else 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_MACHINES))]
    pub(crate) max_machines: Option<u32>,
    /// A type of the workers' machines; once for each [default: `workers.instance`, else those that cost least]
    #[arg(long, value_name = "TYPE")]
    pub(crate) instance: Vec<String>,
    /// The type of the master's machine, which is on demand
    #[arg(long, value_name = "TYPE", default_value = "c6i.large")]
    pub(crate) master_type: String,
    /// Most dollars that it may cost [default: `budget` of the file, else no limit]
    #[arg(long, value_name = "DOLLARS", value_parser = budget)]
    pub(crate) budget: Option<f64>,
    /// How long a trial takes, for the table: 90s, 20m, 1.5h
    #[arg(long, value_name = "DURATION", value_parser = trial_time)]
    pub(crate) trial_time: Option<Duration>,
    /// What a spot machine costs an hour, instead of the table's example: c5.xlarge=0.06
    #[arg(long, value_name = "TYPE=DOLLARS", value_parser = spot_price)]
    pub(crate) spot_price: Vec<SpotPrice>,
    /// From where the master may be asked: 203.0.113.7/32 [default: this machine's address]
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    pub(crate) client_cidr: Option<String>,
    /// The gridctl that runs on the machines: built for Linux on x86_64, with `--features ec2` [default: this one]
    #[arg(long, value_name = "FILE", env = "GRIDCTL_BINARY", hide_env = true)]
    pub(crate) binary: Option<PathBuf>,
    /// How many points a random search draws, where the file does not say it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_POINTS))]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) again: AgainArgs,
    /// A region of AWS [default: AWS_REGION, else the profile's]
    #[arg(long, value_name = "REGION", value_parser = region)]
    pub(crate) region: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// The sweep, by its name [default: the only one that is launched]
    #[arg(value_parser = sweep_name)]
    pub(crate) sweep: Option<String>,
    /// From where the master may be asked: 203.0.113.7/32 [default: this machine's address]
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    pub(crate) client_cidr: Option<String>,
    /// Do not follow it
    #[arg(long)]
    pub(crate) detach: bool,
    /// A region of AWS [default: AWS_REGION, else the profile's]
    #[arg(long, value_name = "REGION", value_parser = region)]
    pub(crate) region: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// The machine that holds the master
    Master(BootArgs),
    /// A machine that runs trials
    Worker(BootArgs),
}

/// What a machine is told at its start.
#[derive(Debug, Args)]
pub(crate) struct BootArgs {
    /// The account's own bucket
    #[arg(long)]
    pub(crate) bucket: String,
    /// The sweep
    #[arg(long, value_parser = sweep_name)]
    pub(crate) sweep: String,
}

fn trial_time(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(1), Duration::from_secs(365 * 86_400))
}

fn budget(text: &str) -> Result<f64, String> {
    match text.trim_start_matches('$').parse::<f64>() {
        Ok(dollars) if dollars > 0.0 && dollars <= 1e9 => Ok(dollars),
        _ => Err("expected dollars, as in 25 or 0.50".to_owned()),
    }
}

/// `bucket/prefix`, without what every address begins with.
fn s3_address(text: &str) -> Result<String, String> {
    let url: gridctl_core::s3_url::S3Url = text.parse().map_err(|error| format!("{error}"))?;
    let text = url.to_string();
    Ok(text.trim_start_matches(gridctl_core::s3_url::SCHEME).to_owned())
}

/// An address of IPv4 and how much of it counts.
fn cidr(text: &str) -> Result<String, String> {
    let help = || "expected an address and a length, as in 203.0.113.7/32".to_owned();
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let address: Ipv4Addr = address.parse().map_err(|_| help())?;
    match length.parse::<u32>() {
        Ok(length) if length <= 32 => Ok(format!("{address}/{length}")),
        _ => Err(help()),
    }
}

fn sweep_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match (1..=63).contains(&text.len()) && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("a sweep's name has 1 to 63 of a-z, 0-9 and -".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_money_and_names_have_a_form() {
        assert_eq!(cidr("203.0.113.7"), Ok("203.0.113.7/32".to_owned()));
        assert_eq!(cidr("10.0.0.0/8"), Ok("10.0.0.0/8".to_owned()));
        for text in ["", "::1/128", "10.0.0.0/33", "10.0.0/8", "0.0.0.0/x", "a"] {
            assert!(cidr(text).is_err(), "{text}");
        }
        for text in ["0", "-1", "NaN", "inf", "1e10", "ten"] {
            assert!(budget(text).is_err(), "{text}");
        }
        assert_eq!(budget("$0.50"), Ok(0.5));
        assert_eq!(s3_address("s3://data/wine/"), Ok("data/wine".to_owned()));
        assert!(s3_address("data/wine").is_err());
        for text in ["", "../x", "a b", "A", &"x".repeat(64)] {
            assert!(sweep_name(text).is_err(), "{text}");
        }
    }
}
