"""A network of one hidden layer that learns XOR, configured by Hydra. It knows nothing of gridctl."""

import math
import random

import hydra
from omegaconf import DictConfig

ACTS = {"tanh": (math.tanh, lambda y: 1 - y * y), "relu": (lambda x: max(x, 0.0), lambda y: float(y > 0))}
DATA = [((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((1, 1), 0)]


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    rng = random.Random(0)
    act, slope = ACTS[cfg.model.act]
    width = cfg.model.width
    first = [[rng.uniform(-1, 1) for _ in range(3)] for _ in range(width)]
    second = [rng.uniform(-1, 1) for _ in range(width + 1)]
    loss = math.nan
    for step in range(cfg.optim.steps):
        loss = 0.0
        for (a, b), target in DATA:
            hidden = [act(w[0] * a + w[1] * b + w[2]) for w in first]
            out = 1 / (1 + math.exp(-sum(v * h for v, h in zip(second, hidden)) - second[-1]))
            loss += (out - target) ** 2 / len(DATA)
            delta = (out - target) * out * (1 - out)
            for i, h in enumerate(hidden):
                back = delta * second[i] * slope(h)
                second[i] -= cfg.optim.lr * delta * h
                first[i] = [w - cfg.optim.lr * back * x for w, x in zip(first[i], (a, b, 1))]
            second[-1] -= cfg.optim.lr * delta
        print(f"step {step}: loss={loss:.6f}")


if __name__ == "__main__":
    main()
