"""Fits a polynomial to noisy points, and logs to W&B where that is installed: offline, unless WANDB_MODE says otherwise."""

import argparse
import os
import random

try:
    import wandb
except ImportError:
    wandb = None

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.03)
parser.add_argument("--degree", type=int, default=1)
parser.add_argument("--optimizer", choices=["sgd", "momentum"], default="sgd")
parser.add_argument("--epochs", type=int, default=40)
args = parser.parse_args()

if wandb:
    wandb.init(project="polynomial-fit", config=vars(args), mode=os.environ.get("WANDB_MODE", "offline"))

rng = random.Random(1)
points = [(x / 20 - 1, 1 - 2 * (x / 20 - 1) ** 2 + rng.gauss(0, 0.1)) for x in range(41)]
train, held_out = points[::2], points[1::2]
weights = [0.0] * (args.degree + 1)
speed = [0.0] * len(weights)


def error(x, y):
    return sum(w * x**power for power, w in enumerate(weights)) - y


def loss(rows):
    return sum(error(x, y) ** 2 for x, y in rows) / len(rows)


keep = 0.9 if args.optimizer == "momentum" else 0.0
for epoch in range(args.epochs):
    slopes = [2 * sum(error(x, y) * x**power for x, y in train) / len(train) for power in range(len(weights))]
    speed = [keep * v - args.lr * slope for v, slope in zip(speed, slopes)]
    weights = [w + v for w, v in zip(weights, speed)]
    if wandb:
        wandb.log({"epoch": epoch, "train_loss": loss(train), "val_loss": loss(held_out)})

print(f"val_loss: {loss(held_out):.6f}")
