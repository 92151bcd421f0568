"""Scores of scikit-learn on folds that are given: cases as JSON on standard input, their scores as JSON on standard output."""

import json
import sys

import numpy as np
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier


def model(kind, p):
    gamma = p.get("gamma") or "auto"
    kernel = p.get("kernel", "rbf")
    if kind == "linear":
        return LinearRegression()
    if kind == "elastic-net":
        net = ElasticNet(alpha=p["alpha"], l1_ratio=p["l1_ratio"], tol=1e-10, max_iter=100000)
        return make_pipeline(StandardScaler(), net)
    if kind == "logistic":
        alpha = p.get("alpha", 1.0)
        return make_pipeline(StandardScaler(), LogisticRegression(C=1 / alpha, tol=1e-8, max_iter=10000))
    if kind == "bayes":
        return GaussianNB(var_smoothing=p.get("var_smoothing", 1e-9))
    if kind == "svm":
        return make_pipeline(StandardScaler(), SVC(C=p.get("c", 1.0), kernel=kernel, gamma=gamma, tol=1e-7))
    if kind == "svr":
        svr = SVR(C=p.get("c", 1.0), epsilon=p.get("epsilon", 0.1), kernel=kernel, gamma=gamma, tol=1e-7)
        return make_pipeline(StandardScaler(), svr)
    if kind == "tree":
        return DecisionTreeClassifier(max_depth=p["max_depth"], random_state=0)
    if kind == "forest":
        return RandomForestClassifier(n_estimators=p["n_trees"], max_depth=p["max_depth"], random_state=0)
    if kind == "adaboost":
        return AdaBoostClassifier(n_estimators=p["n_trees"], random_state=0)
    raise SystemExit(f"no model {kind}")


def scores(case):
    x, y = np.array(case["x"]), np.array(case["y"])
    found = {}
    for fold in case["folds"]:
        fitted = model(case["kind"], case["params"]).fit(x[fold["train"]], y[fold["train"]])
        actual, predicted = y[fold["test"]], fitted.predict(x[fold["test"]])
        if case["classes"]:
            one = {"accuracy": accuracy_score(actual, predicted)}
            if case["kind"] in ("logistic", "bayes"):
                one["log_loss"] = log_loss(actual, fitted.predict_proba(x[fold["test"]]), labels=fitted.classes_)
        else:
            one = {
                "rmse": root_mean_squared_error(actual, predicted),
                "mae": mean_absolute_error(actual, predicted),
                "r2": r2_score(actual, predicted),
            }
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


json.dump([scores(case) for case in json.load(sys.stdin)], sys.stdout)
