//! Where a master is: named by the person, or found in the data directory.
//! Invariant: only this machine is ever asked, for connections are not encrypted yet; a token is never printed.

use std::net::IpAddr;
use std::path::Path;

use gridctl_master::Advert;
use gridctl_worker::Address;

use crate::exit::Failure;

/// A master, and what it wants to see.
#[derive(Clone)]
pub(crate) struct MasterAddress {
    /// Where it is.
    pub(crate) address: Address,
    /// What callers by TCP show.
    pub(crate) token: Option<String>,
}

/// Reads an address that a person wrote. The token comes from `GRIDCTL_TOKEN`.
pub(crate) fn named(text: &str) -> Result<MasterAddress, Failure> {
    let bad = |message: String| {
        Failure::usage("master::address", message).help(
            "write unix:/PATH/master.sock or http://127.0.0.1:PORT; reach other machines through `ssh -L`",
        )
    };
    let shown = crate::output::sanitise::short(text, 80);
    let address: Address =
        text.parse().map_err(|_| bad(format!("`{}` is not a master's address", without_userinfo(&shown))))?;
    if let Address::Http(url) = &address
        && !is_loopback(url)
    {
        return Err(bad(format!("`{shown}` is not on this machine, and connections are not encrypted yet")));
    }
    let token = std::env::var("GRIDCTL_TOKEN").ok().filter(|token| !token.is_empty());
    Ok(MasterAddress { address, token })
}

/// What stands before an `@` may be a password.
pub(crate) fn without_userinfo(text: &str) -> String {
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
