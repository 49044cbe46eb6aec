"""How PyTorch runs a module that is to be timed: as it is, compiled, or as a fused copy."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn

from ...errors import UserError, did_you_mean, listed
from ...models.fast.fusion import fuse_block
from ..cuda import Recorded

DTYPES = dict(fp32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)

COMPILED = 4096  # most modules that are compiled

Call = Callable[[], Any]


@dataclass(frozen=True)
class Job:
    """A module to run, and under what.

    Attributes:
        module: In eval mode, in single precision on the CPU.
        shape: Of its input.
        precision: Of the computation: fp32, fp16, bf16 or int8.
        device: ``'cpu'`` or ``'cuda'``.
        threads: On the CPU; 0 for one per core.
        fuse: Makes the copy for inference.
        cuda_graphs: Whether the kernels are recorded once and replayed.
    """

    module: nn.Module
    shape: tuple[int, ...]
    precision: str = 'fp32'
    device: str = 'cpu'
    threads: int = 0
    fuse: Callable[[nn.Module], nn.Module] = fuse_block
    cuda_graphs: bool = False


@dataclass(frozen=True)
class Backend:
    """What runs modules.

    Attributes:
        name: Its name.
        precisions: What it computes in, by device.
        prepare: Makes a call of a job.
        packages: Those that it needs, beside PyTorch.
        install: How to get them.
    """

    name: str
    precisions: dict[str, tuple[str, ...]]
    prepare: Callable[[Job], Call]
    packages: tuple[str, ...] = ()
    install: str = ''


def _eager(job: Job) -> Call:
    return _call(job.module, job)


def _compiled(job: Job) -> Call:
    # Blocks of a class share their code, of which PyTorch would compile 8 and leave the rest eager.
    for limit in ('cache_size_limit', 'accumulated_cache_size_limit'):
        setattr(torch._dynamo.config, limit, COMPILED)
    return _call(torch.compile(job.module, dynamic=False), job)


def _fused(job: Job) -> Call:
    return _call(job.fuse(job.module), job, memory_format=torch.channels_last)


def _call(
    module: nn.Module, job: Job, memory_format: torch.memory_format = torch.contiguous_format
) -> Call:
    dtype = DTYPES[job.precision]
    module = module.to(job.device, dtype)
    x = seeded_noise(job.shape).to(job.device, dtype).contiguous(memory_format=memory_format)

    @torch.inference_mode()
    def call() -> Any:
        return module(x)

    return Recorded(call) if job.cuda_graphs else call


def seeded_noise(shape: tuple[int, ...]) -> Tensor:
    """Random numbers, the same for a shape each time, in single precision on the CPU."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


_ALL = dict(cpu=tuple(DTYPES), cuda=tuple(DTYPES))
TORCH_BACKENDS = {
    backend.name: backend
    for backend in (
        Backend('eager', _ALL, _eager),
        Backend('compiled', _ALL, _compiled),
        Backend('fused', _ALL, _fused),
    )
}


def check_backend(
    backends: dict[str, Backend], name: str, *, precision: str, device: str
) -> Backend:
    """Returns the backend of a name.

    Raises:
        UserError: If there is none, it does not compute in the precision on the device, or is not
            installed.
    """
    if name not in backends:
        raise UserError(
            f'there is no backend {name}.{did_you_mean(name, backends)} Expected one of '
            f'{listed(backends, len(backends))}.'
        )
    backend = backends[name]
    known = backend.precisions.get(device, ())
    if precision not in known:
        does = f'it computes in {", ".join(known)} there' if known else 'it is not measured there'
        able = [
            each.name for each in backends.values() if precision in each.precisions.get(device, ())
        ]
        others = f'; {precision} have {", ".join(able)}' if able else ''
        raise UserError(f'{name} has no {precision} on {device}: {does}{others}.')
    if missing := [package for package in backend.packages if find_spec(package) is None]:
        raise UserError(f'{name} needs {", ".join(missing)}: {backend.install}')
    return backend
