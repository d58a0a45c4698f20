"""Compares weights/manifest.yaml, given as JSON on standard input, with how timm builds and feeds the models it names.

Each line of input: {"name", "repository", "variant", "padding", "bn_eps", "mean", "std", "licence", "classes"}.
"""

import json
import sys

import timm
from timm.layers import Conv2dSame

PREFIXES = ["tf_efficientnet_", "efficientnet_"]


def facts(repository):
    """What timm knows of the model in that repository."""
    model_name = repository.removeprefix("timm/")
    model = timm.create_model(model_name, pretrained=False)
    config = model.pretrained_cfg
    strided = [module for module in model.modules() if getattr(module, "stride", None) == (2, 2)]
    # A convolution of experts pads itself.
    same = {isinstance(module, Conv2dSame) or getattr(module, "dynamic_padding", False) for module in strided}
    assert len(same) == 1, f"{model_name}: strides of both kinds"
    architecture = model_name.split(".")[0]
    variant = next(architecture.removeprefix(prefix) for prefix in PREFIXES if architecture.startswith(prefix))
    return {
        "repository": config["hf_hub_id"],
        "variant": variant.replace("_", "-"),
        "padding": "same" if same.pop() else "symmetric",
        "bn_eps": model.bn1.eps,
        "mean": list(config["mean"]),
        "std": list(config["std"]),
        "licence": config["license"],
        "classes": config["num_classes"],
    }


wrong = []
entries = [json.loads(line) for line in sys.stdin]
for entry in entries:
    expected = facts(entry["repository"])
    got = {key: entry[key] for key in expected}
    if got != expected:
        wrong.append(f"{entry['name']}: the manifest says {got}, timm {expected}")
if wrong:
    sys.exit("\n".join(wrong))
print(f"weights/manifest.yaml: {len(entries)} entries as timm builds and feeds them")
