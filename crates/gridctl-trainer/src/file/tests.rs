//! Files that are no models, or would lead a prediction astray.

use super::*;

const GOOD: &str = r#"{"format": "gridctl-model", "version": 1, "model": "tree", "data": "d", "rows": 3, "target": "t",
"columns": ["a", "b"], "predicts": {"classes": {"labels": ["x", "y"], "scaling": null, "rule": {"trees": [
{"classes": [0, 1], "weight": 1.0, "trees": [[[0, 0.5, 1, 2], false, true]]}]}}}}"#;

fn read(text: &str) -> Result<KeptModel, ModelError> {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join(MODEL_FILE), text).expect("it can be written");
    KeptModel::read(dir.path())
}

#[test]
fn a_file_written_by_hand_predicts() {
    let model = read(GOOD).expect("it is whole");
    assert_eq!(model.predict(&json!([[0, 9], [1, 9]])), Ok(json!(["x", "y"])));
    assert_eq!(model.predict(&json!({"b": 0, "a": 0.7})), Ok(json!("y")));
    assert_eq!(model.predict(&json!({"a": 0.7})), Err(RequestError::Missing("b".to_owned())));
    assert_eq!(model.predict(&json!([1, "2"])), Err(RequestError::NotANumber("b".to_owned())));
    assert_eq!(model.predict(&json!("text")), Err(RequestError::NoRow { got: "a text", columns: 2 }));
    assert_eq!(model.predict(&json!(vec![[1, 2]; 100_001])), Err(RequestError::TooMany(100_001)));
}

#[test]
fn a_file_that_would_lead_astray_is_refused() {
    let cases = [
        ("no JSON", "gridctl-model".to_owned(), "no model"),
        ("another format", GOOD.replace("gridctl-model", "pickle"), "its format is not"),
        ("a later form", GOOD.replace("\"version\": 1", "\"version\": 2"), "has the form 2"),
        ("no form", GOOD.replace("\"version\": 1", "\"version\": \"1\""), "it has no version"),
        ("a rule of another kind", GOOD.replace("\"trees\": [\n", "\"branches\": [\n"), "no model"),
        ("a loop", GOOD.replace("[0, 0.5, 1, 2]", "[0, 0.5, 0, 2]"), "damaged"),
        ("a branch to nowhere", GOOD.replace("[0, 0.5, 1, 2]", "[0, 0.5, 1, 3]"), "damaged"),
        ("a column that is not there", GOOD.replace("[0, 0.5, 1, 2]", "[2, 0.5, 1, 2]"), "damaged"),
        ("a class that is not there", GOOD.replace("[\"x\", \"y\"]", "[\"x\"]"), "damaged"),
        ("no trees", GOOD.replace("[[0, 0.5, 1, 2], false, true]", ""), "damaged"),
        ("an empty tree", GOOD.replace("[0, 0.5, 1, 2], false, true", ""), "damaged"),
        ("no columns", GOOD.replace("[\"a\", \"b\"]", "[]"), "damaged"),
        ("a scaling by nothing", GOOD.replace("null", r#"{"mean": [0, 0], "scale": [1, 0]}"#), "damaged"),
        ("a scaling of others", GOOD.replace("null", r#"{"mean": [0], "scale": [1]}"#), "damaged"),
        ("cut off", GOOD[..GOOD.len() - 5].to_owned(), "no model"),
        ("deep", "[".repeat(100_000), "no model"),
    ];
    for (name, text, expected) in cases {
        let error = read(&text).expect_err(name);
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert!(error.help().is_some(), "{name}");
    }
    assert!(matches!(KeptModel::read(Path::new("/dev/zero")), Err(ModelError::Read { .. })));
    assert!(matches!(KeptModel::read(Path::new("/nonexistent")), Err(ModelError::Read { .. })));
}
