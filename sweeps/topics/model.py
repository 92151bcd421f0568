"""What training and prediction share: where the texts are, and how a model is kept."""

import csv
import os
import pathlib
import pickle

HERE = pathlib.Path(__file__).parent


def texts():
    """Texts and their topics: this directory's, or a file or directory of the same form that GRID_DATA_DIR names."""
    place = pathlib.Path(os.environ.get("GRID_DATA_DIR") or HERE / "corpus.tsv")
    files = sorted(place.glob("*.tsv")) if place.is_dir() else [place]
    rows = [row for file in files for row in csv.reader(file.open(encoding="utf-8"), delimiter="\t")]
    return [text for _, text in rows], [topic for topic, _ in rows]


def keep(model):
    """Writes the model where the trial's files are kept."""
    out = pathlib.Path(os.environ.get("GRID_OUTPUT_DIR", "."))
    (out / "model.pickle").write_bytes(pickle.dumps(model))


def kept():
    """The model that a trial has kept."""
    place = pathlib.Path(os.environ.get("GRID_MODEL_DIR", "."))
    return pickle.loads((place / "model.pickle").read_bytes())
