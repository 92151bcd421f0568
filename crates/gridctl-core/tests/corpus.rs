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
        let words = ["na", "none", "n/a", "1.#", "nil", "nothing", "missing", "undefined"];
        return words.iter().any(|word| lower.contains(word));
    }
    // What was given explicitly, or caught by a pattern, may be in groups or have a comma for a point.
    let ungrouped = lower.replace([',', '\'', ' ', '\u{a0}'], "");
    let [plain, ungrouped, comma] =
        [&lower, &ungrouped, &lower.replace(',', ".")].map(|text| has(text, value));
    plain
        || ungrouped
        || comma
        || value.is_infinite()
            && (["1.#inf", ".inf"].iter().any(|word| lower.contains(word)) || lower.contains('∞'))
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
    assert!(corpus.len() >= 16, "the corpus is not there");
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
            Ok(parsed) if parsed.unstartable.is_some() => Ok(()),
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

/// What is printed after `loss=0.9`, and what the loss is then.
const PROGRAMS: &[(&str, Option<f64>)] = &[
    // Keras, old and new.
    ("313/313 - 1s - acc: 0.88 - loss: 0.35 - 890ms/epoch - 3ms/step", Some(0.35)),
    ("1875/1875 \u{2501}\u{2501} 5s 2ms/step - acc: 0.8 - loss: 0.5 - val_loss: 0.7", Some(0.5)),
    (" 1/10 - loss: 0.7\u{8}\u{8}\u{8}\r 2/10 - loss: 0.6", Some(0.6)),
    // A terminal shows the later of these two.
    ("loss=0.51\u{8}\u{8}\u{8}\u{8}0.48", None),
    ("loss=0.51\u{1b}[1Gloss=0.48", Some(0.48)),
    ("loss=0.5\u{1b}[4C3 of 7 done", Some(0.5)),
    ("\r\u{1b}[2K\u{1b}[32mloss\u{1b}[0m=\u{1b}[1m0.25\u{1b}[0m", Some(0.25)),
    // Hugging Face, LightGBM, XGBoost, CatBoost.
    ("{'loss': '0.3', 'grad_norm': '1.5', 'epoch': '1.0'}", Some(0.3)),
    ("  train_loss = 0.1\n  loss                 =     0.3", Some(0.3)),
    // A name that stands alone goes before one of a data set's.
    ("[10]\tvalid_0's auc: 0.9\tvalid_0's loss: 0.31", Some(0.9)),
    ("[9]\ttrain-loss:0.1\tvalid-loss:0.2", Some(0.9)),
    ("[9]\tloss:0.5+0.1", None),
    ("0:\tlearn: 0.6\tloss: 0.65\tbest: 0.65 (0)\ttotal: 5ms", Some(0.65)),
    ("100%|##| 9/9 [00:01<00:00, 9.8it/s, loss=0.4, v_num=3]", Some(0.4)),
    ("loss: 0.53:  10%|#         | 1/10", Some(0.53)),
    ("| a | b |\n| loss function | 3 |\n| val_loss | 0.25 |", Some(0.9)),
    // Log lines.
    ("2024-01-02 03:04:05,123 - root - INFO - loss: 0.5", Some(0.5)),
    ("INFO:root:loss:0.5", Some(0.5)),
    ("[1] \"loss: 0.5\"", Some(0.5)),
    ("\u{250c} Info: epoch\n\u{2514}   loss = 0.25", Some(0.25)),
    ("map[acc:0.9 loss:5e-01]", Some(0.5)),
    ("time=2024-01-02T03:04:05Z level=INFO msg=done loss=0.5", Some(0.5)),
    ("Namespace(batch=3, train_loss=7, lr=0.1)", Some(0.9)),
    // Numbers of other languages.
    ("loss = 1.0D-03", None),
    ("loss = 0.5f0", None),
    ("loss = 0x1.8p-1", None),
    ("loss = 1_000.5", None),
    ("loss = 10\u{207b}\u{b3}", None),
    ("loss = 1\u{66c}234", None),
    ("loss = 1\u{2006}234", None),
    ("loss = 1\u{2044}2", None),
    ("loss = 0.\u{200b}5", None),
    ("loss: 0.31\u{b1}0.02", Some(0.31)),
    ("loss: 0.31(2)", Some(0.31)),
    ("loss: 0.31 [0.29, 0.33]", Some(0.31)),
    ("loss: 0.31 +/- 0.02", Some(0.31)),
    // Words for no number.
    ("loss: NA", Some(f64::NAN)),
    ("loss=NA, acc=0.5", Some(f64::NAN)),
    ("loss: NA values were dropped", Some(0.9)),
    ("loss: native code", Some(0.9)),
    ("loss: missing", Some(f64::NAN)),
    ("loss: missing in 3 files", Some(0.9)),
    ("loss: nil", Some(f64::NAN)),
    ("loss: <nil>", Some(f64::NAN)),
    ("loss: undefined", Some(f64::NAN)),
    ("loss: .nan", Some(f64::NAN)),
    ("loss: .inf", Some(f64::INFINITY)),
    ("loss: -.inf", Some(f64::NEG_INFINITY)),
    ("loss: \u{221e}", Some(f64::INFINITY)),
    ("loss: -nan(ind)", Some(f64::NAN)),
    ("loss: +Inf", Some(f64::INFINITY)),
    // What Fortran prints where a number has no room, and other marks for none.
    ("loss = ********", None),
    ("loss: \u{2014}", None),
    ("loss: !!python/object/apply:numpy.scalar", None),
    // Fractions, sums and ways from one number to another.
    ("loss: 9332 of 13036", None),
    ("loss: 9 out of 10", None),
    ("loss: 0.5 of the first part", Some(0.5)),
    ("loss = 0.3 + 0.2 = 0.5", None),
    ("loss = 1 - 0.3 = 0.7", None),
    ("loss: 0.5 + 0.1im", None),
    ("loss: 0.5 - 12s", Some(0.5)),
    ("loss: 0.5 -> 0.3", None),
    ("loss: 0.5 --> 0.3", None),
    ("loss: 0.5->0.3", None),
    ("loss: 0.5 \u{2192} 0.3", None),
    ("loss: 0.5 => 0.3", None),
    ("loss: 0.5 to 0.3", None),
    ("loss: 0.5 --> saving the model", Some(0.5)),
    ("loss: 0.5..0.6", None),
    ("loss: 0.5...", Some(0.5)),
    // Several values: which of them is not said.
    ("loss: 0.5, 0.6, 0.7", None),
    ("loss: 0.5 0.6 0.7", None),
    ("loss: 0    0.5\nName: x, dtype: float64", None),
    ("loss=0.5;0.6", None),
    ("loss: 0.5, 3 epochs", Some(0.5)),
    ("loss: 0.5 12:03:11", Some(0.5)),
    ("loss: 0.5; acc: 0.3", Some(0.5)),
    // Times in two parts.
    ("loss: 3 min 12 s", None),
    ("loss: 2 minutes and 30 seconds", None),
    ("loss: 3 min 12 samples", Some(3.0)),
    ("loss: 1h 5m", None),
    // Other signs between name and value.
    ("Dict(\"acc\" => 0.1, \"loss\" => 0.5)", Some(0.5)),
    ("{\"loss\"=>0.5}", Some(0.5)),
    ("loss := 0.5", Some(0.5)),
    ("loss >= 0.5", Some(0.9)),
    ("loss => saved", Some(0.9)),
];

#[test]
fn what_many_programs_print_is_read_right_or_is_unknown() {
    let patterns = patterns();
    let mut wrong = Vec::new();
    for (last, expected) in PROGRAMS {
        let input = format!("loss=0.9\n{last}\n");
        let found = read(&patterns, false, &[input.as_bytes()]);
        if format!("{:?}", found.objective) != format!("{expected:?}") {
            wrong.push(format!("{last:?}: {:?}, not {expected:?}", found.objective));
        }
        if found.objective.is_none() && found.near_misses.is_empty() {
            wrong.push(format!("{last:?}: nothing is said"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Parts of what programs print; their mixtures are what readers stumble over.
const PARTS: [&str; 53] = [
    "loss",
    "Loss",
    " on test ",
    " from ",
    " to ",
    "best ",
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
            // one that `check` reads and nothing can start says so itself
            prop_assert!(parsed.spec.validate().is_ok() || parsed.unstartable.is_some(), "{text}");
        }
    }
}
