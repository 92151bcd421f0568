//! Small programs whose output is hard to read, through the binary: each ends with the number that a person would take, or with
//! none.

mod lab;

use lab::Lab;
use serde_json::Value as Json;

/// A program in Python, and what its `loss` is: a number, `NaN`, or unknown.
type Case = (&'static str, &'static str, Option<f64>);

const NAN: Option<f64> = Some(f64::NAN);

/// What the leaderboard says of `loss` after a run of each, with what was said beside it.
fn measured(cases: &[Case], metric: &str) -> Vec<(Option<f64>, String)> {
    let lab = Lab::new();
    // One sweep for all: a trial is a case. Failed trials neither pause it nor are tried again.
    let run = |nth: usize| {
        let name = format!("case{nth}");
        lab.write(&format!("{name}.py"), cases[nth].1);
        lab.write(
            &format!("{name}.yaml"),
            format!(
                "command: [python3, {name}.py]\nmetric: {{name: loss, goal: minimize{metric}}}\n\
                 retry: {{max_failures: 0}}\nparameters: {{x: {{value: 1}}}}\n"
            ),
        );
        let ran = lab.run(&["run", &format!("{name}.yaml"), "--slots", "1"]);
        let board = lab.run(&["leaderboard", &format!("{name}.yaml"), "-o", "jsonl"]).stdout;
        let objective = board.lines().next().map(|line| {
            let row: Json = serde_json::from_str(line).unwrap_or_default();
            let word = row["objective"].as_str().and_then(|word| word.parse().ok());
            row["objective"].as_f64().or(word).unwrap_or(f64::NAN)
        });
        (objective, ran.stderr)
    };
    (0..cases.len()).map(run).collect()
}

fn compare(cases: &[Case], metric: &str) {
    for ((name, code, expected), (got, said)) in cases.iter().zip(measured(cases, metric)) {
        let same = match (got, *expected) {
            (Some(got), Some(expected)) => got == expected || (got.is_nan() && expected.is_nan()),
            (got, expected) => got == expected,
        };
        assert!(same, "{name}: {got:?} and not {expected:?}\n{code}\n{said}");
    }
}

#[test]
fn streams_files_and_encodings_end_in_the_number_that_was_meant() {
    let cases: Vec<Case> = vec![
        (
            "a bar on stderr that is drawn again at the exit",
            "import sys\nprint('loss: 0.25', flush=True)\nfor i in range(3): sys.stderr.write(f'\\rtrain: {i}0%|#| loss=0.{9 - i}')",
            Some(0.25),
        ),
        ("a logger on stderr alone", "import sys\nsys.stderr.write('INFO:root:loss=0.5\\n')", Some(0.5)),
        (
            "training on stdout and the result on stderr",
            "import sys\nprint('train loss: 0.125')\nsys.stderr.write('loss: 0.5\\n')",
            Some(0.5),
        ),
        (
            "the file before all text",
            "import os\nopen(os.environ['GRID_METRICS_FILE'], 'a').write('{\"loss\": 0.125}')\nprint('loss=9')",
            Some(0.125),
        ),
        (
            "a file with carriage returns",
            "import os\nopen(os.environ['GRID_METRICS_FILE'], 'wb').write(b'{\"loss\": 1}\\r\\n{\"loss\": 0.25}\\r\\n')",
            Some(0.25),
        ),
        (
            "a file of UTF-16",
            "import os\nopen(os.environ['GRID_METRICS_FILE'], 'wb').write('{\"loss\": 1}\\n{\"loss\": 0.25}\\n'.encode('utf-16'))",
            Some(0.25),
        ),
        (
            "a list in the file",
            "import os\nopen(os.environ['GRID_METRICS_FILE'], 'w').write('[{\"loss\": 0.5}, {\"loss\": 0.25}]\\n')",
            None,
        ),
        (
            "UTF-16 on stdout",
            "import sys\nsys.stdout.buffer.write('loss: 1\\nloss: 0.5\\n'.encode('utf-16'))",
            Some(0.5),
        ),
        (
            "UTF-16 of the other order",
            "import sys\nsys.stdout.buffer.write(b'\\xfe\\xff' + 'loss: 0.5\\n'.encode('utf-16-be'))",
            Some(0.5),
        ),
        ("carriage returns alone", "import sys\nsys.stdout.write('loss: 0.5\\rloss: 0.25\\r')", Some(0.25)),
        (
            "colours within the number",
            "print('\\x1b[38;5;196mloss\\x1b[39m: \\x1b[1m0.\\x1b[32m25\\x1b[0m')",
            Some(0.25),
        ),
        ("a cursor that moves", "print('loss: 0.5\\x1b[A\\x1b[2Kloss: 0.25')", Some(0.25)),
        (
            "no end of the last line",
            "import sys, os\nsys.stdout.write('loss: 0.25')\nsys.stdout.flush()\nos._exit(0)",
            Some(0.25),
        ),
        (
            "a warning between the halves of a line",
            "import sys\nsys.stdout.write('loss: 0.')\nsys.stdout.flush()\nsys.stderr.write('warning\\n')\nsys.stderr.flush()\nsys.stdout.write('25\\n')",
            Some(0.25),
        ),
    ];
    compare(&cases, "");
}

#[test]
fn tables_wrappers_and_words_end_in_the_number_that_was_meant_or_in_none() {
    let cases: Vec<Case> = vec![
        ("a row of a table", "print('| metric | value |\\n|---|---|\\n| loss | 0.25 |')", Some(0.25)),
        ("a column of a table", "print('epoch  loss  acc\\n1  0.5  0.8\\n2  0.25  0.9')", None),
        ("a column of CSV", "print('epoch,loss\\n1,0.5\\n2,0.25')", None),
        ("an array of JAX", "print('loss: Array(0.25, dtype=float32)')", Some(0.25)),
        ("a number of NumPy", "print({'lr': 1}, 'loss:', 'np.float64(0.25)')", Some(0.25)),
        ("a record's fields", "print('Result(lr=3, loss=0.25, n=3)')", Some(0.25)),
        ("NaN after a number", "print('loss: 0.5\\nloss: NaN')", NAN),
        ("Microsoft's NaN", "print('loss: -nan(ind)')", NAN),
        ("a percentage", "print('loss: 0.5\\nloss: 25%')", None),
        ("an improvement", "print('loss: 0.5 -> 0.25')", None),
        ("wide digits", "print('loss：０．２５')", None),
        ("a Chinese colon", "print('轮次：3，loss：0.25')", Some(0.25)),
        (
            "a config that names it",
            "print(\"{'loss': 'mse'}\")\nprint('loss: 0.25')\nprint('config: loss: mse')",
            Some(0.25),
        ),
        ("an address", "print('loss: 0.25\\nsee http://host/?loss=7&loss=8')", Some(0.25)),
        ("a spread behind it", "print('loss: 0.25 ± 0.02')", Some(0.25)),
        ("what was before", "print('new loss: 0.25 (old loss: 0.5)')", Some(0.25)),
        ("the aim", "print('loss: 0.25\\ntarget loss: 0.1 was not reached')", Some(0.25)),
    ];
    compare(&cases, "");
}

#[test]
fn training_validation_and_test_are_never_taken_for_each_other() {
    let cases: Vec<Case> = vec![
        ("training last", "print('test loss: 0.25\\ntrain loss: 0.125')", Some(0.25)),
        ("headings", "print('Val: acc=1 loss=0.25\\nTrain: acc=1 loss=0.125')", Some(0.25)),
        ("LightGBM", "print(\"[9]\\tvalid_0's loss: 0.25\\ttraining's loss: 0.125\")", Some(0.25)),
        (
            "one line of JSON",
            "print('{\"val\": {\"loss\": 0.25}, \"train\": {\"loss\": 0.125}}')",
            Some(0.25),
        ),
        (
            "JSON over several lines",
            "import json\nprint(json.dumps({'test': {'loss': 0.25}, 'train': {'loss': 0.125}}, indent=2))",
            Some(0.25),
        ),
        ("YAML", "print('test:\\n  loss: 0.25\\ntrain:\\n  loss: 0.125')", Some(0.25)),
        ("a section that has ended", "print('train:\\n  n: 3\\nloss: 0.25')", Some(0.25)),
        ("banners", "print('=== Validation ===\\nloss: 0.25\\n=== Training ===\\nloss: 0.125')", Some(0.25)),
        ("a word alone in its line", "print('Validation\\nloss: 0.25\\n[train]\\nloss: 0.125')", Some(0.25)),
        (
            "a field of each record",
            "print('{\"loss\": 0.25, \"split\": \"val\"}\\n{\"loss\": 0.125, \"split\": \"train\"}')",
            Some(0.25),
        ),
        (
            "the same in the file",
            "import os\nopen(os.environ['GRID_METRICS_FILE'], 'a').write('{\"phase\": \"val\", \"loss\": 0.25}\\n{\"phase\": \"train\", \"loss\": 0.125}\\n')",
            Some(0.25),
        ),
        ("behind the name", "print('loss (val): 0.25\\nloss (train): 0.125')", Some(0.25)),
        ("validation and test", "print('val loss: 0.25\\ntest loss: 0.5')", None),
        ("two models in one line", "print('{\"a\": {\"loss\": 0.25}, \"b\": {\"loss\": 0.5}}')", None),
    ];
    compare(&cases, "");
}

#[test]
fn folds_are_averaged_where_that_is_asked_for() {
    let cases: Vec<Case> = vec![
        ("text", "for fold in range(4): print(f'fold {fold} loss: {fold}')", Some(1.5)),
        (
            "the file",
            "import os\nfor fold in range(4): open(os.environ['GRID_METRICS_FILE'], 'a').write('{\"loss\": %d}\\n' % fold)",
            Some(1.5),
        ),
        (
            "training in between",
            "for fold in range(4): print(f'val loss: {fold}\\ntrain loss: 9')",
            Some(1.5),
        ),
        ("one that is no number", "print('loss: 1\\nloss: 1,2\\nloss: 3')", None),
    ];
    compare(&cases, ", report: mean");
}

#[test]
fn one_of_several_that_stand_side_by_side_is_named() {
    let cases: Vec<Case> = vec![
        ("folds", "for fold in range(3): print(f'fold {fold} loss: {fold}')", Some(2.0)),
        (
            "folds in the file",
            "import os\nfor fold in range(3): open(os.environ['GRID_METRICS_FILE'], 'a').write('{\"fold\": %d, \"loss\": %d}\\n' % (fold, fold))",
            Some(2.0),
        ),
        ("headings of folds", "for fold in range(3): print(f'Fold {fold}\\nloss: {fold}')", Some(2.0)),
    ];
    compare(&cases, "");
    for ((name, ..), (_, said)) in cases.iter().zip(measured(&cases, "")) {
        assert!(said.contains("report: mean"), "{name}: {said}");
    }
    let models: [Case; 1] = [("models", "print('SVM loss: 1\\nForest loss: 2')", Some(2.0))];
    compare(&models, "");
    assert!(measured(&models, "")[0].1.contains("from `Forest loss: 2`, and not from `SVM loss: 1`"));
}
