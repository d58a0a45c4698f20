"""Loads a converted file into a tool's own model and compares its logits: compare_logits.py TOOL MODEL FILE REFERENCE.

Prints the largest difference, absolute and as a share of the largest logit. Fails where a name or shape does not fit, or
the share is above the tolerance of the reference file. The forward pass is in float64, as that of the reference.
"""

import sys

import torch
from safetensors.torch import load_file

import reference

tool, name, file, golden = sys.argv[1:]
if tool == "timm":
    import timm

    model = timm.create_model(name, pretrained=False)
elif tool == "torchvision":
    import torchvision

    model = torchvision.models.get_model(name, weights=None)
elif tool == "lukemelas":
    from efficientnet_pytorch import EfficientNet

    model = EfficientNet.from_name(name)
else:
    sys.exit(f"expected timm, torchvision or lukemelas, got {tool}")

model.load_state_dict(load_file(file), strict=True)
model = model.double().eval()
largest, share = 0.0, 0.0
for image, expected, tolerance in reference.forward_cases(golden):
    with torch.no_grad():
        logits = model(image.double())
    difference = (logits - expected.double()).abs().max().item()
    scale = expected.abs().max().item()
    largest, share = max(largest, difference), max(share, difference / scale)
    if not difference <= tolerance * scale:
        sys.exit(f"{tool} {name}: logits differ by {difference:.3e}, {difference / scale:.3e} of the largest ({tolerance:.1e} allowed)")
print(f"{tool} {name}: logits equal within {largest:.1e}, {share:.1e} of the largest")
