"""What identifies PyTorch's tensors and modules."""

from __future__ import annotations

from typing import Any

from hypernodes.signature import Parts, Raw, Unidentifiable, identify, public_state


def register_torch() -> None:
    """Teach `identify` about PyTorch."""
    import torch

    @identify.register(torch.Tensor)
    def _tensor(value: Any) -> Parts:
        about = [
            type(value), str(value.dtype), tuple(value.shape), value.device.type,
            value.requires_grad,
        ]  # fmt: skip
        if value.is_quantized or value.is_meta:
            raise Unidentifiable(f"a tensor of type {value.dtype} on {value.device}")
        bare = value.detach()
        if value.layout is not torch.strided:
            entries = bare.to_sparse_coo().coalesce()
            return Parts("sparse tensor", [*about, str(value.layout), entries.indices(),
                                           entries.values()])  # fmt: skip
        flat = bare.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return Parts("tensor", [*about, Raw(flat.view(torch.uint8).numpy())])

    @identify.register(torch.nn.Module)
    def _module(value: Any) -> Parts:
        state = vars(value)
        held = [state[name] for name in ("_parameters", "_buffers", "_modules")]
        return Parts("torch module", [type(value), public_state(value), *map(dict, held)])
