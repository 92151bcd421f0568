//! Guests: connections of whom nobody knows yet who they are. A certificate, or the first request with a good token, ends that.
//! Invariant: so many guests at a time, so many of one address, each for so long: they never take the place of those who are
//! known, and those who dawdle do not keep out who comes next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gridctl_core::id::Time;
use tokio::sync::watch;

/// Guests at a time.
const ALL: usize = 2_000;
/// Guests of one address; of IPv6, of one network of 64 bits.
const OF_ONE: usize = 64;
/// Who has been a guest for so long gives its place to the next one where there is no other. Who means well is known by then.
const DAWDLES_MS: u64 = 3_000;

/// The guests of a master.
#[derive(Debug)]
pub(super) struct Guests {
    most: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    came: u64,
    /// In the order in which they came.
    all: BTreeMap<u64, Place>,
    by: HashMap<IpAddr, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Place {
    from: IpAddr,
    since: Time,
    standing: watch::Sender<Standing>,
}

/// What a connection is to the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Guest,
    Known,
    /// Its place is another's now.
    Out,
}

/// What a connection has while it is a guest's. Its requests share it.
#[derive(Debug, Clone)]
pub(super) struct GuestPass(Arc<Guest>);

#[derive(Debug)]
struct Guest {
    guests: Arc<Guests>,
    number: u64,
    standing: watch::Sender<Standing>,
}

impl Guests {
    /// Places for guests, where the master has so many for connections in all.
    pub(super) fn new(connections: usize) -> Self {
        Self { most: ALL.min(connections / 2), places: Mutex::default() }
    }

    /// A place for a new connection, if there is one, or if somebody has had one for too long.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr, now: Time) -> Option<GuestPass> {
        let from = network(from);
        let mut places = self.places();
        let of_one = places.by.get(&from);
        if of_one.is_some_and(|of_one| of_one.len() >= OF_ONE) {
            let oldest = of_one.and_then(BTreeSet::first).copied();
            places.put_out(oldest, now)?;
        }
        if places.all.len() >= self.most {
            let oldest = places.all.first_key_value().map(|(number, _)| *number);
            places.put_out(oldest, now)?;
        }
        places.came += 1;
        let (number, standing) = (places.came, watch::Sender::new(Standing::Guest));
        places.by.entry(from).or_default().insert(number);
        places.all.insert(number, Place { from, since: now, standing: standing.clone() });
        drop(places);
        Some(GuestPass(Arc::new(Guest { guests: Arc::clone(self), number, standing })))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// Takes the place of a guest that dawdles; `None` if it does not.
    fn put_out(&mut self, number: Option<u64>, now: Time) -> Option<()> {
        let number = number?;
        if now.ms_since(self.all.get(&number)?.since) < DAWDLES_MS {
            return None;
        }
        self.free(number)?.standing.send_replace(Standing::Out);
        Some(())
    }

    fn free(&mut self, number: u64) -> Option<Place> {
        let place = self.all.remove(&number)?;
        if let Some(of_one) = self.by.get_mut(&place.from) {
            of_one.remove(&number);
            if of_one.is_empty() {
                self.by.remove(&place.from);
            }
        }
        Some(place)
    }
}

impl GuestPass {
    /// Who it is is known now: the place is for others.
    pub(super) fn is_known(&self) {
        let guest = &self.0;
        // Who was put out is on the way out.
        if guest.guests.places().free(guest.number).is_some() {
            guest.standing.send_replace(Standing::Known);
        }
    }

    /// Waits until who it is is known, or the place is another's; whether it is known.
    pub(super) async fn known(&self) -> bool {
        let mut standing = self.0.standing.subscribe();
        // The sender is this pass's own.
        let found = standing.wait_for(|standing| *standing != Standing::Guest).await;
        found.is_ok_and(|standing| *standing == Standing::Known)
    }

    /// Waits until the place is another's; for ever, if who it is is known before.
    pub(super) async fn put_out(&self) {
        if self.known().await {
            std::future::pending().await
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.places().free(self.number);
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
        let guests = Arc::new(Guests::new(12_000));
        let now = Time(100_000);
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let mut passes: Vec<_> = (0..OF_ONE).map(|_| guests.enter(one, now).unwrap()).collect();
        assert!(guests.enter(one, now).is_none());
        assert!(guests.enter("::ffff:10.0.0.1".parse().unwrap(), now).is_none(), "the same address");
        assert!(guests.enter("10.0.0.2".parse().unwrap(), now).is_some());
        passes[0].is_known();
        passes[0].is_known();
        passes.push(guests.enter(one, now).unwrap());
        assert!(guests.enter(one, now).is_none(), "one was known, and counts no more");
        let v6 = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, n, 0, 0, 1]);
        let network: Vec<_> = (0..200).filter_map(|n| guests.enter(v6(n), now)).collect();
        assert_eq!(network.len(), OF_ONE, "a network of 64 bits is one address");
        let many: Vec<_> =
            (0_u32..3_000).filter_map(|n| guests.enter(IpAddr::from(n.to_be_bytes()), now)).collect();
        assert_eq!(many.len() + network.len() + OF_ONE, ALL);
        drop((passes, network, many));
        let places = guests.places();
        assert!(places.all.is_empty() && places.by.is_empty(), "{places:?}");
    }

    #[tokio::test]
    async fn g43_who_dawdles_gives_its_place_to_the_next_and_who_is_known_stays() {
        let guests = Arc::new(Guests::new(12_000));
        let (early, late) = (Time(100_000), Time(100_000 + DAWDLES_MS));
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let mut passes: Vec<_> = (0..OF_ONE).map(|_| guests.enter(one, early).unwrap()).collect();
        passes[0].is_known();
        passes.push(guests.enter(one, early).unwrap());
        let next = guests.enter(one, late).expect("the oldest guest's place");
        assert!(passes[0].known().await, "it is none any more");
        assert!(!passes[1].known().await, "it was the oldest");
        passes[1].is_known();
        assert!(!passes[1].known().await, "that comes too late");
        passes[1].put_out().await;
        let others = (2..=OF_ONE).map(|_| guests.enter(one, late).unwrap()).collect::<Vec<_>>();
        assert_eq!(others.len(), OF_ONE - 1, "all who dawdled are out");
        assert!(guests.enter(one, late).is_none(), "and nobody else is");
        drop((next, others, passes));
        // The same where all places are taken.
        let few = Arc::new(Guests::new(8));
        let ip = |n: u32| IpAddr::from((n + 1).to_be_bytes());
        let all: Vec<_> = (0..4).map(|n| few.enter(ip(n), early).unwrap()).collect();
        assert!(few.enter(ip(9), early).is_none());
        assert!(few.enter(ip(9), late).is_some());
        all[0].put_out().await;
    }
}
