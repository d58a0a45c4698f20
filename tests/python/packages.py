"""Fails, and says what to install, where a package of requirements.txt is missing."""

import importlib.metadata
import pathlib
import sys

REQUIREMENTS = pathlib.Path(__file__).with_name("requirements.txt")


def is_missing(package):
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return True
    return False


missing = [package for package in REQUIREMENTS.read_text().split() if is_missing(package)]
if missing:
    sys.exit(f"missing packages: {', '.join(missing)}; run {sys.executable} -m pip install -r {REQUIREMENTS}")
