"""A stand-in for training: fits y = w*x + b by gradient descent. Put your own program in its place."""

import argparse
import json
import os
import random

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1, help="the step of the descent")
parser.add_argument("--momentum", type=float, default=0.0)
parser.add_argument("--epochs", type=int, default=30)
args = parser.parse_args()

# The same seed for every point, so that points are compared on the same data.
random.seed(int(os.environ.get("GRID_SEED", "0")))
points = [(x / 50, 3 * x / 50 - 1 + random.gauss(0, 0.1)) for x in range(100)]
train, held_out = points[::2], points[1::2]


def loss(rows):
    return sum((w * x + b - y) ** 2 for x, y in rows) / len(rows)


w = b = speed_w = speed_b = 0.0
for epoch in range(args.epochs):
    errors = [(w * x + b - y, x) for x, y in train]
    speed_w = args.momentum * speed_w - args.lr * 2 * sum(e * x for e, x in errors) / len(train)
    speed_b = args.momentum * speed_b - args.lr * 2 * sum(e for e, _ in errors) / len(train)
    w, b = w + speed_w, b + speed_b
    # One point of a curve: gridctl draws it in `gridctl trials show best`.
    print(f"::metric step={epoch} loss={loss(train):.6f}", flush=True)

# The number that ranks, on rows that were not trained on.
print(f"val_loss={loss(held_out):.6f}")

# What is worth keeping: `gridctl fetch best` brings it here.
with open(os.path.join(os.environ.get("GRID_OUTPUT_DIR", "."), "model.json"), "w") as file:
    json.dump({"w": w, "b": b}, file)
