//! What our binary does in a container: it is a slot there, says what the image is like, or closes the
//! container's network to metadata addresses.
//! Invariant: the slot's own memory, environment and descriptors are shown to nobody in the container.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};
use rustix::process::{DumpableBehavior, getegid, geteuid, set_dumpable_behavior};
use serde::{Deserialize, Serialize};

use super::why;

/// Addresses at which a cloud hands out a machine's credentials: network, and bits of it.
const METADATA: [(&[u8], u8); 2] =
    [(&[169, 254, 0, 0], 16), (&[0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54], 128)];
/// As the kernel's list of routes shows the first of them, closed: by no device it leads there.
const CLOSED: (&str, &str) = ("*", "0000FEA9");
/// Between looks at that list.
const LOOK: Duration = Duration::from_millis(5);
/// Looks at that list.
const MOST_LOOKS: u32 = 12_000;

/// What an image is like for those who run in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbeReport {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `HOME`, if it may be written.
    pub(crate) home: Option<String>,
    /// `/tmp` may be written.
    pub(crate) has_tmp: bool,
    /// There is `python3` and no `python`.
    pub(crate) has_only_python3: bool,
    /// Why the program would not start.
    pub(crate) missing: Option<String>,
}

/// Connects standard input and output with the worker's socket.
pub(super) fn connect(path: &Path) -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let stream = UnixStream::connect(path)?;
    rustix::stdio::dup2_stdin(&stream)?;
    rustix::stdio::dup2_stdout(&stream)?;
    Ok(())
}

/// Prints the [`ProbeReport`] of this container, in which `programs` are to be started.
pub(super) fn probe(programs: &[String]) -> io::Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let cwd = std::env::current_dir()?;
    let writable = |dir: &str| access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    let has = |name: &str| why::foresee(name, &cwd, &path).is_none();
    let report = ProbeReport {
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
        home: std::env::var("HOME").ok().filter(|home| home != "/" && writable(home)),
        has_tmp: writable("/tmp"),
        has_only_python3: has("python3") && !has("python"),
        missing: programs.iter().find_map(|program| why::foresee(program, &cwd, &path)),
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)
}

/// Closes the network of this container to metadata addresses.
pub(super) fn close_metadata() -> io::Result<()> {
    for (network, bits) in METADATA {
        match add_blackhole(network, bits) {
            // Without the sixth version there is nothing to close.
            Err(error) if network.len() == 16 && is_absent(&error) => {}
            closed => closed?,
        }
    }
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::ACCESS | Errno::NODEV))
}

/// Asks the kernel for a route on which nothing leaves, by its netlink protocol.
fn add_blackhole(network: &[u8], bits: u8) -> io::Result<()> {
    const NEW_ROUTE: u16 = 24;
    // Request, with an answer; create, or replace what is there.
    const FLAGS: u16 = 0x1 | 0x4 | 0x400 | 0x100;
    const MAIN_TABLE: u8 = 254;
    const BY_ADMINISTRATOR: u8 = 4;
    const BLACKHOLE: u8 = 6;
    const DESTINATION: u16 = 1;
    let family = if network.len() == 4 { 2 } else { 10 };
    let mut body = vec![family, bits, 0, 0, MAIN_TABLE, BY_ADMINISTRATOR, 0, BLACKHOLE, 0, 0, 0, 0];
    let attribute = u16::try_from(4 + network.len()).unwrap_or(u16::MAX);
    body.extend(attribute.to_ne_bytes().into_iter().chain(DESTINATION.to_ne_bytes()));
    body.extend_from_slice(network);
    let mut message = u32::try_from(16 + body.len()).unwrap_or(u32::MAX).to_ne_bytes().to_vec();
    message.extend(NEW_ROUTE.to_ne_bytes().into_iter().chain(FLAGS.to_ne_bytes()));
    message.extend(1_u32.to_ne_bytes().into_iter().chain(0_u32.to_ne_bytes()));
    message.extend(body);
    // Of its protocols the one for routes is the first, and so the default.
    let kernel = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    send(&kernel, &message, SendFlags::empty())?;
    let mut answer = [0; 512];
    let (length, _) = recv(&kernel, &mut answer[..], RecvFlags::empty())?;
    let code = answer[..length].get(16..20).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// Becomes `words` as soon as the container's network is closed to metadata addresses.
pub(super) fn once_closed(words: &[String]) -> io::Result<()> {
    let Some((program, args)) = words.split_first() else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    for _ in 0..MOST_LOOKS {
        if is_closed(&std::fs::read_to_string("/proc/net/route")?) {
            return Err(Command::new(program).args(args).exec());
        }
        std::thread::sleep(LOOK);
    }
    Err(io::Error::from(io::ErrorKind::TimedOut))
}

/// Whether a list of routes has the one on which nothing leaves.
fn is_closed(routes: &str) -> bool {
    routes.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        (fields.next(), fields.next()) == (Some(CLOSED.0), Some(CLOSED.1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_network_is_known_by_its_routes() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n";
        let open = format!("{head}eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\n");
        assert!(!is_closed(&open));
        assert!(!is_closed(&format!("{open}eth0\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\n")));
        assert!(is_closed(&format!("{open}*\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\n")));
    }
}
