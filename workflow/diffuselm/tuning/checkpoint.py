"""A training's checkpoint: one safetensors file of its tensors, and as metadata how far it is."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor, nn
from torch.optim import AdamW

from diffuselm.errors import first_line
from diffuselm.files.whole import written_whole

log = logging.getLogger(__name__)


class Checkpoint:
    """Where one training is kept; nowhere without a path.

    `key` stands for all that the training depends on, but for the layout of its parameters.
    """

    def __init__(
        self,
        path: Path | None,
        key: str,
        every: float,
        model: nn.Module,
        optimizer: AdamW,
        order: torch.Generator,
    ) -> None:
        self.path, self.every, self.saved = path, every, 0.0
        self.optimizer, self.order = optimizer, order
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        # Those that draw the dropout, in the order of the model's layers.
        devices = dict.fromkeys(p.device for p in model.parameters())
        self.gpus = [device for device in devices if device.type == "cuda"]
        shapes = [[name, str(p.dtype), list(p.shape)] for name, p in self.trained.items()]
        layout = hashlib.sha256(json.dumps([shapes, len(self.gpus)]).encode()).hexdigest()
        self.key = f"{key} {layout[:16]}"

    def load(self) -> dict[str, Any] | None:
        """Put back the tensors that are kept, and return the progress; None where there is none."""
        self.saved = time.monotonic()
        if self.path is None or (found := load(self.path, self.key)) is None:
            return None
        tensors, progress = found
        state = self.optimizer.state_dict()
        for number, (name, parameter) in enumerate(self.trained.items()):
            parameter.data.copy_(tensors[f"parameter.{name}"])
            kept = [m for m in ("step", "exp_avg", "exp_avg_sq") if f"{m}.{name}" in tensors]
            if kept:  # none of a parameter that no loss has reached
                state["state"][number] = {m: tensors[f"{m}.{name}"] for m in kept}
        self.optimizer.load_state_dict(state)
        self.order.set_state(tensors["random.order"])
        torch.set_rng_state(tensors["random.cpu"])
        for number, gpu in enumerate(self.gpus):
            torch.cuda.set_rng_state(tensors[f"random.gpu.{number}"], gpu)
        return progress

    def save_if_due(self, progress: Any) -> None:
        """Replace the file if `every` seconds have passed since it was written, or since `load`.

        `progress` is a data class of what JSON holds.
        """
        if self.path and time.monotonic() - self.saved >= self.every:
            save(self.path, self.key, self._tensors(), asdict(progress))
            self.saved = time.monotonic()

    def _tensors(self) -> dict[str, Tensor]:
        """Trained parameters, the optimiser's moments of each, and every generator's state."""
        tensors = {"random.order": self.order.get_state(), "random.cpu": torch.get_rng_state()}
        for number, gpu in enumerate(self.gpus):
            tensors[f"random.gpu.{number}"] = torch.cuda.get_rng_state(gpu)
        for name, parameter in self.trained.items():
            tensors[f"parameter.{name}"] = parameter
            for moment, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{moment}.{name}"] = value
        return tensors


def save(path: Path, key: str, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Replace the checkpoint of the training `key`, on disk before the last one goes.

    `progress` is what JSON holds; its floats come back exactly.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"key": key, "progress": json.dumps(progress, allow_nan=False)}
    metadata["sha256"] = _digest(held, metadata)
    with written_whole(path) as part:
        part.write_bytes(serialized(held, metadata))


def load(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors, on the CPU, and the progress of the training `key`; None where there is none.

    A file of another training, or one that is not as it was written, is left alone with a warning.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: the file's own memory ends with the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        return _unused(path, f"not readable as safetensors ({first_line(error)})")
    found = metadata.pop("sha256", None)
    if found is None:
        return _unused(path, "no checkpoint of a training")
    if found != _digest(tensors, metadata):
        return _unused(path, "damaged, its content has another SHA-256 than when it was written")
    if metadata["key"] != key:
        return _unused(path, f"of another training ({metadata['key']!r}, expected {key!r})")
    return tensors, json.loads(metadata["progress"])


def _unused(path: Path, why: str) -> None:
    log.warning("%s: %s: this checkpoint is not used, training starts anew", path, why)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over all that a checkpoint says: safetensors itself notices no flipped bit."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    digest.update(serialized(dict(tensors)))
    return digest.hexdigest()
