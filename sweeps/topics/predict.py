"""Answers what texts are about: a JSON line in, `{"data": "..."}` or `{"data": ["...", ...]}`, a JSON line out.

The model is the one that a trial of the sweep kept: GRID_MODEL_DIR names the directory of its files."""

import json
import sys

import model

pipeline = model.kept()
for line in sys.stdin:
    data = json.loads(line)["data"]
    topics = pipeline.predict([data] if isinstance(data, str) else data)
    result = topics[0] if isinstance(data, str) else list(topics)
    print(json.dumps({"result": result}), flush=True)
