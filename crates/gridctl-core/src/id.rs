//! Identifiers: trials, sweeps, workers, leases and the fencing token that orders attempts.
//! Invariant: a trial's id depends on its parameters and repeat alone, so it is the same in every
//! version of every sweep.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::{BASE32_NOPAD, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::Params;

/// Characters of a trial's id in tables; every command takes any prefix that is unique.
pub const SHORT_ID: usize = 8;

/// A trial: the first 80 bits of the BLAKE3 hash of its canonical parameters and repeat; 16
/// characters of base32 (RFC 4648, lower case).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrialId(pub [u8; 10]);

impl TrialId {
    /// The id of the trial with these parameters; `repeat` is the seed's number, 0 where the
    /// repeats are an axis.
    #[must_use]
    pub fn of(params: &Params, repeat: u32) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(params.canonical().as_bytes()).update(b"#").update(&repeat.to_le_bytes());
        Self(first(&hash.finalize()))
    }

    /// The first characters, as tables show them.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(SHORT_ID);
        text
    }
}

/// A hash of everything but the parameters that decides a trial's outcome: command, environment,
/// image, workdir, data. "The code".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeHash(pub [u8; 10]);

impl CodeHash {
    /// The hash of these parts, in this order, each with its length.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = blake3::Hasher::new();
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        Self(first(&hash.finalize()))
    }
}

/// Trial and code together: what has this fingerprint is known, and does not run again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 10]);

impl Fingerprint {
    /// The fingerprint of `trial` under `code`.
    #[must_use]
    pub fn of(trial: TrialId, code: CodeHash) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(&trial.0).update(&code.0);
        Self(first(&hash.finalize()))
    }
}

fn first<const N: usize>(hash: &blake3::Hash) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&hash.as_bytes()[..N]);
    bytes
}

/// RFC 4648 base32 in lower case, without padding.
pub(crate) static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = BASE32_NOPAD.specification();
    spec.symbols.make_ascii_lowercase();
    spec.encoding().expect("the alphabet is RFC 4648's")
});

/// A text that is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: ids are made of the letters a to z and the digits 2 to 7")]
pub struct IdError(String);

macro_rules! base32_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&BASE32.encode(&self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = BASE32.decode(text.as_bytes()).map_err(|_| IdError(text.to_owned()))?;
                bytes.try_into().map(Self).map_err(|_| IdError(text.to_owned()))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
base32_id!(TrialId);
base32_id!(CodeHash);
base32_id!(Fingerprint);
base32_id!(WorkerId);
base32_id!(PackHash);

/// A pack of a sweep's code: the BLAKE3 hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackHash(pub [u8; 32]);

/// A worker process, drawn at random when it starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub [u8; 5]);

/// A sweep within one master's journal, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SweepId(pub u32);

/// How many times a master has started on this journal; strictly grows, also across a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

/// The number of a lease, over all sweeps of a master; strictly grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseSeq(pub u64);

macro_rules! plain_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
plain_number!(SweepId, Epoch, LeaseSeq);

/// What a worker shows with everything it says about an attempt: only the trial's current token is
/// obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The master's epoch that granted the lease.
    pub epoch: Epoch,
    /// The lease.
    pub lease: LeaseSeq,
    /// The attempt's number within its trial, from 1.
    pub attempt: u32,
}

impl fmt::Display for Token {
    /// `<epoch>-<lease>`: the name of the attempt's directory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.lease)
    }
}

/// A time on this master's (or worker's) monotonic clock, in milliseconds: never journalled, never
/// sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// This time plus `ms` milliseconds.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; 0 if it is not earlier.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn a_trial_id_is_sixteen_characters_and_reads_back() {
        let params = Params::new(vec![("lr".into(), Value::Float(0.1))]);
        let id = TrialId::of(&params, 0);
        assert_eq!(id.to_string().len(), 16);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(TrialId::of(&params, 1), id);
        assert!("UPPER".parse::<TrialId>().is_err());
    }

    #[test]
    fn parts_of_a_code_hash_do_not_run_together() {
        assert_ne!(CodeHash::of(&["ab", "c"]), CodeHash::of(&["a", "bc"]));
    }
}
