"""One point of a grid: what a text is about, told from its words by a linear model, scored by cross-validation.

Parameters come as environment variables; the model goes to GRID_OUTPUT_DIR."""

import os

from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

import model

pipeline = make_pipeline(
    TfidfVectorizer(ngram_range=(1, int(os.environ["HP_NGRAMS"])), sublinear_tf=True, stop_words="english"),
    SGDClassifier(alpha=float(os.environ["HP_ALPHA"]), loss=os.environ["HP_LOSS"], random_state=0),
)
texts, topics = model.texts()
folds = StratifiedKFold(5, shuffle=True, random_state=0)
scores = cross_val_score(pipeline, texts, topics, cv=folds)
print(f"accuracy={scores.mean():.6f}")
print(f"baseline_accuracy={cross_val_score(DummyClassifier(), texts, topics, cv=folds).mean():.6f}")
model.keep(pipeline.fit(texts, topics))
