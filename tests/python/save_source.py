"""Writes the model of a reference file as the tools write it: save_source.py REFERENCE FORMAT OUT."""

import sys

import torch
from safetensors.torch import save_file

import reference

file, form, out = sys.argv[1:]
model = reference.timm_model(file)
if form == "torch":
    torch.save({"state_dict": model.state_dict(), "arch": reference.entry(file)["meta"]["model"]}, out)
elif form == "torch-legacy":
    torch.save(model.state_dict(), out, _use_new_zipfile_serialization=False)
elif form == "safetensors":
    save_file(model.state_dict(), out)
elif form == "onnx":
    image = torch.zeros(1, 3, 224, 224)
    preserve = torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(model, image, out, training=preserve, do_constant_folding=False, dynamo=False)
else:
    sys.exit(f"expected torch, torch-legacy, safetensors or onnx, got {form}")
