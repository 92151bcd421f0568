//! What gridctl makes in a cloud, told by tags alone: what it is, whose, until when; and in which order it is ended.
//! Invariant: what does not bear the sweep's tag is never touched, and nothing is called ended before it was looked for again.

mod notice;
mod teardown;

use serde::Serialize;

pub use self::notice::taken_at_ms;
pub use self::teardown::{EMPTY_LOOKS, Step, Teardown};

/// The tag that names the sweep: what bears it is gridctl's.
pub const TAG_SWEEP: &str = "gridctl:sweep";
/// The tag that says what it is for: `master` or `worker`.
pub const TAG_ROLE: &str = "gridctl:role";
/// The tag that says who made it: the caller's ARN.
pub const TAG_OWNER: &str = "gridctl:owner";
/// The tag that says until when it may live, in seconds since 1970; a healthy master renews it.
pub const TAG_EXPIRES: &str = "gridctl:expires";
/// The tag that says which launch started a machine: the journal's name, a dot, the launch's number.
pub const TAG_LAUNCH: &str = "gridctl:launch";
/// The role of what holds the master.
pub const MASTER: &str = "master";
/// The role of what holds a worker.
pub const WORKER: &str = "worker";

/// The token of a call that says all this: the same for the same call, and 64 characters, which is as many as AWS takes.
#[must_use]
pub fn token(parts: &[&str]) -> String {
    let mut hash = blake3::Hasher::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hash.finalize().to_hex().to_string()
}

/// A kind of thing that gridctl makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// What machines are made from.
    LaunchTemplate,
    /// A machine.
    Instance,
    /// A disk that no machine has any more.
    Volume,
    /// The rules of who may connect.
    SecurityGroup,
}

impl ResourceKind {
    /// The word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LaunchTemplate => "launch template",
            Self::Instance => "instance",
            Self::Volume => "volume",
            Self::SecurityGroup => "security group",
        }
    }
}

/// Something of gridctl's that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloudResource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its id.
    pub id: String,
    /// Its region.
    pub region: String,
    /// More for people: an instance's type and state, say.
    pub detail: String,
    /// It is on its way out: nothing is to be done but to wait.
    pub ending: bool,
    /// Its sweep.
    pub sweep: String,
    /// What it is for.
    pub role: Option<String>,
    /// Who made it.
    pub owner: Option<String>,
    /// Until when it may live, in seconds since 1970.
    pub expires: Option<u64>,
}

/// Where something is, and what it looks like, without its tags.
#[derive(Debug, Clone)]
pub struct Untagged {
    /// What it is.
    pub kind: ResourceKind,
    /// Its id.
    pub id: String,
    /// Its region.
    pub region: String,
    /// More for people.
    pub detail: String,
    /// It is on its way out.
    pub ending: bool,
}

impl CloudResource {
    /// The thing with these tags; `None` if it is not gridctl's.
    #[must_use]
    pub fn new<'a>(what: Untagged, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let (mut sweep, mut role, mut owner, mut expires) = (None, None, None, None);
        for (key, value) in tags {
            match key {
                TAG_SWEEP => sweep = Some(value.to_owned()),
                TAG_ROLE => role = Some(value.to_owned()),
                TAG_OWNER => owner = Some(value.to_owned()),
                TAG_EXPIRES => expires = value.parse().ok(),
                _ => {}
            }
        }
        let sweep = sweep.filter(|sweep| !sweep.is_empty())?;
        let Untagged { kind, id, region, detail, ending } = what;
        Some(Self { kind, id, region, detail, ending, sweep, role, owner, expires })
    }

    fn is_masters_machine(&self) -> bool {
        self.kind == ResourceKind::Instance && self.role.as_deref() == Some(MASTER)
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Which of gridctl's things are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All of a sweep.
    Sweep(String),
    /// All of a sweep but its master's machine.
    Fleet(String),
    /// All.
    All,
    /// All whose time is over at this second since 1970.
    Expired(u64),
}

/// Which things, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Which.
    pub which: Which,
    /// Only what this caller made; `None`: whoever made it.
    pub owner: Option<String>,
}

impl Scope {
    /// Whether this is meant, whoever made it.
    #[must_use]
    pub fn names(&self, resource: &CloudResource) -> bool {
        match &self.which {
            Which::Sweep(sweep) => resource.sweep == *sweep,
            Which::Fleet(sweep) => resource.sweep == *sweep && !resource.is_masters_machine(),
            Which::All => true,
            Which::Expired(now) => resource.is_expired(*now),
        }
    }

    /// Whether this is meant and may be ended. What says of nobody that they made it is everybody's.
    #[must_use]
    pub fn takes(&self, resource: &CloudResource) -> bool {
        let mine = match (&self.owner, &resource.owner) {
            (Some(me), Some(owner)) => me == owner,
            _ => true,
        };
        mine && self.names(resource)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn resource(kind: ResourceKind, id: &str, role: &str) -> CloudResource {
        let what = Untagged {
            kind,
            id: id.to_owned(),
            region: "us-east-1".to_owned(),
            detail: String::new(),
            ending: false,
        };
        let tags = [(TAG_SWEEP, "wine"), (TAG_ROLE, role), (TAG_OWNER, "me"), (TAG_EXPIRES, "1000")];
        CloudResource::new(what, tags).unwrap()
    }

    #[test]
    fn only_what_bears_the_sweeps_tag_is_gridctls() {
        let what = Untagged {
            kind: ResourceKind::Instance,
            id: "i-1".to_owned(),
            region: "us-east-1".to_owned(),
            detail: String::new(),
            ending: false,
        };
        for tags in [vec![], vec![("Name", "wine")], vec![(TAG_OWNER, "me")], vec![(TAG_SWEEP, "")]] {
            assert_eq!(CloudResource::new(what.clone(), tags), None);
        }
        let odd = CloudResource::new(what, [(TAG_SWEEP, "wine"), (TAG_EXPIRES, "tomorrow")]).unwrap();
        assert!(odd.expires.is_none() && !odd.is_expired(u64::MAX), "what cannot be read has not expired");
    }

    #[test]
    fn a_master_ends_all_of_its_sweep_but_its_own_machine() {
        let scope = Scope { which: Which::Fleet("wine".to_owned()), owner: None };
        let own = resource(ResourceKind::Instance, "i-1", MASTER);
        assert!(!scope.takes(&own));
        assert!(scope.takes(&resource(ResourceKind::SecurityGroup, "sg-1", MASTER)));
        assert!(scope.takes(&resource(ResourceKind::Instance, "i-2", WORKER)));
    }

    #[test]
    fn others_things_are_left_alone_unless_all_are_meant() {
        let mine = resource(ResourceKind::Instance, "i-1", "worker");
        let theirs = CloudResource { owner: Some("you".to_owned()), ..mine.clone() };
        let nobodys = CloudResource { owner: None, ..mine.clone() };
        let me = Some("me".to_owned());
        let cases = [
            (Which::Sweep("wine".to_owned()), me.clone(), [true, false, true]),
            (Which::Sweep("wine".to_owned()), None, [true, true, true]),
            (Which::Fleet("wine".to_owned()), me.clone(), [true, false, true]),
            (Which::Sweep("beer".to_owned()), None, [false, false, false]),
            (Which::All, me.clone(), [true, false, true]),
            (Which::Expired(999), me.clone(), [false, false, false]),
            (Which::Expired(1_000), me, [true, false, true]),
        ];
        for (which, owner, expected) in cases {
            let scope = Scope { which, owner };
            let takes = [&mine, &theirs, &nobodys].map(|resource| scope.takes(resource));
            assert_eq!(takes, expected, "{scope:?}");
        }
    }
}
