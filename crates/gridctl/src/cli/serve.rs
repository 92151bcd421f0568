//! What `serve` and `package` take.
//! Invariant: what names a trial is not looked up here.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::args::within;
use super::trials::NamedSweep;
use crate::commands::lookup;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// A trial: an id or the beginning of one, `best`, or `#3` for a rank
    #[arg(default_value = "best", add = ArgValueCompleter::new(lookup::trials))]
    pub(crate) trial: String,
    /// The port; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 5000)]
    pub(crate) port: u16,
    /// The address to listen at: 0.0.0.0 lets everybody ask who reaches this machine
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Longest that an answer may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = answer_time)]
    pub(crate) timeout: Duration,
    /// Processes that answer, each one request at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) processes: u16,
    #[command(flatten)]
    pub(crate) sweep: NamedSweep,
    /// What `gridctl package` has put into an image, and nothing else
    #[arg(long, value_name = "DIR", hide = true, conflicts_with_all = ["word", "sweep", "command"])]
    pub(crate) package: Option<PathBuf>,
    /// What answers, started here [default: `serve: {command: ...}` of the sweep file, in its workdir]
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

fn answer_time(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100), Duration::from_secs(3_600))
}

#[derive(Debug, Args)]
pub(crate) struct PackageArgs {
    /// A trial: an id or the beginning of one, `best`, or `#3` for a rank
    #[arg(default_value = "best", add = ArgValueCompleter::new(lookup::trials))]
    pub(crate) trial: String,
    #[command(flatten)]
    pub(crate) sweep: NamedSweep,
    /// The image's name
    #[arg(short, long, value_name = "NAME", value_parser = image_name, required_unless_present = "no_build")]
    pub(crate) tag: Option<String>,
    /// The image to begin with [default: the sweep's own, or one of Debian, with Python where the command wants it]
    #[arg(long, value_name = "IMAGE", value_parser = image_name)]
    pub(crate) base: Option<String>,
    /// Keep the Dockerfile, and what goes into the image, in a directory that is made or is empty
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Do not build it
    #[arg(long, requires = "dir")]
    pub(crate) no_build: bool,
    /// The gridctl that goes into the image [default: this one]
    #[arg(long, value_name = "FILE", env = "GRIDCTL_BINARY", hide_env = true)]
    pub(crate) binary: Option<PathBuf>,
    /// What answers, in the directory of the code [default: `serve: {command: ...}` of the sweep file]
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// An image's name, checked.
pub(crate) fn image_name(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "./:@_-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    match begins && text.len() <= 255 && text.chars().all(is_part) {
        true => Ok(text.to_owned()),
        false => Err("an image is named as in `my-team/api:2`".to_owned()),
    }
}
