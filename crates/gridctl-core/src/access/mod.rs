//! Who may do what: roles, tokens, certificates, and who was shut out. Wall-clock times come in as arguments.
//! Invariant: a secret is kept as its hash alone, and comparing one takes as long wherever it differs.

mod credentials;
mod limit;

use serde::{Deserialize, Serialize};

use crate::id::WorkerId;

pub use credentials::{Credentials, NoRoom, Proof, TokenView, is_same_secret, token_hash};
pub use limit::FailureLimit;

/// A token by which workers join lives so long at most, in milliseconds.
pub const JOIN_MS: u64 = 15 * 60_000;
/// A person's token lives so long, in milliseconds, unless it is made for another time.
pub const TOKEN_MS: u64 = 7 * 86_400_000;
/// A person's token lives so long at most, in milliseconds.
pub const MAX_TOKEN_MS: u64 = 366 * 86_400_000;
/// A worker's certificate lives so long, in milliseconds.
pub const CERTIFICATE_MS: u64 = 24 * 3_600_000;

/// What somebody may do. Of the last four, each may do what the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// To work: its own stream, its own leases.
    Worker,
    /// To look at everything.
    Read,
    /// To submit and steer sweeps.
    Submit,
    /// To say who else may do what.
    Admin,
    /// Whoever owns the data directory: an admin, and any worker. No token has this role.
    Owner,
}

/// Who asks, as the listener and the credentials say it: nobody, unless they say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peer {
    /// What the peer may do.
    pub role: Option<Role>,
    /// The worker that a certificate names.
    pub worker: Option<WorkerId>,
}

/// What a route or a stream wants of who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: what is shown in the message is judged there.
    Nothing,
    /// To be a worker.
    Work,
    /// To be the worker of a certificate.
    Certificate,
    /// To have this role among people.
    Person(Role),
}

impl Peer {
    /// Whether this peer meets `need`.
    #[must_use]
    pub fn may(self, need: Need) -> bool {
        match need {
            Need::Nothing => true,
            Need::Work => matches!(self.role, Some(Role::Worker | Role::Owner)),
            Need::Certificate => self.role == Some(Role::Worker) && self.worker.is_some(),
            Need::Person(least) => {
                self.role.is_some_and(|role| role != Role::Worker && role >= least.max(Role::Read))
            }
        }
    }

    /// Whether this peer may speak as `worker`.
    #[must_use]
    pub fn may_be(self, worker: WorkerId) -> bool {
        self.role == Some(Role::Owner) || (self.role == Some(Role::Worker) && self.worker == Some(worker))
    }
}

/// When a worker asks for its next certificate: after somewhat more than half of the time that is left, at least half a second.
/// What fails is tried again by the same rule, so that the tries come closer to each other.
#[must_use]
pub fn renew_after_ms(left_ms: u64, random: u64) -> u64 {
    (left_ms / 2 + random % (left_ms / 8).max(1)).max(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Option<Role>; 6] = [
        None,
        Some(Role::Worker),
        Some(Role::Read),
        Some(Role::Submit),
        Some(Role::Admin),
        Some(Role::Owner),
    ];

    #[test]
    fn each_need_is_met_by_its_roles_alone() {
        let cases = [
            (Need::Nothing, [true, true, true, true, true, true]),
            (Need::Work, [false, true, false, false, false, true]),
            (Need::Certificate, [false, true, false, false, false, false]),
            (Need::Person(Role::Read), [false, false, true, true, true, true]),
            (Need::Person(Role::Submit), [false, false, false, true, true, true]),
            (Need::Person(Role::Admin), [false, false, false, false, true, true]),
            // A need that is none of people's is no door for workers.
            (Need::Person(Role::Worker), [false, false, true, true, true, true]),
        ];
        for (need, expected) in cases {
            let worker = Some(WorkerId([1; 5]));
            let met = ROLES.map(|role| Peer { role, worker }.may(need));
            assert_eq!(met, expected, "{need:?}");
        }
        assert!(!Peer { role: Some(Role::Worker), worker: None }.may(Need::Certificate));
    }

    #[test]
    fn a_worker_speaks_as_the_one_of_its_certificate_alone() {
        let (mine, other) = (WorkerId([1; 5]), WorkerId([2; 5]));
        for role in ROLES {
            let peer = Peer { role, worker: Some(mine) };
            let is_worker = matches!(role, Some(Role::Worker | Role::Owner));
            assert_eq!(peer.may_be(mine), is_worker, "{role:?}");
            assert_eq!(peer.may_be(other), role == Some(Role::Owner), "{role:?}");
        }
        assert!(!Peer { role: Some(Role::Worker), worker: None }.may_be(mine));
    }

    #[test]
    fn a_certificate_is_renewed_long_before_its_end_and_more_often_towards_it() {
        for left in [10_000, CERTIFICATE_MS] {
            for random in [0, 1, u64::MAX] {
                let after = renew_after_ms(left, random);
                assert!(after >= left / 2 && after <= left * 5 / 8, "{left} {random}: {after}");
            }
        }
        assert_eq!(renew_after_ms(0, 7), 500);
    }
}
