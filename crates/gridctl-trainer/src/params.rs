//! Reads parameters as any trainer would: from `GRID_PARAMS`, or else from the `HP_<NAME>`
//! variables.
//!
//! Invariant: a parameter that is given is either used or refused, never ignored.

use std::{collections::BTreeMap, ffi::OsString, fmt};

use serde_json::Value;

use crate::error::TrainError;

/// A parameter's description; the types below are its kinds.
pub(crate) trait KnownParam: Sync {
    fn name(&self) -> &'static str;
    fn about(&self) -> &'static str;
    /// What it takes, as in "a whole number from 1 to 9".
    fn takes(&self) -> String;
    fn default(&self) -> String;
}

/// Declares one kind of parameter; the closures say what it takes and how its default is written.
macro_rules! kind {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* }, $takes:expr, $default:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name {
            pub(crate) name: &'static str,
            pub(crate) about: &'static str,
            $(pub(crate) $field: $type,)*
        }

        impl KnownParam for $name {
            fn name(&self) -> &'static str {
                self.name
            }

            fn about(&self) -> &'static str {
                self.about
            }

            fn takes(&self) -> String {
                let takes: fn(&Self) -> String = $takes;
                takes(self)
            }

            fn default(&self) -> String {
                let default: fn(&Self) -> String = $default;
                default(self)
            }
        }
    };
}

kind!(
    /// A whole number.
    Int { min: u32, max: u32, default: u32 },
    |p| format!("a whole number from {} to {}", p.min, p.max),
    |p| p.default.to_string()
);
kind!(
    /// A number.
    Float { min: f64, max: f64, default: f64 },
    |p| format!("a number from {} to {}", p.min, p.max),
    |p| p.default.to_string()
);
kind!(
    /// Yes or no.
    Flag { default: bool },
    |_| "true or false".to_owned(),
    |p| p.default.to_string()
);
kind!(
    /// One of a few words; the first is the default.
    Choice { options: &'static [&'static str] },
    |p| p.options.join(" or "),
    |p| p.options.first().copied().unwrap_or_default().to_owned()
);

kind!(
    /// A text; an empty one is none.
    Text { usual: &'static str },
    |_| "a text".to_owned(),
    |p| p.usual.to_owned()
);

/// The environment, as far as a trainer reads it.
#[derive(Debug, Default)]
pub(crate) struct Env {
    /// Where the sweep's data are.
    pub(crate) data_dir: Option<OsString>,
    /// Where the model is to be kept.
    pub(crate) output_dir: Option<OsString>,
    params: Option<String>,
    named: BTreeMap<String, Value>,
    seed: Option<String>,
}

impl Env {
    /// Picks what a trainer reads out of the process's variables.
    ///
    /// # Errors
    /// [`TrainError::NotText`] for a variable that counts and is not UTF-8.
    pub(crate) fn read(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, TrainError> {
        let mut env = Self::default();
        for (name, value) in vars {
            match name.to_str() {
                Some("GRID_DATA_DIR") => env.data_dir = Some(value).filter(|value| !value.is_empty()),
                Some("GRID_OUTPUT_DIR") => env.output_dir = Some(value).filter(|value| !value.is_empty()),
                _ => env.read_text(name, value)?,
            }
        }
        Ok(env)
    }

    fn read_text(&mut self, name: OsString, value: OsString) -> Result<(), TrainError> {
        let counts =
            name == "GRID_PARAMS" || name == "GRID_SEED" || name.as_encoded_bytes().starts_with(b"HP_");
        if !counts {
            return Ok(());
        }
        let not_text = || TrainError::NotText { name: name.to_string_lossy().into_owned() };
        let value = value.into_string().map_err(|_| not_text())?;
        match name.to_str().ok_or_else(not_text)? {
            "GRID_PARAMS" => self.params = Some(value),
            "GRID_SEED" => self.seed = Some(value),
            name => {
                let name = name.strip_prefix("HP_").unwrap_or(name).to_ascii_lowercase();
                self.named.insert(name, Value::String(value));
            }
        }
        Ok(())
    }

    /// The seed; 0 if there is none.
    ///
    /// # Errors
    /// [`TrainError::BadSeed`] if it is not a whole number of 64 bits.
    pub(crate) fn seed(&self) -> Result<u64, TrainError> {
        self.seed.as_ref().map_or(Ok(0), |text| {
            text.parse().map_err(|_| TrainError::BadSeed { value: format!("{text:?}") })
        })
    }

    /// The parameters given to `model`, each of which is one of `known`.
    ///
    /// # Errors
    /// [`TrainError::BadParams`] if `GRID_PARAMS` holds no object, [`TrainError::UnknownParam`] for
    /// a name that is not known.
    pub(crate) fn params(
        self,
        model: &'static str,
        known: &[&'static dyn KnownParam],
    ) -> Result<TrainerParams, TrainError> {
        let typed = self.params.is_some();
        let given = match self.params {
            None => self.named,
            Some(text) => match serde_json::from_str(&text) {
                Ok(Value::Object(map)) => map.into_iter().collect(),
                Ok(other) => {
                    return Err(TrainError::BadParams { reason: format!("it is {}", shown(&other)) });
                }
                Err(error) => return Err(TrainError::BadParams { reason: error.to_string() }),
            },
        };
        if let Some(name) = given.keys().find(|name| !known.iter().any(|param| param.name() == *name)) {
            return Err(unknown(model, name, known));
        }
        Ok(TrainerParams { given, typed })
    }
}

fn unknown(model: &'static str, name: &str, known: &[&'static dyn KnownParam]) -> TrainError {
    let names: Vec<&'static str> = known.iter().map(|param| param.name()).collect();
    let near = |candidate: &str| strsim::damerau_levenshtein(candidate, &name.to_ascii_lowercase());
    let nearest =
        if name.len() > 64 { None } else { names.iter().copied().min_by_key(|candidate| near(candidate)) };
    TrainError::UnknownParam {
        model,
        name: name.chars().take(64).collect(),
        nearest: nearest.filter(|candidate| near(candidate) <= candidate.len().div_ceil(3)),
        known: names.join(", "),
    }
}

/// The parameters of one trial. A parameter that is absent or null has its default.
#[derive(Debug)]
pub(crate) struct TrainerParams {
    given: BTreeMap<String, Value>,
    /// Whether values have their JSON types; if not, they are texts.
    typed: bool,
}

impl TrainerParams {
    pub(crate) fn int(&self, param: &Int) -> Result<usize, TrainError> {
        let number = self.number(param, param.default.into(), (param.min.into(), param.max.into()))?;
        if number.fract() != 0.0 {
            return Err(self.bad(param));
        }
        Ok(whole(number))
    }

    pub(crate) fn float(&self, param: &Float) -> Result<f64, TrainError> {
        self.number(param, param.default, (param.min, param.max))
    }

    pub(crate) fn flag(&self, param: &Flag) -> Result<bool, TrainError> {
        match self.value(param) {
            None => Ok(param.default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if !self.typed => text.parse().map_err(|_| self.bad(param)),
            Some(_) => Err(self.bad(param)),
        }
    }

    pub(crate) fn text(&self, param: &Text) -> Result<Option<String>, TrainError> {
        match self.value(param) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.bad(param)),
        }
    }

    /// The index in `param.options`.
    pub(crate) fn choice(&self, param: &Choice) -> Result<usize, TrainError> {
        match self.value(param) {
            None => Ok(0),
            Some(Value::String(text)) => {
                param.options.iter().position(|option| option == text).ok_or_else(|| self.bad(param))
            }
            Some(_) => Err(self.bad(param)),
        }
    }

    fn number(
        &self,
        param: &dyn KnownParam,
        default: f64,
        (min, max): (f64, f64),
    ) -> Result<f64, TrainError> {
        let number = match self.value(param) {
            None => Some(default),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) if !self.typed => text.parse().ok(),
            Some(_) => None,
        };
        number.filter(|number| (min..=max).contains(number)).ok_or_else(|| self.bad(param))
    }

    fn value(&self, param: &dyn KnownParam) -> Option<&Value> {
        self.given.get(param.name()).filter(|value| !value.is_null())
    }

    fn bad(&self, param: &dyn KnownParam) -> TrainError {
        TrainError::BadValue {
            name: param.name(),
            value: self.value(param).map_or_else(String::new, shown),
            takes: param.takes(),
            default: param.default(),
        }
    }
}

/// The whole part of `number`, which is not negative.
#[expect(
    clippy::cast_possible_truncation,
    reason = "to drop the fraction is the purpose; the rest saturates"
)]
pub(crate) fn whole(number: f64) -> usize {
    number as usize
}

/// A value as an error shows it: short, and with nothing that a terminal would obey.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string().escape_debug().to_string().replace("\\\"", "\""),
    };
    if text.chars().count() > 60 { text.chars().take(60).chain("...".chars()).collect() } else { text }
}

/// A table of parameters for `--help`.
pub(crate) struct ParamTable<'a>(pub(crate) &'a [&'static dyn KnownParam]);

impl fmt::Display for ParamTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|param| {
            let (name, about, takes) = (param.name(), param.about(), param.takes());
            writeln!(f, "  {name} ({})\n      {about}: {takes}", param.default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREES: Int = Int { name: "n_trees", about: "trees", min: 1, max: 2000, default: 50 };
    const ALPHA: Float = Float { name: "alpha", about: "penalty", min: 0.0, max: 10.0, default: 1.0 };
    const SCALE: Flag = Flag { name: "scale", about: "scaling", default: true };
    const RULE: Choice = Choice { name: "rule", about: "rule", options: &["gini", "entropy"] };
    const ALL: &[&dyn KnownParam] = &[&TREES, &ALPHA, &SCALE, &RULE];

    fn params(vars: &[(&str, &str)]) -> Result<TrainerParams, TrainError> {
        Env::read(vars.iter().map(|(name, value)| (name.into(), value.into())))?.params("forest", ALL)
    }

    fn all(vars: &[(&str, &str)]) -> Result<(usize, f64, bool, usize), TrainError> {
        let params = params(vars)?;
        Ok((params.int(&TREES)?, params.float(&ALPHA)?, params.flag(&SCALE)?, params.choice(&RULE)?))
    }

    #[test]
    fn reads_typed_values_then_named_ones_then_defaults() {
        let cases = [
            ("nothing given", &[("PATH", "/bin")][..], (50, 1.0, true, 0)),
            (
                "GRID_PARAMS wins",
                &[("GRID_PARAMS", r#"{"n_trees": 7}"#), ("HP_N_TREES", "9")],
                (7, 1.0, true, 0),
            ),
            (
                "all kinds",
                &[("GRID_PARAMS", r#"{"n_trees":8,"alpha":1e-3,"scale":false,"rule":"entropy"}"#)],
                (8, 1e-3, false, 1),
            ),
            ("null is absent", &[("GRID_PARAMS", r#"{"n_trees": null, "alpha": 2}"#)], (50, 2.0, true, 0)),
            ("a whole float is an int", &[("GRID_PARAMS", r#"{"n_trees": 7.0}"#)], (7, 1.0, true, 0)),
            (
                "HP_ alone",
                &[("HP_N_TREES", "9"), ("HP_ALPHA", "0.5"), ("HP_SCALE", "false"), ("HP_RULE", "gini")],
                (9, 0.5, false, 0),
            ),
        ];
        for (name, vars, expected) in cases {
            assert_eq!(all(vars).expect(name), expected, "{name}");
        }
    }

    #[test]
    fn bad_values_name_parameter_value_and_range() {
        let takes = "it takes a whole number from 1 to 2000";
        let cases = [
            (r#"{"n_trees": 0}"#, format!("parameter n_trees is 0: {takes}")),
            (r#"{"n_trees": -3}"#, format!("parameter n_trees is -3: {takes}")),
            (r#"{"n_trees": 2.5}"#, format!("parameter n_trees is 2.5: {takes}")),
            (r#"{"n_trees": "7"}"#, format!("parameter n_trees is \"7\": {takes}")),
            (r#"{"n_trees": 1e300}"#, format!("parameter n_trees is 1e+300: {takes}")),
            (r#"{"n_trees": [7]}"#, format!("parameter n_trees is [7]: {takes}")),
            (r#"{"alpha": 11}"#, "parameter alpha is 11: it takes a number from 0 to 10".to_owned()),
            (r#"{"scale": 1}"#, "parameter scale is 1: it takes true or false".to_owned()),
            (r#"{"rule": "mse"}"#, "parameter rule is \"mse\": it takes gini or entropy".to_owned()),
            (
                "{\"rule\": \"\\u001b[2J\\u202e\"}",
                "parameter rule is \"\\u{1b}[2J\\u{202e}\": it takes gini or entropy".to_owned(),
            ),
            ("[1]", "GRID_PARAMS is not one JSON object: it is [1]".to_owned()),
        ];
        for (json, expected) in cases {
            let error = all(&[("GRID_PARAMS", json)]).expect_err(json);
            assert_eq!(error.to_string(), expected, "{json}");
            assert!(error.help().is_some(), "{json}");
            assert_eq!(error.exit_code(), 64, "{json}");
        }
        for text in ["NaN", "inf", "", " 7", "1e9", "7,"] {
            assert!(all(&[("HP_N_TREES", text)]).is_err(), "{text:?}");
        }
        assert!(matches!(all(&[("GRID_PARAMS", "{")]), Err(TrainError::BadParams { .. })));
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_nearest_one() {
        let cases =
            [("n_tress", Some("n_trees")), ("Alpha", Some("alpha")), ("learning_rate", None), ("", None)];
        for (given, expected) in cases {
            let error = params(&[("GRID_PARAMS", &format!("{{{given:?}: 1}}"))]).expect_err(given);
            let TrainError::UnknownParam { nearest, known, .. } = &error else { panic!("{error}") };
            assert_eq!((*nearest, known.as_str()), (expected, "n_trees, alpha, scale, rule"), "{given}");
        }
        let error = params(&[("HP_N_TREE", "1")]).expect_err("not a parameter");
        assert_eq!(error.to_string(), r#"forest has no parameter "n_tree""#);
        assert_eq!(error.help().as_deref(), Some("did you mean n_trees? Known: n_trees, alpha, scale, rule"));
    }

    #[test]
    fn the_seed_is_64_bits_and_zero_by_default() {
        let seed = |value: &str| Env::read([("GRID_SEED".into(), value.into())]).and_then(|env| env.seed());
        assert_eq!(Env::default().seed().expect("there is a default"), 0);
        assert_eq!(seed("18446744073709551615").expect("it fits"), u64::MAX);
        for bad in ["-1", "18446744073709551616", "1e3", ""] {
            assert!(matches!(seed(bad), Err(TrainError::BadSeed { .. })), "{bad:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_utf_8_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let bad = || OsString::from_vec(vec![b'a', 0xff]);
        assert!(matches!(Env::read([("HP_ALPHA".into(), bad())]), Err(TrainError::NotText { .. })));
        assert!(Env::read([("LANG".into(), bad())]).is_ok());
    }
}
