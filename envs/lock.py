"""Freeze the active environment: requirements.lock, and the conda environment of the same."""

from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).parent
NOT_LOCKED = {"pip"}
LOCK = """\
# Exact versions, written by `make lock` from requirements.in. PyTorch's own CUDA libraries are not
# listed: its build for the machine pins them, or does without.
"""
CONDA = """\
# The same versions as requirements.lock, for `snakemake --sdm conda`; written by `make lock`.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def main() -> None:
    """Write both files; a build's local version (torch's +cpu) is left to the machine."""
    pins = sorted(
        f"{found.name.lower()}=={found.version.partition('+')[0]}"
        for found in distributions()
        if found.name.lower() not in NOT_LOCKED
    )
    (HERE / "requirements.lock").write_text(LOCK + "".join(f"{pin}\n" for pin in pins))
    (HERE / "diffuselm.yaml").write_text(CONDA + "".join(f"      - {pin}\n" for pin in pins))


if __name__ == "__main__":
    main()
