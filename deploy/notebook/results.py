"""Reads a results directory of gridctl: what each attempt came to, its parameters and metrics, its curves.

A results directory holds one directory for each sweep; in its `records` each line is an attempt, as JSON."""

import json
import os
import pathlib

import pandas as pd

ROOT = pathlib.Path(os.environ.get("GRIDCTL_RESULTS", "/results"))


def sweeps(root=ROOT):
    """The names of the sweeps that have records, the latest last."""
    found = {}
    for records in root.glob("*/records"):
        times = [file.stat().st_mtime for file in records.iterdir() if file.is_file()]
        if times:
            found[records.parent.name] = max(times)
    return sorted(found, key=found.get)


def records(sweep, root=ROOT):
    """The records of a sweep, in the order in which they were written."""
    lines = []
    for file in sorted((root / sweep / "records").iterdir()):
        if file.is_file():
            lines += [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    return [line for line in lines if "trial" in line and "class" in line]


def _last(sweep, root):
    """The last attempt of each trial in the newest version that has it."""
    last = {}
    for record in records(sweep, root):
        place = (record["version"], record.get("generation", 1), record["token"]["attempt"])
        if record["trial"] not in last or place >= last[record["trial"]][0]:
            last[record["trial"]] = (place, record)
    return [record for _, record in last.values()]


def leaderboard(sweep, root=ROOT):
    """A row for each trial: its state, its parameters and its metrics. Sort it by the metric that counts."""
    rows = []
    for record in _last(sweep, root):
        row = {"trial": record["trial"][:8], "state": record["class"], "repeat": record.get("repeat", 0)}
        row |= {"objective": record.get("objective"), "seconds": record["duration_ms"] / 1000}
        row |= {f"param_{name}": value for name, value in record["params"].items()}
        row |= {f"metric_{name}": value for name, value in record.get("metrics", [])}
        rows.append(row)
    table = pd.DataFrame(rows)
    # NaN and infinities are words in JSON.
    for name in table.columns:
        if name == "objective" or name.startswith("metric_"):
            table[name] = pd.to_numeric(table[name], errors="coerce")
    return table


def varied(table):
    """The parameters that differ between trials."""
    params = [name for name in table.columns if name.startswith("param_")]
    return [name for name in params if table[name].astype(str).nunique() > 1]


def curves(sweep, root=ROOT):
    """A row for each step of each trial: trial, metric, step, value."""
    rows = [
        {"trial": record["trial"][:8], "metric": point["name"], "step": point["step"], "value": point["value"]}
        for record in _last(sweep, root)
        for point in record.get("curve", [])
    ]
    table = pd.DataFrame(rows, columns=["trial", "metric", "step", "value"])
    table["value"] = pd.to_numeric(table["value"], errors="coerce")
    return table
