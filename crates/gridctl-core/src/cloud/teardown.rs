//! Ends what gridctl made, round by round: look, end what can be ended, look again.
//! Invariant: it is over only after nothing was there in several looks in a row, for what was just made is not seen at once; and
//! what makes machines goes before the machines that it made.

use super::{CloudResource, MASTER, ResourceKind};

/// After so many looks in a row that show nothing, nothing is there.
pub const EMPTY_LOOKS: u32 = 2;

/// What a round does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// End these, in this order; then look again.
    End(Vec<CloudResource>),
    /// Nothing can be done but to wait and look again.
    Wait,
    /// Nothing is left.
    Over,
}

/// The rounds so far.
#[derive(Debug, Clone, Default)]
pub struct Teardown {
    empty_looks: u32,
}

impl Teardown {
    /// What follows from a look that showed this.
    #[must_use]
    pub fn next(&mut self, left: &[CloudResource]) -> Step {
        if left.is_empty() {
            self.empty_looks += 1;
            return if self.empty_looks >= EMPTY_LOOKS { Step::Over } else { Step::Wait };
        }
        self.empty_looks = 0;
        let machines_left = left.iter().any(|resource| resource.kind == ResourceKind::Instance);
        let can_go = |resource: &&CloudResource| {
            !resource.ending
                && match resource.kind {
                    ResourceKind::LaunchTemplate | ResourceKind::Instance => true,
                    // Machines hold them.
                    ResourceKind::Volume | ResourceKind::SecurityGroup => !machines_left,
                }
        };
        let mut go: Vec<CloudResource> = left.iter().filter(can_go).cloned().collect();
        // A master makes workers anew as long as it lives and has its template.
        go.sort_by_key(|resource| (resource.kind, resource.role.as_deref() != Some(MASTER)));
        if go.is_empty() { Step::Wait } else { Step::End(go) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::resource;
    use super::*;

    fn ids(step: Step) -> Vec<String> {
        match step {
            Step::End(resources) => resources.into_iter().map(|resource| resource.id).collect(),
            Step::Wait => vec!["wait".to_owned()],
            Step::Over => vec!["over".to_owned()],
        }
    }

    #[test]
    fn what_makes_machines_goes_first_and_what_they_hold_goes_last() {
        let worker = resource(ResourceKind::Instance, "i-worker", "worker");
        let master = resource(ResourceKind::Instance, "i-master", "master");
        let template = resource(ResourceKind::LaunchTemplate, "lt", "worker");
        let volume = resource(ResourceKind::Volume, "vol", "worker");
        let group = resource(ResourceKind::SecurityGroup, "sg", "worker");
        let ending = CloudResource { ending: true, ..worker.clone() };
        let mut teardown = Teardown::default();
        let all = [group.clone(), volume.clone(), worker, master, template];
        assert_eq!(ids(teardown.next(&all)), ["lt", "i-master", "i-worker"]);
        assert_eq!(ids(teardown.next(&[group.clone(), volume.clone(), ending])), ["wait"]);
        assert_eq!(ids(teardown.next(&[group.clone(), volume])), ["vol", "sg"]);
        assert_eq!(ids(teardown.next(&[])), ["wait"], "one empty look proves nothing");
        assert_eq!(ids(teardown.next(&[group])), ["sg"], "it was there after all");
        assert_eq!(ids(teardown.next(&[])), ["wait"]);
        assert_eq!(ids(teardown.next(&[])), ["over"]);
    }
}
