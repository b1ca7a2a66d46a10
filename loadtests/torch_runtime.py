"""A checkpoint's module as a runtime: PyTorch, eager or compiled, between arrays in the host's memory.

So that PyTorch is measured and checked by the very code that measures the engines. Knows torch and a Graph. Knows
nothing of time.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bundle.errors import RuntimeFailed
from bundle.manifest import Manifest
from bundle.tensors import Tensors
from runtime.cpus import available_cpus
from training.checkpoint import load_checkpoint


class TorchRuntime:
    """One module on one device."""

    def __init__(self, manifest: Manifest, module: Callable[..., Any], device: str, autocast: bool) -> None:
        self.inputs, self.outputs = manifest.inputs, manifest.outputs
        self._module = module
        self._device = torch.device(device)
        self._autocast = autocast
        self._outputs = [(spec.name, np.dtype(spec.dtype)) for spec in manifest.outputs]

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch: to the device, through the module, and back.

        Raises:
            RuntimeFailed: torch, or its compiler, could not.
        """
        try:
            with torch.inference_mode(), torch.autocast(self._device.type, torch.float16, enabled=self._autocast):
                given = [torch.from_numpy(batch[spec.name]).to(self._device) for spec in self.inputs]
                found = self._module(*given)
        except Exception as cause:  # compilers raise whatever they like
            raise RuntimeFailed(f"torch: {brief(cause)}") from cause
        tensors = found if isinstance(found, tuple) else (found,)
        pairs = zip(self._outputs, tensors, strict=True)
        return {name: tensor.cpu().numpy().astype(dtype, copy=False) for (name, dtype), tensor in pairs}


def eager(manifest: Manifest, run: Path, device: str, autocast: bool) -> TorchRuntime:
    """The checkpoint of a run folder, as it is.

    Raises:
        RunError: there is no finished run.
    """
    _settle()
    _, graph = load_checkpoint(run)
    return TorchRuntime(manifest, graph.to(device), device, autocast)


def compiled(manifest: Manifest, run: Path, device: str, autocast: bool) -> TorchRuntime:
    """The same through torch.compile, one graph a batch size; on a GPU with CUDA graphs.

    Raises:
        RunError: there is no finished run.
    """
    _settle()
    torch._dynamo.reset()  # it gives up compiling after a number of shapes, and other models' count too
    _, graph = load_checkpoint(run)
    mode = "reduce-overhead" if device == "cuda" else "default"
    return TorchRuntime(manifest, torch.compile(graph.to(device), mode=mode, dynamic=False), device, autocast)


def _settle() -> None:
    """fp32 means fp32, as in the other engines: TensorFloat-32 has ten bits of a number; convolutions are tried out."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(available_cpus())


def brief(cause: BaseException) -> str:
    """An exception in one line."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0] if lines else 'without a word'}"
