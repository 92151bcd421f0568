//! Tokens that were given out and workers that were shut out, as a master keeps them.
//! Invariant: what has expired, was revoked or is used up opens nothing; a secret is in here as its hash alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{JOIN_MS, MAX_TOKEN_MS, Peer, Role};
use crate::id::{BASE32, WorkerId};

/// Tokens that are kept at a time.
const MOST: usize = 1_000;
/// Longer secrets are not looked at.
const LONGEST: usize = 256;

/// Tokens and shut-out workers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    tokens: Vec<KeptToken>,
    /// Workers that were shut out, and when the last certificate that names them has expired.
    revoked: BTreeMap<WorkerId, u64>,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptToken {
    /// The hash of its secret.
    hash: [u8; 32],
    role: Role,
    expires_unix_ms: u64,
    /// How often it may be used; `None`: as often as one likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uses: Option<u32>,
}

/// A token as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its name, by which it is revoked.
    pub id: String,
    /// What it lets do.
    pub role: Role,
    /// When it expires, by the master's clock.
    pub expires_unix_ms: u64,
    /// How often it may still be used, where that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
}

/// How a peer was recognised, so that it can be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By nothing.
    Nothing,
    /// By the listener, or by the token of the data directory's file: good as long as the master lives.
    Owner,
    /// By a token with this hash.
    Token([u8; 32]),
    /// By a certificate of this worker, which expires then.
    Certificate {
        /// The worker.
        worker: WorkerId,
        /// When it expires.
        expires_unix_ms: u64,
    },
}

/// No more tokens are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} tokens are there already: revoke some")]
pub struct NoRoom;

impl Credentials {
    /// How somebody is recognised who shows this secret.
    #[must_use]
    pub fn proof(&self, secret: &[u8]) -> Proof {
        match self.found(secret) {
            Some(token) if token.role != Role::Worker => Proof::Token(token.hash),
            _ => Proof::Nothing,
        }
    }

    /// Who it is that was recognised so, and for how many milliseconds at most.
    #[must_use]
    pub fn peer(&self, proof: Proof, now_unix_ms: u64) -> (Peer, u64) {
        let (role, worker, expires) = match proof {
            Proof::Nothing => return (Peer::default(), u64::MAX),
            Proof::Owner => return (Peer { role: Some(Role::Owner), worker: None }, u64::MAX),
            Proof::Token(hash) => match self.tokens.iter().find(|token| token.hash == hash) {
                Some(token) if token.role != Role::Worker => (token.role, None, token.expires_unix_ms),
                _ => return (Peer::default(), 0),
            },
            Proof::Certificate { worker, .. } if self.is_revoked(worker) => return (Peer::default(), 0),
            Proof::Certificate { worker, expires_unix_ms } => (Role::Worker, Some(worker), expires_unix_ms),
        };
        match expires.checked_sub(now_unix_ms) {
            Some(left @ 1..) => (Peer { role: Some(role), worker }, left),
            _ => (Peer::default(), 0),
        }
    }

    /// Takes one use of a token by which workers join; false if this secret opens nothing.
    pub fn spend(&mut self, secret: &[u8], now_unix_ms: u64) -> bool {
        self.tidy(now_unix_ms);
        let Some(hash) = self.found(secret).map(|token| token.hash) else { return false };
        let token = self.tokens.iter_mut().find(|token| token.hash == hash && token.role == Role::Worker);
        let Some(token) = token else { return false };
        if let Some(uses) = &mut token.uses {
            *uses = uses.saturating_sub(1);
        }
        self.tidy(now_unix_ms);
        true
    }

    /// Keeps a new token, with its life in milliseconds cut to what its role may have.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn keep(
        &mut self,
        secret: &[u8],
        role: Role,
        (life_ms, uses): (u64, Option<u32>),
        now_unix_ms: u64,
    ) -> Result<TokenView, NoRoom> {
        self.tidy(now_unix_ms);
        if self.tokens.len() >= MOST {
            return Err(NoRoom);
        }
        let most = if role == Role::Worker { JOIN_MS } else { MAX_TOKEN_MS };
        let expires_unix_ms = now_unix_ms.saturating_add(life_ms.min(most));
        let token = KeptToken { hash: hash(secret), role, expires_unix_ms, uses };
        let view = token.view();
        self.tokens.push(token);
        Ok(view)
    }

    /// The tokens that open something.
    #[must_use]
    pub fn tokens(&self, now_unix_ms: u64) -> Vec<TokenView> {
        let good = self.tokens.iter().filter(|token| token.is_good(now_unix_ms));
        good.map(KeptToken::view).collect()
    }

    /// Forgets the token of this name; false if there is none.
    pub fn revoke(&mut self, id: &str) -> bool {
        let before = self.tokens.len();
        self.tokens.retain(|token| token.id() != id);
        self.tokens.len() < before
    }

    /// Shuts a worker out, whose last certificate has expired at that time.
    pub fn revoke_worker(&mut self, worker: WorkerId, until_unix_ms: u64) {
        self.revoked.insert(worker, until_unix_ms);
    }

    /// The workers that were shut out.
    #[must_use]
    pub fn revoked(&self) -> Vec<WorkerId> {
        self.revoked.keys().copied().collect()
    }

    /// Whether a worker was shut out.
    #[must_use]
    pub fn is_revoked(&self, worker: WorkerId) -> bool {
        self.revoked.contains_key(&worker)
    }

    /// Every token is compared, and each to its end.
    fn found(&self, secret: &[u8]) -> Option<&KeptToken> {
        if secret.len() > LONGEST {
            return None;
        }
        // Hashes are compared in constant time.
        let hash = blake3::hash(secret);
        let is_same = |token: &KeptToken| blake3::Hash::from_bytes(token.hash) == hash;
        self.tokens.iter().fold(None, |found, token| if is_same(token) { Some(token) } else { found })
    }

    fn tidy(&mut self, now_unix_ms: u64) {
        self.tokens.retain(|token| token.is_good(now_unix_ms));
        self.revoked.retain(|_, until| *until > now_unix_ms);
    }
}

impl KeptToken {
    fn is_good(&self, now_unix_ms: u64) -> bool {
        self.expires_unix_ms > now_unix_ms && self.uses != Some(0)
    }

    fn id(&self) -> String {
        BASE32.encode(&self.hash[..5])
    }

    fn view(&self) -> TokenView {
        let Self { role, expires_unix_ms, uses, .. } = *self;
        TokenView { id: self.id(), role, expires_unix_ms, uses }
    }
}

/// Whether two secrets are the same, in the same time wherever they differ.
#[must_use]
pub fn is_same_secret(one: &[u8], other: &[u8]) -> bool {
    blake3::hash(one) == blake3::hash(other)
}

/// The hash of a secret, as it may lie where others read it.
#[must_use]
pub fn token_hash(secret: &[u8]) -> String {
    blake3::hash(secret).to_hex().to_string()
}

fn hash(secret: &[u8]) -> [u8; 32] {
    *blake3::hash(secret).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Peer = Peer { role: None, worker: None };

    #[test]
    fn a_token_opens_what_its_role_says_until_it_expires_or_is_revoked() {
        let mut all = Credentials::default();
        let view = all.keep(b"secret", Role::Submit, (1_000, None), 50).unwrap();
        assert_eq!((view.role, view.expires_unix_ms, view.id.len()), (Role::Submit, 1_050, 8));
        let proof = all.proof(b"secret");
        let submit = Peer { role: Some(Role::Submit), worker: None };
        assert_eq!(all.peer(proof, 1_049), (submit, 1));
        assert_eq!(all.peer(proof, 1_050), (NOBODY, 0));
        for wrong in [&b"secreT"[..], b"secret ", b"", &[b'x'; 1 << 20]] {
            assert_eq!(all.proof(wrong), Proof::Nothing);
        }
        assert!(!all.revoke("nothing") && all.revoke(&view.id) && !all.revoke(&view.id));
        assert_eq!(all.peer(proof, 60), (NOBODY, 0), "a stream that stands is looked at again");
        assert_eq!(all.proof(b"secret"), Proof::Nothing);
    }

    #[test]
    fn g36_a_join_token_is_used_up_expires_and_is_nobodys_bearer_token() {
        let mut all = Credentials::default();
        all.keep(b"once", Role::Worker, (u64::MAX, Some(1)), 0).unwrap();
        all.keep(b"often", Role::Worker, (60_000, None), 0).unwrap();
        all.keep(b"person", Role::Admin, (60_000, None), 0).unwrap();
        assert_eq!(all.tokens(0)[0].expires_unix_ms, JOIN_MS, "it does not live longer");
        assert_eq!(all.proof(b"often"), Proof::Nothing, "it is no person's");
        assert!(!all.spend(b"person", 1), "a person's opens no place for a worker");
        assert!(!all.spend(b"onc", 1) && !all.spend(b"once ", 1));
        assert!(all.spend(b"once", 1) && !all.spend(b"once", 1));
        assert!(all.spend(b"often", 2) && all.spend(b"often", 59_999) && !all.spend(b"often", 60_000));
    }

    #[test]
    fn a_certificate_is_good_until_it_expires_or_its_worker_is_shut_out() {
        let mut all = Credentials::default();
        let worker = WorkerId([3; 5]);
        let proof = Proof::Certificate { worker, expires_unix_ms: 100 };
        let peer = Peer { role: Some(Role::Worker), worker: Some(worker) };
        assert_eq!(all.peer(proof, 99), (peer, 1));
        assert_eq!(all.peer(proof, 100), (NOBODY, 0));
        all.revoke_worker(worker, 200);
        assert_eq!(all.peer(proof, 99), (NOBODY, 0));
        all.keep(b"x", Role::Read, (1, None), 201).unwrap();
        assert!(!all.is_revoked(worker), "no certificate is left that names it");
    }

    #[test]
    fn so_many_tokens_are_kept_and_what_has_expired_makes_room() {
        let mut all = Credentials::default();
        for n in 0..MOST {
            all.keep(&n.to_le_bytes(), Role::Read, (10, None), 0).unwrap();
        }
        assert_eq!(all.keep(b"more", Role::Read, (10, None), 9), Err(NoRoom));
        assert!(all.keep(b"more", Role::Read, (10, None), 10).is_ok());
    }

    #[test]
    fn c07_no_secret_is_in_what_is_kept() {
        let mut all = Credentials::default();
        all.keep(b"a-secret-of-people", Role::Read, (10, None), 0).unwrap();
        let kept = serde_json::to_string(&all).unwrap();
        assert!(!kept.contains("a-secret") && !format!("{all:?}").contains("a-secret"));
        assert_eq!(serde_json::from_str::<Credentials>(&kept).unwrap(), all);
    }
}
