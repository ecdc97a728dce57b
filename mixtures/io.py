"""Models in files: one safetensors file with the numbers, and JSON in its header for the structure.

Layout of version 1: tensors `tables.<t>.values` (and `.logits`, `.absent` where they say more),
`components.<name>` as in the state_dict, and `arrays.<a>`, large integer arrays of the structure.
The header's metadata hold `format`, `version`, `structure` (JSON: class, tree or network, families,
ties, names) and `sha256`, a digest of all of these. Nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixtures.coefficients import CoefficientTensor
from mixtures.components import Components
from mixtures.mixture import Mixture
from mixtures.tables import Table
from mixtures.written import read, written

FORMAT, VERSION = "homogeneous-mixtures", 1

Model = Mixture | CoefficientTensor


def save(
    model: Model, path: str | os.PathLike[str], *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a mixture or a coefficient tensor to one file, bit for bit; never pickle.

    metadata: what else to keep, ready for JSON (`inspect` reads it). The file is written beside its
    place and then moved there, so that an interruption leaves what was there. Raises ValueError for
    anything else than a model, and for classes that cannot be written down.

    >>> import tempfile, pathlib
    >>> from mixtures import HMM, Mixture
    >>> from mixtures.components import Gaussian
    >>> model = Mixture(HMM(3, 2, 2), Gaussian(3, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, pathlib.Path(folder) / "model.safetensors")
    ...     again = load(pathlib.Path(folder) / "model.safetensors")
    >>> bool((again.log_prob([[0.0, 1.0, 2.0]]) == model.log_prob([[0.0, 1.0, 2.0]])).all())
    True
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    structure: dict[str, Any] = {"metadata": dict(metadata or {})}
    if isinstance(model, Mixture):
        coefficients = model.coefficients
        structure["components"] = written(model.components.config(), tensors)
        tensors |= {f"components.{k}": v for k, v in model.components.state_dict().items()}
    elif isinstance(model, CoefficientTensor):
        coefficients = model
    else:
        raise ValueError(
            f"expected a Mixture or a coefficient tensor to save, got {type(model).__name__}"
        )
    structure["coefficients"] = written(coefficients.config(), tensors)
    tensors |= _numbers(coefficients)
    held = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(structure)
    header = {"format": FORMAT, "version": str(VERSION), "structure": text}
    header["sha256"] = _digest(header, held)
    target = Path(path)
    handle, beside = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    os.close(handle)
    try:
        save_file(held, beside, metadata=header)
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str], *, device: torch.device | str | None = None) -> Any:
    """The model that `save` wrote: a `Mixture` or a coefficient tensor, of the class it was.

    Raises FileNotFoundError for no file, and ValueError with the reason for a file that is no
    saved model, of an unknown version, cut short, or changed since it was written.
    """
    structure, tensors = _checked(path)
    try:
        model = _rebuilt(structure, tensors)
    except (KeyError, TypeError, IndexError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path}: the structure in this file makes no model ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return model if device is None else model.to(device)


def inspect(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file holds: `version`, `model`, `components` (a family's name, or None), `metadata`.

    Raises what `load` raises.
    """
    structure, tensors = _checked(path)
    return {
        "version": VERSION,
        "model": structure["coefficients"]["class"],
        "components": structure.get("components", {}).get("family"),
        "numbers": sum(tensor.numel() for tensor in tensors.values()),
        "metadata": structure["metadata"],
    }


def _numbers(model: CoefficientTensor) -> dict[str, Tensor]:
    """The values of all tables; logits only where they are not just the values' logarithms."""
    found: dict[str, Tensor] = {}
    for place, table in enumerate(model.tables):
        assert isinstance(table, Table)
        state = table.state_dict()
        values, logits = state["_values"], state["logits"]
        found[f"tables.{place}.values"] = values
        if not torch.equal(logits, values.log()):
            found[f"tables.{place}.logits"] = logits
        if table.absent is not None:
            found[f"tables.{place}.absent"] = table.absent
    return found


def _rebuilt(structure: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
    count = len({name for name in tensors if name.startswith("tables.") and "values" in name})
    tables = [_table(tensors, f"tables.{place}.") for place in range(count)]
    config = read(structure["coefficients"], tensors)
    coefficients = CoefficientTensor.from_config(config, tables)  # type: ignore[type-abstract]
    if "components" not in structure:
        return coefficients
    components = Components.from_config(read(structure["components"], tensors))  # type: ignore[type-abstract]
    prefix = "components."
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    components.load_state_dict(state)
    return Mixture(coefficients, components)


def _table(tensors: Mapping[str, Tensor], prefix: str) -> Table:
    values = tensors[prefix + "values"]
    table = Table(values, tensors.get(prefix + "absent"))
    logits = tensors.get(prefix + "logits")
    if logits is not None:
        table.load_state_dict({"logits": logits, "_values": values})
    return table


def _checked(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Structure and tensors of a file, once format, version and digest are what they should be."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is no saved model, or not all of it: not a whole safetensors file ({error})"
        ) from error
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but not one that mixtures.save wrote")
    if header.get("version") != str(VERSION):
        raise ValueError(
            f"{path} has version {header.get('version')} of the format, this library reads "
            f"version {VERSION}: update homogeneous-mixtures"
        )
    if header.get("sha256") != _digest(header, tensors):
        raise ValueError(f"{path} was changed after it was written: its checksum does not fit")
    return json.loads(header["structure"]), tensors


def _digest(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in ("format", "version", "structure"):
        digest.update(f"{name}={header.get(name)}\n".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
