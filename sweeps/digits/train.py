"""One point of a grid: a support vector machine that tells handwritten digits apart, scored by cross-validation.

It knows nothing of gridctl: parameters are arguments, the score is a line of output."""

import argparse

from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC

parser = argparse.ArgumentParser()
parser.add_argument("--C", type=float, default=1.0)
parser.add_argument("--gamma", type=float, default=0.001)
parser.add_argument("--folds", type=int, default=5)
args = parser.parse_args()

images, digits = load_digits(return_X_y=True)
folds = StratifiedKFold(args.folds, shuffle=True, random_state=0)
scores = cross_val_score(SVC(C=args.C, gamma=args.gamma), images, digits, cv=folds)
baseline = cross_val_score(DummyClassifier(), images, digits, cv=folds)

print(f"accuracy={scores.mean():.6f}")
print(f"accuracy_std={scores.std():.6f}")
print(f"baseline_accuracy={baseline.mean():.6f}")
