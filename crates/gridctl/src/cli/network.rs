//! What the daemons take, and the tokens by which others come to a master.
//! Invariant: no token that can be used twice is ever an argument.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use gridctl_core::access::Role;
use gridctl_worker::slot::SlotWay;

use super::args::{MachineArgs, lease_ttl, slot_silence, within};
use crate::output::Format;

#[derive(Debug, Args)]
pub(crate) struct MasterArgs {
    /// Listen on this address as well, beside the data directory's socket, with TLS; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Do not encrypt: only for a loopback address, for browsers and for `ssh -L`
    #[arg(long, requires = "listen", conflicts_with_all = ["advertise", "advertise_workers", "join_file"])]
    pub(crate) plain: bool,
    /// Where others reach that address [default: the address, or this machine's name]
    #[arg(long, value_name = "HOST:PORT", requires = "listen", value_parser = place)]
    pub(crate) advertise: Option<String>,
    /// Where workers reach it, if that is another place, on a network of their own [default: as for all others]
    #[arg(long, value_name = "HOST:PORT", requires = "listen", value_parser = place)]
    pub(crate) advertise_workers: Option<String>,
    /// Keep a fresh token for workers in this file: `gridctl worker --join-file FILE`
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) join_file: Option<PathBuf>,
    /// How long a worker's certificate lives; it is renewed when half of that is over
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = certificate_life, hide = true)]
    pub(crate) certificate_life: Duration,
    /// How long a silent worker keeps its trials before others are granted them
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = lease_ttl)]
    pub(crate) lease_ttl: Duration,
    /// Start machines of EC2 as this launch says, and end with its sweep (not for people)
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) fleet_spec: Option<PathBuf>,
    /// Trust a network file system with the journal
    #[arg(long)]
    pub(crate) allow_network_fs: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// Join the master on another machine by the address and token in this file, which
    /// `gridctl master --join-file FILE` keeps fresh
    #[arg(long, value_name = "FILE", conflicts_with = "master")]
    pub(crate) join_file: Option<PathBuf>,
    /// Join the master on another machine by an address with a token that works once, as
    /// `gridctl token create --role worker` prints it
    #[arg(long, value_name = "URL", conflicts_with_all = ["master", "join_file"])]
    pub(crate) join: Option<String>,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Where slots have their directories, in a directory `gridctl-slots` of their own [default:
    /// work/slots in the data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Who it is, for a fleet that knows beforehand (not for people)
    #[arg(long, value_name = "ID", hide = true)]
    pub(crate) id: Option<String>,
    /// The machine of a fleet that it is on (not for people)
    #[arg(long, value_name = "ID", hide = true)]
    pub(crate) machine_id: Option<String>,
    /// How long a slot that has work may be silent when it is asked for a sign
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = slot_silence, hide = true)]
    pub(crate) slot_silence: Duration,
    /// End when stdin closes (not for people)
    #[arg(long, hide = true)]
    pub(crate) parent_pipe: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and print it: the one time that it is shown
    Create(TokenCreateArgs),
    /// List the tokens that are good
    #[command(alias = "ls")]
    List(TokenListArgs),
    /// Take a token back: what it lets in now ends within seconds
    Revoke(TokenRevokeArgs),
    /// Keep a token for the master that GRIDCTL_MASTER names, so that GRIDCTL_TOKEN need not be set: asks for it, or
    /// reads it from stdin
    Save,
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// What it lets do; each role may do what the one before it may, but for `worker`, which joins one worker
    #[arg(long, value_enum)]
    pub(crate) role: TokenRole,
    /// How long it is good: 15 minutes at most for `worker`, a year for the others [default: 15m, 7d]
    #[arg(long = "for", value_name = "DURATION", value_parser = token_life)]
    pub(crate) life: Option<Duration>,
    /// Print the master's address with the token in it, as GRIDCTL_MASTER takes it
    #[arg(long)]
    pub(crate) url: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenListArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct TokenRevokeArgs {
    /// The token's id, as `gridctl token list` shows it
    pub(crate) id: String,
}

/// The roles that a token can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenRole {
    /// To join one worker
    Worker,
    /// To look at everything
    Read,
    /// To submit and steer sweeps
    Submit,
    /// To make tokens, and to end and shut out workers
    Admin,
}

impl From<TokenRole> for Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Worker => Self::Worker,
            TokenRole::Read => Self::Read,
            TokenRole::Submit => Self::Submit,
            TokenRole::Admin => Self::Admin,
        }
    }
}

fn certificate_life(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(5), Duration::from_secs(30 * 86_400))
}

fn token_life(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(1), Duration::from_secs(366 * 86_400))
}

/// `host:port`.
fn place(text: &str) -> Result<String, String> {
    let pin = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let address = format!("gridctl://{text}?pin={pin}").parse::<gridctl_worker::Address>();
    address
        .map(|_| text.to_owned())
        .map_err(|_| "expected HOST:PORT, as others reach this machine".to_owned())
}

/// What a slot is started for.
#[derive(Debug, Args)]
pub(crate) struct SlotArgs {
    /// Serve the worker by this socket, in a container
    #[arg(long, value_name = "SOCKET")]
    connect: Option<PathBuf>,
    /// Say what the image is like, and whether WORDS start in it
    #[arg(long)]
    probe: bool,
    /// Close this container's network to metadata addresses
    #[arg(long)]
    close_metadata: bool,
    /// Start WORDS, once the network is closed so
    #[arg(long)]
    once_closed: bool,
    #[arg(last = true)]
    words: Vec<String>,
}

impl From<SlotArgs> for SlotWay {
    fn from(args: SlotArgs) -> Self {
        match args {
            SlotArgs { connect: Some(socket), .. } => Self::Connect(socket),
            SlotArgs { probe: true, words, .. } => Self::Probe(words),
            SlotArgs { close_metadata: true, .. } => Self::CloseMetadata,
            SlotArgs { once_closed: true, words, .. } => Self::OnceClosed(words),
            SlotArgs { .. } => Self::Pipes,
        }
    }
}
