"""The paper's encoder-decoder in PyTorch: what Lockstep's model is compared against.

    python3 -m venv VENV && VENV/bin/pip install torch numpy
    VENV/bin/python Tests/Reference/torch_transformer.py

Written from the paper and PyTorch's documentation, not from Lockstep's model: batches are padded
and masked here, packed there; gradients come from autograd here. Writes torch-VARIANT.json to
Tests/ModelsTests/Resources: shape, batches, initial parameters (float32), and, computed in float64
from them, the loss and gradient of the first batch and ten Adam steps.
"""

import base64
import json
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

BEGIN, END = 1, 2
# Exact in float32 as well, so that the comparison is not about the rounding of 0.1.
LABEL_SMOOTHING = 0.125
LAYER_NORM_EPSILON = 1e-5
STEPS, WARMUP_STEPS, FACTOR = 10, 5, 1.0
ADAM = {"beta1": 0.9, "beta2": 0.98, "epsilon": 1e-9}

PAPER = {
    "vocabulary_size": 23, "encoder_layers": 2, "decoder_layers": 2, "dimension": 12,
    "feed_forward": 20, "heads": 3, "key_dimension": 4, "value_dimension": 5, "norm": "post",
    "positions": "sinusoidal", "attention_bias": False, "maximum_positions": 12,
}
VARIANTS = {
    "paper": PAPER,
    "pre-norm": PAPER | {"norm": "pre"},
    "learned-positions": PAPER | {"positions": "learned"},
    "attention-bias": PAPER | {"attention_bias": True},
}

# Pairs without special tokens; a step takes the next batch, around and around.
BATCHES = [
    [([5, 6, 7], [8, 9]), ([3], [22, 4, 11, 12, 5]), ([10, 11, 12, 13, 14, 15, 16], []),
     ([8, 8], [8, 8, 8])],
    [([4, 4, 17, 0], [19]), ([20, 21, 3, 9, 9, 9, 5, 6, 7, 18], [3, 20, 21, 3, 9, 10, 11, 0, 4])],
    [([], [7, 3]), ([22], [22]), ([15, 14, 13], [13, 14, 15])],
]


def parameter_shapes(c: dict) -> list[tuple[str, list[int]]]:
    """Names and shapes in the order of the record; a weight is [output, input]."""
    d = c["dimension"]
    shapes: list[tuple[str, list[int]]] = [("embedding/weight", [c["vocabulary_size"], d])]

    def norm(name: str) -> None:
        shapes.extend([(f"{name}/scale", [d]), (f"{name}/bias", [d])])

    def attention(name: str) -> None:
        widths = {
            "query": c["heads"] * c["key_dimension"], "key": c["heads"] * c["key_dimension"],
            "value": c["heads"] * c["value_dimension"],
        }
        # Projections of the same input lie together, weights before biases.
        together = [["query"], ["key", "value"]] if "cross" in name else [list(widths)]
        for parts in together:
            shapes.extend((f"{name}/{part}/weight", [widths[part], d]) for part in parts)
            if c["attention_bias"]:
                shapes.extend((f"{name}/{part}/bias", [widths[part]]) for part in parts)
        shapes.append((f"{name}/output/weight", [d, widths["value"]]))
        if c["attention_bias"]:
            shapes.append((f"{name}/output/bias", [d]))

    def feed_forward(name: str) -> None:
        inner = c["feed_forward"]
        shapes.extend([
            (f"{name}/inner/weight", [inner, d]), (f"{name}/inner/bias", [inner]),
            (f"{name}/outer/weight", [d, inner]), (f"{name}/outer/bias", [d]),
        ])

    if c["positions"] == "learned":
        for side in ("encoder", "decoder"):
            shapes.append((f"{side}/positions/weight", [c["maximum_positions"], d]))
    for side, attentions in (("encoder", ["self"]), ("decoder", ["self", "cross"])):
        for layer in range(c[f"{side}_layers"]):
            prefix = f"{side}/layer_{layer:02d}"
            for kind in attentions:
                attention(f"{prefix}/{kind}_attention")
                norm(f"{prefix}/{kind}_attention_norm")
            feed_forward(f"{prefix}/feed_forward")
            norm(f"{prefix}/feed_forward_norm")
        if c["norm"] == "pre":
            norm(f"{side}/final_norm")
    return shapes


def initial_parameters(c: dict, seed: int) -> dict[str, np.ndarray]:
    """Xavier-like weights; biases and scales away from 0 and 1, which would hide mistakes."""
    draw = np.random.default_rng(seed)
    values = {}
    for name, shape in parameter_shapes(c):
        if len(shape) == 2:
            bound = math.sqrt(6 / sum(shape))
            value = draw.uniform(-bound, bound, shape)
        else:
            value = draw.uniform(-0.2, 0.2, shape) + (1 if name.endswith("scale") else 0)
        values[name] = value.astype(np.float32)
    return values


class Model:
    def __init__(self, c: dict, parameters: dict[str, torch.Tensor]) -> None:
        self.c = c
        self.p = parameters

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.p[f"{name}/weight"], self.p.get(f"{name}/bias"))

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        scale, bias = self.p[f"{name}/scale"], self.p[f"{name}/bias"]
        return F.layer_norm(x, [self.c["dimension"]], scale, bias, LAYER_NORM_EPSILON)

    def attention(self, queries, memory, mask, name: str) -> torch.Tensor:
        def heads(x, part: str, width: int) -> torch.Tensor:
            y = self.linear(x, f"{name}/{part}")
            return y.unflatten(-1, (self.c["heads"], width)).transpose(1, 2)

        attended = F.scaled_dot_product_attention(
            heads(queries, "query", self.c["key_dimension"]),
            heads(memory, "key", self.c["key_dimension"]),
            heads(memory, "value", self.c["value_dimension"]), attn_mask=mask)
        return self.linear(attended.transpose(1, 2).flatten(-2), f"{name}/output")

    def feed_forward(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return self.linear(F.relu(self.linear(x, f"{name}/inner")), f"{name}/outer")

    def sublayer(self, x: torch.Tensor, name: str, body) -> torch.Tensor:
        if self.c["norm"] == "pre":
            return x + body(self.norm(x, f"{name}_norm"))
        return self.norm(x + body(x), f"{name}_norm")

    def embed(self, tokens: torch.Tensor, side: str) -> torch.Tensor:
        weight = self.p["embedding/weight"]
        length, d = tokens.shape[1], self.c["dimension"]
        if self.c["positions"] == "learned":
            positions = self.p[f"{side}/positions/weight"][:length]
        else:
            position = torch.arange(length, dtype=torch.float64)[:, None]
            angle = position / 10000 ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
            positions = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
        return F.embedding(tokens, weight) * math.sqrt(d) + positions.to(weight.dtype)

    def logits(self, source, source_mask, target) -> torch.Tensor:
        """Token ids, padded; `source_mask` [batch, 1, 1, length] is true at real tokens."""
        x = self.embed(source, "encoder")
        for layer in range(self.c["encoder_layers"]):
            name = f"encoder/layer_{layer:02d}"
            x = self.sublayer(
                x, f"{name}/self_attention",
                lambda y: self.attention(y, y, source_mask, f"{name}/self_attention"))
            x = self.sublayer(
                x, f"{name}/feed_forward", lambda y: self.feed_forward(y, f"{name}/feed_forward"))
        memory = self.norm(x, "encoder/final_norm") if self.c["norm"] == "pre" else x

        length = target.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        x = self.embed(target, "decoder")
        for layer in range(self.c["decoder_layers"]):
            name = f"decoder/layer_{layer:02d}"
            x = self.sublayer(
                x, f"{name}/self_attention",
                lambda y: self.attention(y, y, causal, f"{name}/self_attention"))
            x = self.sublayer(
                x, f"{name}/cross_attention",
                lambda y: self.attention(y, memory, source_mask, f"{name}/cross_attention"))
            x = self.sublayer(
                x, f"{name}/feed_forward", lambda y: self.feed_forward(y, f"{name}/feed_forward"))
        if self.c["norm"] == "pre":
            x = self.norm(x, "decoder/final_norm")
        return F.linear(x, self.p["embedding/weight"])

    def loss(self, pairs) -> torch.Tensor:
        """The smoothed loss, summed over target tokens and divided by their number."""
        source = padded([source + [END] for source, _ in pairs], fill=0)
        lengths = torch.tensor([len(source) + 1 for source, _ in pairs])
        mask = (torch.arange(source.shape[1]) < lengths[:, None])[:, None, None, :]
        target = padded([[BEGIN] + target for _, target in pairs], fill=0)
        output = padded([target + [END] for _, target in pairs], fill=-1)
        total = F.cross_entropy(
            self.logits(source, mask, target).flatten(0, 1), output.flatten(), ignore_index=-1,
            reduction="sum", label_smoothing=LABEL_SMOOTHING)
        return total / (output >= 0).sum()


def padded(sequences: list[list[int]], fill: int) -> torch.Tensor:
    longest = max(len(sequence) for sequence in sequences)
    return torch.tensor([sequence + [fill] * (longest - len(sequence)) for sequence in sequences])


def noam(step: int, dimension: int) -> float:
    return FACTOR * dimension**-0.5 * min(step**-0.5, step * WARMUP_STEPS**-1.5)


def train(c: dict, initial: dict[str, np.ndarray], dtype: torch.dtype):
    """Loss and gradient of the first batch, losses before each step, parameters after the last."""
    parameters = {
        name: torch.tensor(value, dtype=dtype, requires_grad=True)
        for name, value in initial.items()
    }
    model = Model(c, parameters)
    optimizer = torch.optim.Adam(
        parameters.values(), lr=0, betas=(ADAM["beta1"], ADAM["beta2"]), eps=ADAM["epsilon"])
    first_gradient, losses = None, []
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss = model.loss(BATCHES[(step - 1) % len(BATCHES)])
        loss.backward()
        losses.append(loss.item())
        if first_gradient is None:
            first_gradient = flat(parameter.grad for parameter in parameters.values())
        optimizer.param_groups[0]["lr"] = noam(step, c["dimension"])
        optimizer.step()
    return first_gradient, losses, flat(parameters.values())


def determined(c: dict) -> np.ndarray:
    """Which elements have a gradient that is not zero by symmetry.

    A key bias shifts all scores of a query alike, which softmax ignores: its gradient is nothing
    but rounding, which Adam scales up to full steps. The loss does not depend on it.
    """
    return np.concatenate([
        np.full(math.prod(shape), not name.endswith("key/bias"))
        for name, shape in parameter_shapes(c)
    ])


def flat(tensors) -> np.ndarray:
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


def encoded(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def main() -> None:
    torch.set_num_threads(1)
    folder = pathlib.Path(__file__).parents[1] / "ModelsTests" / "Resources"
    for seed, (name, c) in enumerate(VARIANTS.items()):
        initial = initial_parameters(c, seed)
        gradient, losses, final = train(c, initial, torch.float64)
        single_gradient, single_losses, single_final = train(c, initial, torch.float32)
        record = {
            "made_by": f"torch_transformer.py with PyTorch {torch.__version__}",
            "shape": c,
            "label_smoothing": LABEL_SMOOTHING,
            "adam": ADAM,
            "noam": {"warmup_steps": WARMUP_STEPS, "factor": FACTOR},
            "batches": [[{"source": s, "target": t} for s, t in batch] for batch in BATCHES],
            "parameters": [{"name": n, "shape": s} for n, s in parameter_shapes(c)],
            "initial_float32": encoded(flat(torch.tensor(v) for v in initial.values()), "<f4"),
            "loss": losses[0],
            "gradient_float64": encoded(gradient, "<f8"),
            "step_losses": losses,
            "learning_rates": [noam(step, c["dimension"]) for step in range(1, STEPS + 1)],
            "final_float32": encoded(final, "<f4"),
            # How far PyTorch's own float32 strays, as a measure for tolerances; without the key
            # biases, which are noise.
            "float32_deviation": {
                "gradient": float(np.abs(single_gradient - gradient).max()),
                "step_losses": float(np.abs(np.subtract(single_losses, losses)).max()),
                "final": float(np.abs(single_final - final)[determined(c)].max()),
            },
        }
        (folder / f"torch-{name}.json").write_text(json.dumps(record, indent=1) + "\n")
        print(name, len(final), losses, record["float32_deviation"])


if __name__ == "__main__":
    main()
