//! Documents that programs read: `gridctl schema api` says what is in them; results whose directory was renamed are read all the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use lab::Lab;
use serde_json::{Value as Json, json};

/// What of `value` is not as `schema` says; `at` is where it stands. As much of JSON Schema as is used.
fn check(all: &Json, schema: &Json, value: &Json, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/$defs/").unwrap();
        return check(all, all["$defs"].get(name).ok_or(format!("no {name}"))?, value, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = any.iter().any(|schema| check(all, schema, value, at).is_ok());
        return fits.then_some(()).ok_or(format!("{at}: {value}"));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.contains(value).then_some(()).ok_or(format!("{at}: {value} is none of {words:?}"));
    }
    if let Some(word) = schema.get("const") {
        return (word == value).then_some(()).ok_or(format!("{at}: {value}"));
    }
    let is_kind = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    if !is_kind {
        return Err(format!("{at}: {value} is no {}", schema["type"]));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        value.get(name).ok_or(format!("{at} has no {name}"))?;
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => check(all, schema, inner, &at)?,
            (None, Json::Bool(false)) => return Err(format!("{at} is not told of")),
            (None, more) => check(all, more, inner, &at)?,
        }
    }
    for (place, inner) in value.as_array().into_iter().flatten().enumerate() {
        let schema = schema["prefixItems"].get(place).unwrap_or(&schema["items"]);
        check(all, schema, inner, &format!("{at}[{place}]"))?;
    }
    Ok(())
}

/// Every name that is referred to.
fn references(value: &Json, found: &mut Vec<String>) {
    match value {
        Json::Object(map) => {
            found.extend(map.get("$ref").and_then(Json::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Json::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn documents_are_as_the_schema_says() {
    let lab = Lab::new();
    let schema: Json = serde_json::from_str(&lab.run(&["schema", "api"]).stdout).unwrap();
    lab.script(
        "train.sh",
        "#!/bin/sh\necho \"::metric step=1 loss=2\"\n[ $HP_X = 2 ] && exit 3\n[ $HP_X = 3 ] && echo loss=nan && exit 0\necho 1 >$GRID_OUTPUT_DIR/f\necho loss=$HP_X\n",
    );
    lab.write(
        "m.yaml",
        "command: [./train.sh]\nmetric: {name: loss, goal: minimize}\nretry: {max_failures: 0}\nparameters: {x: {values: [1, 2, 3]}}\n",
    );
    assert_eq!(lab.run(&["run", "m.yaml", "-q"]).code, Some(10));
    let documents = [
        ("sweep_status", vec!["status", "m", "-o", "json"]),
        ("leaderboard", vec!["leaderboard", "m", "-o", "json"]),
        ("trial_line", vec!["trials", "ls", "m", "-o", "jsonl"]),
        ("trial_details", vec!["trials", "show", "best", "m", "--json"]),
        ("record", vec!["events", "m", "-o", "jsonl"]),
    ];
    for (name, args) in documents {
        let said = lab.run(&args);
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.stderr);
        let documents = serde_json::Deserializer::from_str(&said.stdout).into_iter::<Json>();
        let documents: Vec<Json> = documents.map(|document| document.unwrap()).collect();
        assert!(!documents.is_empty(), "{args:?}");
        // A leaderboard's rows are printed by themselves.
        let (name, documents) = match (name, &documents[0]) {
            ("leaderboard", Json::Array(rows)) => ("row", rows.clone()),
            _ => (name, documents),
        };
        for document in &documents {
            let whole = check(&schema, &json!({"$ref": format!("#/$defs/{name}")}), document, name);
            whole.unwrap_or_else(|why| panic!("{args:?}: {why}"));
        }
    }
    let mut found = Vec::new();
    references(&schema, &mut found);
    for name in found {
        let name = name.strip_prefix("#/$defs/").unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{name} is referred to and not there");
    }
    // The check itself sees what is wrong.
    let strange = json!({"touched": 1, "more": 2});
    assert!(check(&schema, &json!({"$ref": "#/$defs/touched"}), &strange, "").is_err());
    assert!(check(&schema, &json!({"$ref": "#/$defs/touched"}), &json!({"touched": "1"}), "").is_err());
    // Without a word it is of sweep files.
    assert!(lab.run(&["schema"]).stdout.contains("parameters"));
    assert_eq!(lab.run(&["schema", "sql"]).code, Some(2));
}

#[test]
fn results_whose_directory_was_renamed_are_read_under_the_new_name() {
    let lab = Lab::new();
    lab.write(
        "m.yaml",
        "command: [sh, -c, 'echo kept-$HP_X >$GRID_OUTPUT_DIR/f; echo loss=$HP_X']\n\
         metric: {name: loss, goal: minimize}\nparameters: {x: {values: [1, 2]}}\n",
    );
    assert_eq!(lab.run(&["run", "m.yaml", "-q"]).code, Some(0));
    // A second version, which takes over what is known.
    let more = std::fs::read_to_string(lab.path().join("m.yaml")).unwrap().replace("[1, 2]", "[1, 2, 3]");
    lab.write("m.yaml", more);
    assert_eq!(lab.run(&["run", "m.yaml", "-q"]).code, Some(0));
    std::fs::rename(lab.path().join("gridctl-data/results/m"), lab.path().join("of-last-week")).unwrap();
    std::fs::remove_dir_all(lab.path().join("gridctl-data")).unwrap();
    let place = "./of-last-week";
    for args in
        [&["leaderboard", place][..], &["status", place], &["export", place], &["trials", "ls", place]]
    {
        let done = lab.run(args);
        assert!(done.code == Some(0) && !done.stdout.is_empty(), "{args:?}: {}", done.stderr);
    }
    let best = lab.run(&["trials", "show", "best", place]);
    assert!(best.stdout.contains(" of of-last-week: succeeded"), "{}{}", best.stdout, best.stderr);
    let log = lab.run(&["logs", "best", place]);
    assert_eq!(log.stdout, "loss=1\n", "{}", log.stderr);
    let fetched = lab.run(&["fetch", "best", "files", "--sweep", place]);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    assert_eq!(std::fs::read_to_string(lab.path().join("files/f")).unwrap(), "kept-1\n");
    std::fs::rename(lab.path().join("of-last-week"), lab.path().join("Last_Week")).unwrap();
    let unfit = lab.run(&["status", "./Last_Week"]);
    assert!(unfit.code == Some(2) && unfit.stderr.contains("rename or link"), "{}", unfit.stderr);
    std::fs::rename(lab.path().join("Last_Week"), lab.path().join("of-last-week")).unwrap();
    let rebuilt = lab.run(&["rebuild", "--from", place, "--data-dir", "new"]);
    assert_ne!(rebuilt.code, Some(0), "what is journalled has its own name: {}", rebuilt.stderr);
}
