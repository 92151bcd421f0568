"""One fold of a cross-validation: a logistic regression that tells benign from malignant tumours."""

import argparse

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

parser = argparse.ArgumentParser()
parser.add_argument("--C", type=float, default=1.0)
parser.add_argument("--fold", type=int, default=0)
args = parser.parse_args()

cells, kinds = load_breast_cancer(return_X_y=True)
folds = StratifiedKFold(3, shuffle=True, random_state=0)
train, test = list(folds.split(cells, kinds))[args.fold]
# The scaling is learned from the training rows alone, as the model is.
model = make_pipeline(StandardScaler(), LogisticRegression(C=args.C, max_iter=1000))
model.fit(cells[train], kinds[train])
print(f"accuracy={model.score(cells[test], kinds[test]):.6f}")
