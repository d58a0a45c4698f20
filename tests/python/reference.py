"""Models, weights and inputs of the reference files, by the rule in tests/golden/README.md."""

import json
import math
import pathlib

import numpy
import timm
import torch
from safetensors.torch import load_file

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
MASK = (1 << 64) - 1


def entry(file):
    """The manifest's entry of a reference file."""
    entries = json.loads((GOLDEN / "manifest.json").read_text())["entries"]
    return next(entry for entry in entries if entry["file"] == file)


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value


def uniform(name, count):
    """`count` numbers in [0, 1), float64."""
    state = numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(fnv1a64(name))
    state += numpy.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    state ^= state >> numpy.uint64(31)
    return (state >> numpy.uint64(40)).astype(numpy.float64) / (1 << 24)


def rule_weight(name, shape, gain):
    u = uniform(name, math.prod(shape))
    s = 2 * u - 1
    if name.endswith("running_var"):
        values = 0.5 + u
    elif name.endswith(("running_mean", "bias")):
        values = 0.1 * s
    elif len(shape) == 2 and "conv_" in name:
        values = s * math.sqrt(2 * gain / math.sqrt(shape[1]))
    elif len(shape) > 1:
        values = s * math.sqrt(gain / math.prod(shape[1:]))
    else:
        values = 1 + 0.1 * s
    return torch.from_numpy(values.astype(numpy.float32).reshape(shape))


def rule_input(shape, low, high):
    values = low + (high - low) * uniform("input", math.prod(shape))
    return torch.from_numpy(values.astype(numpy.float32).reshape(shape))


def timm_model(file):
    """The model of a reference file with its weights, as timm builds it."""
    meta = entry(file)["meta"]
    model = timm.create_model(meta["model"], pretrained=False).eval()
    state = model.state_dict()
    for name, values in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = rule_weight(name, tuple(values.shape), meta["gain"])
    model.load_state_dict(state)
    return model


def forward_cases(file):
    """Pairs of input and expected logits, with the tolerance relative to the largest logit."""
    tensors = load_file(GOLDEN / file)
    tolerance = entry(file)["tolerance"]
    if "logits" in tensors:
        shape = [int(side) for side in file.removesuffix(".safetensors").rsplit("_", 1)[1].split("x")]
        batch, height, width = shape
        return [(rule_input((batch, 3, height, width), -2, 2), tensors["logits"], tolerance["rel_to_tensor_max"]["logits"])]
    images = [name.removesuffix("/input") for name in tensors if name.endswith("/input")]
    cases = [(tensors[f"{image}/input"], tensors[f"{image}/logits"]) for image in images]
    return [(x, logits, tolerance["logits_abs"] / logits.abs().max().item()) for x, logits in cases]
