"""A training's checkpoint: one safetensors file of its tensors, and as metadata how far it is."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor, nn
from torch.optim import AdamW

from diffuselm.files.contracts import written_whole

log = logging.getLogger(__name__)


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
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            # Cloned: the file's own memory ends with the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        return _unused(path, f"not readable as safetensors ({_first_line(error)})")
    found = metadata.pop("sha256", None)
    if found is None:
        return _unused(path, "no checkpoint of a training")
    if found != _digest(tensors, metadata):
        return _unused(path, "damaged, its content has another SHA-256 than when it was written")
    if metadata["key"] != key:
        return _unused(path, f"of another training ({metadata['key']!r}, expected {key!r})")
    return tensors, json.loads(metadata["progress"])


def tensors_of(model: nn.Module, optimizer: AdamW, order: torch.Generator) -> dict[str, Tensor]:
    """Trained parameters, the optimiser's moments of each, and the state of every generator."""
    tensors = {"random.order": order.get_state(), "random.cpu": torch.get_rng_state()}
    for number, gpu in enumerate(_gpus(model)):
        tensors[f"random.gpu.{number}"] = torch.cuda.get_rng_state(gpu)
    for name, parameter in _trained(model).items():
        tensors[f"parameter.{name}"] = parameter
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = value
    return tensors


def put_back(
    tensors: Mapping[str, Tensor], model: nn.Module, optimizer: AdamW, order: torch.Generator
) -> None:
    """Set all that `tensors_of` read, of a model of the same layout."""
    state = optimizer.state_dict()
    for number, (name, parameter) in enumerate(_trained(model).items()):
        parameter.data.copy_(tensors[f"parameter.{name}"])
        kept = [m for m in ("step", "exp_avg", "exp_avg_sq") if f"{m}.{name}" in tensors]
        if kept:  # none of a parameter that no loss has reached
            state["state"][number] = {m: tensors[f"{m}.{name}"] for m in kept}
    optimizer.load_state_dict(state)
    order.set_state(tensors["random.order"])
    torch.set_rng_state(tensors["random.cpu"])
    for number, gpu in enumerate(_gpus(model)):
        torch.cuda.set_rng_state(tensors[f"random.gpu.{number}"], gpu)


def layout(model: nn.Module) -> str:
    """Which tensors a checkpoint of this model holds: a hash of names, types, shapes and GPUs."""
    shapes = [[name, str(p.dtype), list(p.shape)] for name, p in _trained(model).items()]
    return hashlib.sha256(json.dumps([shapes, len(_gpus(model))]).encode()).hexdigest()[:16]


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _gpus(model: nn.Module) -> list[torch.device]:
    """The GPUs that draw the dropout, in the order of the model's layers."""
    devices = dict.fromkeys(p.device for p in model.parameters())
    return [device for device in devices if device.type == "cuda"]


def _unused(path: Path, why: str) -> None:
    log.warning("%s: %s: this checkpoint is not used, training starts anew", path, why)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over all that a checkpoint says: safetensors itself notices no flipped bit."""
    shapes = [[name, str(t.dtype), list(t.shape)] for name, t in sorted(tensors.items())]
    digest = hashlib.sha256(json.dumps([shapes, sorted(metadata.items())]).encode())
    for _, tensor in sorted(tensors.items()):
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
