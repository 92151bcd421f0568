//! Where a master is: named by the person, or found in the data directory.
//! Invariant: other machines are asked by TLS alone; a token is never printed.

use std::fs::DirBuilder;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use gridctl_master::{Advert, chain};
use gridctl_storage::private;
use gridctl_worker::tls::Pin;
use gridctl_worker::{Address, JoinAddress};

use crate::exit::Failure;
use crate::settings::{Origin, Setting};

/// A master, and what it wants to see.
#[derive(Clone)]
pub(crate) struct MasterAddress {
    /// Where it is.
    pub(crate) address: Address,
    /// What callers by TCP show.
    pub(crate) token: Option<String>,
}

/// The master that was named. A variable may hold the address with its token, as `gridctl token create --url` prints it; in
/// arguments and files others could read that.
pub(crate) fn of(setting: &Setting<String>) -> Result<MasterAddress, Failure> {
    let text = &setting.value;
    match (&setting.by, text.contains("token=")) {
        (Origin::Variable(name), true) => {
            let JoinAddress { address, token } = text.parse().map_err(|_| {
                // What was set holds a token, and is not shown.
                Failure::usage("master::address", format!("{name} is no master's address with a token"))
                    .help("set it to what `gridctl token create --role submit --url` prints")
            })?;
            Ok(MasterAddress { address, token: Some(token) })
        }
        _ => named(text),
    }
}

/// Reads an address that a person wrote. The token comes from `GRIDCTL_TOKEN`, or is the one that was saved.
pub(crate) fn named(text: &str) -> Result<MasterAddress, Failure> {
    let bad = |message: String| {
        Failure::usage("master::address", message).help(
            "write gridctl://HOST:PORT?pin=PIN, as the master says it when it starts; or unix:/PATH/master.sock, or \
             http://127.0.0.1:PORT",
        )
    };
    if text.contains("token=") {
        return Err(Failure::usage("master::address", "an address of a master has no token in it")
            .help(
                "leave `token=` out, and set GRIDCTL_TOKEN, or use `gridctl token save`; the variable GRIDCTL_MASTER may \
                 hold both; a worker joins with --join",
            ));
    }
    let shown = crate::output::sanitise::short(text, 120);
    let address: Address =
        text.parse().map_err(|_| bad(format!("`{}` is not a master's address", without_userinfo(&shown))))?;
    if let Address::Http(url) = &address
        && !is_loopback(url)
    {
        return Err(bad(format!("`{shown}` is not on this machine, and http:// is not encrypted")));
    }
    let set = std::env::var("GRIDCTL_TOKEN").ok().filter(|token| !token.is_empty());
    let token = match (set, &address) {
        (None, Address::Secure { pin, .. }) => saved(*pin)?,
        (set, _) => set,
    };
    Ok(MasterAddress { address, token })
}

/// The token that `gridctl token save` keeps for the master of this pin.
fn saved(pin: Pin) -> Result<Option<String>, Failure> {
    let Some(path) = path_of(pin) else { return Ok(None) };
    private::read(&path).map_err(|error| Failure::error("token", chain(&error)))
}

/// Where the token for this master is kept.
pub(crate) fn kept_token(master: &Setting<String>) -> Result<PathBuf, Failure> {
    let Address::Secure { pin, .. } = of(master)?.address else {
        return Err(Failure::usage("token", "a master on this machine wants no token of you")
            .help("name one on another machine: GRIDCTL_MASTER='gridctl://HOST:PORT?pin=PIN'"));
    };
    path_of(pin).ok_or_else(|| {
        Failure::error("token", "there is no place to keep it")
            .help("set HOME, or XDG_STATE_HOME; or use GRIDCTL_TOKEN")
    })
}

/// The token that is kept for a master.
#[cfg(feature = "ec2")]
pub(crate) fn kept_for(address: &Address) -> Result<Option<String>, Failure> {
    let Address::Secure { pin, .. } = address else { return Ok(None) };
    saved(*pin)
}

/// Keeps a token for a master.
#[cfg(feature = "ec2")]
pub(crate) fn keep_for(address: &Address, token: &str) -> Result<(), Failure> {
    let Address::Secure { pin, .. } = address else { return Ok(()) };
    let path = path_of(*pin).ok_or_else(|| {
        Failure::error("token", "there is no place to keep the token of the master")
            .help("set HOME, or XDG_STATE_HOME")
    })?;
    keep_token(&path, token)
}

/// Keeps a token, for this user alone.
pub(crate) fn keep_token(path: &Path, token: &str) -> Result<(), Failure> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.and_then(|()| private::write(path, token)).map_err(|error| {
        Failure::error("token", format!("cannot write {}: {}", path.display(), crate::input::reason(&error)))
    })
}

fn path_of(pin: Pin) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || set("HOME").map(|home| home.join(".local/state"));
    Some(set("XDG_STATE_HOME").or_else(home)?.join("gridctl/tokens").join(pin.to_string()))
}

/// An address as it may be shown: without a token.
pub(crate) fn without_secret(text: &str) -> String {
    match text.find("token=") {
        Some(at) => without_userinfo(&format!("{}token=***", &text[..at])),
        None => without_userinfo(text),
    }
}

/// What stands before an `@` may be a password.
fn without_userinfo(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://***{}", &text[..scheme], &text[at..]),
        _ => text.to_owned(),
    }
}

fn is_loopback(url: &str) -> bool {
    let place = url.trim_start_matches("http://");
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The master that the data directory tells of; it may be gone.
pub(crate) fn advertised(dir: &Path) -> Result<Option<MasterAddress>, Failure> {
    let advert = Advert::read(dir).map_err(|error| {
        Failure::error("master::advert", error.to_string())
            .help("remove the file if no master is running; a running one writes it anew when it starts")
    })?;
    Ok(advert.map(|advert| MasterAddress { address: Address::Unix(advert.socket), token: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c13_a_token_stands_in_the_variable_alone_and_is_never_shown() {
        const PIN: &str = "pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let variable = Origin::Variable("GRIDCTL_MASTER");
        let set = |by: &Origin, value: String| Setting { value, by: by.clone() };
        let whole = format!("gridctl://h:1?{PIN}&token=s3cret");
        let found = of(&set(&variable, whole.clone())).ok().unwrap();
        assert_eq!(found.token.as_deref(), Some("s3cret"));
        assert_eq!(found.address.to_string(), format!("gridctl://h:1?{PIN}"));
        for by in [Origin::Flag("--master"), Origin::File(PathBuf::from("gridctl.toml"))] {
            assert!(of(&set(&by, whole.clone())).is_err(), "{by}");
        }
        for bad in ["http://127.0.0.1:1?token=s3cret", "gridctl://h:1?token=s3cret", "token=s3cret"] {
            let failure = of(&set(&variable, bad.to_owned())).err().unwrap();
            assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
            assert!(!without_secret(bad).contains("s3cret"));
        }
        assert_eq!(without_secret(&whole), format!("gridctl://h:1?{PIN}&token=***"));
    }

    #[test]
    fn c13_only_addresses_of_this_machine_are_taken() {
        for good in ["unix:/run/x.sock", "http://127.0.0.1:7070", "http://[::1]:80/", "http://localhost:1"] {
            assert!(named(good).is_ok(), "{good}");
        }
        for bad in [
            "http://169.254.169.254/",
            "http://169.254.169.254:80",
            "file:///etc/passwd",
            "http://user:secret@127.0.0.1:80",
            "http://[fe80::1%eth0]:80",
            "http://127.0.0.1:0",
            "http://127.0.0.1:65536",
            "http://127.0.0.1",
            "https://127.0.0.1:1",
            "unix:relative",
            "",
            "127.0.0.1:80",
        ] {
            let failure = named(bad).err().unwrap_or_else(|| panic!("{bad} was taken"));
            assert_eq!(failure.exit, crate::exit::Exit::Usage, "{bad}");
            assert!(!failure.problems[0].message.contains("secret"), "{bad}");
        }
    }
}
