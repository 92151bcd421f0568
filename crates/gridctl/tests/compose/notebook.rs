//! The profile `notebook`: Jupyter beside the results, with a first notebook that runs from its first cell to its last.

use serde_json::Value as Json;

use super::digits::patiently;
use super::lab::skipped;
use super::project::{Project, lacking};

/// Pictures among the outputs, and errors.
fn outputs(notebook: &Json) -> (usize, Vec<String>) {
    let cells = notebook["cells"].as_array().unwrap();
    let all = cells.iter().flat_map(|cell| cell["outputs"].as_array().cloned().unwrap_or_default());
    let (mut pictures, mut errors) = (0, Vec::new());
    for output in all {
        pictures += usize::from(output["data"]["image/png"].is_string());
        if output["output_type"] == "error" {
            errors.push(output["evalue"].to_string());
        }
    }
    (pictures, errors)
}

#[test]
fn the_first_notebook_runs_beside_the_results_of_a_sweep() {
    if let Some(why) = lacking("python:3.13-slim-trixie") {
        return skipped(&format!("the notebook beside the results runs: {why}"));
    }
    let project = Project::new("notebook", "/sweeps/wine-forest.yaml");
    let lab = &project.lab;
    let ran = lab.run(&["run", "sweeps/wine-forest.yaml", "--data-dir", "own-data", "-q"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // The results of this sweep are what the service sees.
    let results = lab.path().join("own-data/results");
    lab.write(
        "deploy/results.yaml",
        format!("services:\n  notebook:\n    volumes:\n      - {}:/results:ro\n", results.display()),
    );
    let compose = |args: &[&str]| {
        let mut command = project.with_project("docker");
        command.args([
            "compose",
            "-f",
            "deploy/compose.yaml",
            "-f",
            "deploy/results.yaml",
            "--profile",
            "notebook",
        ]);
        command.args(args);
        command
    };
    patiently(&mut compose(&["build", "--quiet", "notebook"]));
    let run = "jupyter nbconvert --to notebook --execute --stdout first-look.ipynb 2>/tmp/said || { cat /tmp/said >&2; exit 1; }";
    let executed = patiently(&mut compose(&["run", "--rm", "-T", "notebook", "sh", "-c", run]));
    let notebook: Json = serde_json::from_str(&executed).unwrap();
    let (pictures, errors) = outputs(&notebook);
    assert!(errors.is_empty() && pictures >= 3, "{pictures} pictures, {errors:?}");
    assert!(executed.contains("wine-forest") && executed.contains("param_n_trees"), "{executed}");
    // The results are not to be written, and nobody is root.
    let harm = "id -u; touch /results/mine 2>&1 && echo written; touch kept && echo kept";
    let said = patiently(&mut compose(&["run", "--rm", "-T", "notebook", "sh", "-c", harm]));
    assert!(said.starts_with("10001\n") && !said.contains("written") && said.ends_with("kept\n"), "{said}");
    // As it is started: it listens, and lets nobody in who has no token.
    patiently(&mut compose(&["up", "-d", "--no-deps", "notebook"]));
    let ask = "import urllib.request as r, urllib.error as e, time\nfor _ in range(600):\n  try:\n    \
               print(r.urlopen('http://localhost:8888/api/contents').status); break\n  \
               except e.HTTPError as error: print(error.code); break\n  except OSError: time.sleep(0.1)";
    let code = patiently(&mut compose(&["exec", "-T", "notebook", "python", "-c", ask]));
    assert_eq!(code.trim(), "403");
    patiently(&mut compose(&["down", "-v"]));
}
