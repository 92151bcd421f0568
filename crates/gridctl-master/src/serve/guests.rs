//! Guests: connections of whom nobody knows yet who they are. A certificate, or the first request with a good token, ends that.
//! Invariant: so many guests at a time, so many of one address, each for so long: they never take the place of those who are known.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Guests at a time.
const ALL: usize = 2_000;
/// Guests of one address; of IPv6, of one network of 64 bits.
const OF_ONE: usize = 64;

/// The guests of a master.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// One guest's place, until it is known or gone.
#[derive(Debug)]
struct Place {
    guests: Arc<Guests>,
    from: IpAddr,
}

/// What a connection has while it is a guest's. Its requests share it.
#[derive(Debug, Clone)]
pub(super) struct GuestPass(Arc<watch::Sender<Option<Place>>>);

impl Guests {
    /// A place for a new connection, if there is one.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<GuestPass> {
        let from = network(from);
        let mut counts = self.counts();
        let of_one = counts.by.get(&from).copied().unwrap_or(0);
        if counts.all >= ALL || of_one >= OF_ONE {
            return None;
        }
        counts.all += 1;
        counts.by.insert(from, of_one + 1);
        drop(counts);
        let place = Place { guests: Arc::clone(self), from };
        Some(GuestPass(Arc::new(watch::Sender::new(Some(place)))))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GuestPass {
    /// Who it is is known now: the place is for others.
    pub(super) fn is_known(&self) {
        self.0.send_if_modified(|place| place.take().is_some());
    }

    /// Waits until who it is is known.
    pub(super) async fn known(&self) {
        // The sender is this pass's own.
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.guests.counts();
        counts.all = counts.all.saturating_sub(1);
        if let Some(of_one) = counts.by.get_mut(&self.from) {
            *of_one -= 1;
            if *of_one == 0 {
                counts.by.remove(&self.from);
            }
        }
    }
}

/// What counts as one address.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g43_guests_have_so_many_places_in_all_and_an_address_and_give_them_back() {
        let guests = Arc::new(Guests::default());
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let mut passes: Vec<_> = (0..OF_ONE).map(|_| guests.enter(one).unwrap()).collect();
        assert!(guests.enter(one).is_none());
        assert!(guests.enter("::ffff:10.0.0.1".parse().unwrap()).is_none(), "the same address");
        assert!(guests.enter("10.0.0.2".parse().unwrap()).is_some());
        passes[0].is_known();
        passes[0].is_known();
        passes.push(guests.enter(one).unwrap());
        assert!(guests.enter(one).is_none(), "one was known, and counts no more");
        let v6 = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, n, 0, 0, 1]);
        let network: Vec<_> = (0..200).filter_map(|n| guests.enter(v6(n))).collect();
        assert_eq!(network.len(), OF_ONE, "a network of 64 bits is one address");
        let many: Vec<_> =
            (0_u32..3_000).filter_map(|n| guests.enter(IpAddr::from(n.to_be_bytes()))).collect();
        assert_eq!(many.len() + network.len() + OF_ONE, ALL);
        drop((passes, network, many));
        let counts = guests.counts();
        assert!(counts.all == 0 && counts.by.is_empty(), "{counts:?}");
    }
}
