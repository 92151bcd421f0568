//! What must hold when a sweep under fire is over.
//! Invariant: what is compared comes from the command as users have it, from the journal, and from the trainers' own ledger.

use super::*;

impl Siege {
    /// Each trial has one outcome, by whatever tells of it.
    pub(crate) fn check_outcomes(&self, total: usize) {
        let status = self.lab.run(&["status", "-o", "json"]);
        let status: Json = serde_json::from_str(&status.stdout).unwrap();
        assert_eq!((&status["state"], &status["total"]), (&"finished".into(), &total.into()), "{self}");
        assert_eq!(status["succeeded"], total, "{status}: {self}");
        for none in ["pending", "leased", "failed", "quarantined", "cancelled", "excluded"] {
            assert_eq!(status[none], 0, "{none}: {self}");
        }
        let listed = trials(&self.lab.run(&["trials", "ls", "-o", "jsonl"]).stdout);
        assert_eq!(listed.len(), total, "{self}");
        assert_eq!(listed.into_iter().collect::<BTreeMap<_, _>>().len(), total, "{self}");
        // The journal: its snapshot, its events and every outcome agree with their checksums, or this is an error.
        let reader = Reader::open(&self.lab.data()).unwrap();
        let loaded = reader.load(u64::MAX).unwrap();
        assert_eq!(loaded.damaged_snapshots, 0);
        let outcomes = reader.after(0, None, 100_000).unwrap();
        let settled: Vec<_> = outcomes.iter().filter(|row| row.terminal).collect();
        assert!(settled.iter().all(|row| row.state == TrialState::Succeeded), "{self}");
        let distinct: BTreeSet<String> = settled.iter().map(|row| row.trial.to_string()).collect();
        assert_eq!((settled.len(), distinct.len()), (total, total), "{self}");
    }

    /// How many attempts ended so.
    pub(crate) fn count(&self, class: Class) -> usize {
        let outcomes = Reader::open(&self.lab.data()).unwrap().after(0, None, 100_000).unwrap();
        outcomes.iter().filter(|row| row.class == class).count()
    }

    /// What was recorded as a success was not started again, by the ledger that the trainers keep.
    pub(crate) fn check_ledger(&self, total: usize) {
        let ledger = self.lab.ledger("ledger");
        let mut starts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut ends: BTreeSet<&str> = BTreeSet::new();
        for (at, line) in ledger.iter().enumerate() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["start", trial, _, _] => starts.entry(trial).or_default().push(at),
                ["done", trial, _] => drop(ends.insert(trial)),
                _ => panic!("line {at} of the ledger is torn: {line}: {self}"),
            }
        }
        assert_eq!((starts.len(), ends.len()), (total, total), "{self}");
        assert!(self.known.last().is_some_and(|known| known.succeeded.len() > total / 2), "{self}");
        for (look, known) in self.known.iter().enumerate() {
            for trial in &known.succeeded {
                let again = starts[trial.as_str()].iter().find(|at| **at >= known.ledger);
                assert_eq!(again, None, "trial {trial}, known to have succeeded at look {look}: {self}");
            }
        }
    }

    /// Nothing is left: no process, no directory of a worker, and nothing to do.
    pub(crate) fn check_leftovers(&mut self) {
        self.until("no process to be left", |siege| siege.is_quiet().then_some(()));
        let slots = std::fs::read_dir(self.lab.data().join("work/slots")).unwrap().flatten();
        let slots: Vec<_> = slots.map(|entry| entry.file_name()).collect();
        assert!(slots.is_empty(), "{slots:?}: {self}");
        let ledger = self.lab.ledger("ledger").len();
        let again = self.lab.run(&["run", "sweep.yaml", "--slots", "2"]);
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        assert!(again.stderr.contains("everything is known"), "{}", again.stderr);
        assert_eq!(self.lab.ledger("ledger").len(), ledger);
    }
}
