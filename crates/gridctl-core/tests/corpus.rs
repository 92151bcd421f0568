//! Small inputs that are kept, and made-up ones: whatever a program prints and whatever a sweep file says, the readers end
//! without a panic, and how output is cut into chunks changes nothing.
//! A number that is taken stands in the text. An input that once broke a reader becomes a file in `corpus/`.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridctl_core::metrics::{Extractor, FileReader, Outcome, Patterns, Stream};
use gridctl_core::spec::{self, Context};
use proptest::prelude::*;

/// Every way of reading: by name, by pattern, with every choice among several values.
const SWEEP: &str = "name: s\ncommand: [t]\nparameters: {x: {value: 1}}\nmetric: {name: loss, goal: minimize}\n\
    metrics: [acc, {name: min, report: min}, {name: mean, report: mean}, {name: 损失}, {name: f1, regex: 'F1[ =]+(\\S+)'}]\n";
/// Metrics of it whose value is one that was printed under their name.
const PRINTED: [&str; 4] = ["loss", "acc", "min", "损失"];

fn patterns() -> Arc<Patterns> {
    let parsed = spec::parse(SWEEP.as_bytes(), &Context { file_stem: "s", count: None }).unwrap();
    Arc::new(Patterns::new(&parsed.spec).unwrap())
}

/// What is read of these chunks.
fn read(patterns: &Arc<Patterns>, is_file: bool, chunks: &[&[u8]]) -> Outcome {
    let (mut output, mut file) =
        (Extractor::new(Arc::clone(patterns)), FileReader::new(Arc::clone(patterns)));
    for chunk in chunks {
        if is_file { file.feed(chunk) } else { output.feed(Stream::Stdout, chunk, &|| 0) }
    }
    output.finish(file)
}

/// Whether `value` can be read somewhere in `text`, however it goes on there.
fn stands_in(text: &str, value: f64) -> bool {
    let lower = text.to_lowercase();
    if value.is_nan() {
        return ["nan", "none", "n/a", "<na>", "1.#"].iter().any(|word| lower.contains(word));
    }
    // What was given explicitly, or caught by a pattern, may be in groups or have a comma for a point.
    let ungrouped = lower.replace([',', '\'', ' ', '\u{a0}'], "");
    let [plain, ungrouped, comma] =
        [&lower, &ungrouped, &lower.replace(',', ".")].map(|text| has(text, value));
    plain || ungrouped || comma || lower.contains("1.#inf") && value.is_infinite()
}

fn has(text: &str, value: f64) -> bool {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let is_it = |from: usize, to: usize| text[from..to].parse::<f64>().is_ok_and(|found| found == value);
    places.iter().enumerate().any(|(nth, from)| places[nth..].iter().take(40).any(|to| is_it(*from, *to)))
}

/// What holds of every input.
fn holds(patterns: &Arc<Patterns>, input: &[u8]) {
    for is_file in [false, true] {
        let whole = read(patterns, is_file, &[input]);
        // As text: NaN is not even equal to itself.
        let told = format!("{whole:?}");
        let read = |chunks: &[&[u8]]| format!("{:?}", read(patterns, is_file, chunks));
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(read(&bytes), told, "byte by byte: {}", input.escape_ascii());
        for at in (1..input.len()).step_by(1 + input.len() / 50) {
            let (left, right) = input.split_at(at);
            assert_eq!(read(&[left, right]), told, "at {at}: {}", input.escape_ascii());
        }
        let text = String::from_utf8_lossy(input);
        for (name, value) in whole.metrics.iter().filter(|(name, _)| PRINTED.contains(&name.as_str())) {
            // Colours may stand within a number.
            let stands = stands_in(&text, value.0) || text.contains('\x1b');
            assert!(stands, "{name} {}: {}", value.0, input.escape_ascii());
        }
    }
}

fn corpus(kind: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind);
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn kept_output_is_read_alike_in_chunks_of_any_size_and_yields_only_numbers_that_stand_in_it() {
    let (patterns, corpus) = (patterns(), corpus("output"));
    assert!(corpus.len() >= 12, "the corpus is not there");
    for (path, input) in corpus {
        println!("{}", path.display());
        holds(&patterns, &input);
    }
}

#[test]
fn kept_sweep_files_are_read_or_refused() {
    let corpus = corpus("sweep");
    assert!(corpus.len() >= 8, "the corpus is not there");
    for (path, input) in corpus {
        println!("{}", path.display());
        let told = |result: &Result<spec::Parsed, spec::SpecErrors>| match result {
            Ok(parsed) => parsed.spec.validate().map_err(|error| error.to_string()),
            Err(errors) => Err(errors.to_string()),
        };
        let read = || spec::parse(&input, &Context { file_stem: "s", count: None });
        assert_eq!(told(&read()), told(&read()), "{}", path.display());
        assert!(read().is_err() || told(&read()).is_ok(), "what is read is whole: {}", path.display());
    }
}

#[test]
fn a_last_value_is_read_whole_or_it_is_unknown_and_other_words_are_passed_over() {
    let patterns = patterns();
    let cases = [
        ("loss: 0.8 (best 0.95)", Some(0.8)),
        ("loss=0.8±0.02", Some(0.8)),
        ("loss=0.8 +/- 0.02", Some(0.8)),
        ("loss=~0.8", None),
        ("loss: 9/10", None),
        ("loss=0,85", None),
        ("loss=1 234.5", None),
        ("loss=<tf.Tensor: shape=(), dtype=float32, numpy=0.8>", None),
        ("loss=jnp.array(0.8, dtype=float32)", Some(0.8)),
        ("loss=tensor([0.8, 0.7])", None),
        ("loss=(0.8, 0.7)", None),
        ("loss=0.8s", None),
        ("loss=Decimal(\"0.85\")", Some(0.85)),
        ("loss=0.8e", None),
        ("loss: 2024-01-02", None),
        ("loss: v1.2.3", Some(0.9)),
        ("loss = -", None),
        ("loss=nan%", Some(f64::NAN)),
        ("loss: None %", Some(f64::NAN)),
        ("loss: nanoseconds", Some(0.9)),
        ("loss=０.８５", None),
        ("loss=0.85。acc：0.7", Some(0.85)),
        ("loss=.85.", Some(0.85)),
        ("[loss] 0.5 and loss@1=0.5", Some(0.9)),
    ];
    for (last, expected) in cases {
        let found = read(&patterns, false, &[format!("loss=0.9\n{last}\n").as_bytes()]);
        let same = match (found.objective, expected) {
            (Some(found), Some(expected)) => found == expected || found.is_nan() && expected.is_nan(),
            (found, expected) => found == expected,
        };
        assert!(same, "{last}: {:?}", found.objective);
        assert!(found.objective.is_some() || !found.near_misses.is_empty(), "{last}");
    }
}

/// Parts of what programs print; their mixtures are what readers stumble over.
const PARTS: [&str; 48] = [
    "loss",
    "acc",
    "min",
    "mean",
    "损失",
    "F1 ",
    "val_",
    "=",
    ":",
    "：",
    " ",
    "\t",
    "\u{a0}",
    "\n",
    "\r",
    ",",
    "'",
    "\"",
    "0.5",
    "1",
    "-3",
    "1e5",
    "1e999",
    ".",
    "1,234",
    "nan",
    "inf",
    "None",
    "null",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "tensor(",
    "np.float64(",
    "::metric ",
    "step=3 ",
    "%",
    "×10",
    "\u{1b}[1m",
    "\u{1b}]0;x\u{7}",
    "|",
    "│",
    "saved",
    "/",
    "12:30",
];

fn printed() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        20 => prop::sample::select(&PARTS[..]).prop_map(|part| part.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

/// Parts of sweep files.
const WORDS: [&str; 40] = [
    "name: s\n",
    "command: [t]\n",
    "parameters:\n",
    "parameters: {x: {values: [1, 2]}}\n",
    "  x: ",
    "  y: {min: 1, max: 9}\n",
    "{values: [1, a, 1.5, null]}\n",
    "{min: 0, max: 1, steps: 3}\n",
    "{min: 1, max: 0}\n",
    "metric: {name: loss, goal: minimize}\n",
    "metric: {name: loss, regex: '(', report: mean}\n",
    "metrics: [a, {name: b, report: max}]\n",
    "zip: [[x, y]]\n",
    "exclude: ['x > 1']\n",
    "repeats: 3\n",
    "repeats: x\n",
    "method: grid\n",
    "method: random\n",
    "run_cap: 2\n",
    "&a ",
    "*a",
    "<<: *a\n",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "\n",
    "  ",
    "'",
    "\"",
    "#",
    "!!float ",
    "---\n",
    "\u{feff}",
    "\t",
    "1e309",
    "\u{0}",
    "~",
];

fn written() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&WORDS[..]), 0..20).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn made_up_output_is_read_alike_in_chunks_of_any_size(input in printed()) {
        holds(&patterns(), &input);
    }

    #[test]
    fn made_up_sweep_files_are_read_or_refused(text in written()) {
        if let Ok(parsed) = spec::parse(text.as_bytes(), &Context { file_stem: "s", count: None }) {
            prop_assert!(parsed.spec.validate().is_ok(), "{text}");
        }
    }
}
