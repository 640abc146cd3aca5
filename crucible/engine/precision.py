"""Whether a device computes in bfloat16 itself, or only imitates it slowly."""

from __future__ import annotations

import torch


def bfloat16_is_native(device: torch.device) -> bool:
    """Whether bfloat16 matrix products are faster than float32 ones on this device.

    A CPU needs AVX512-BF16 or AMX for it. Without them a product was measured 8 times slower than in float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return any(_cpu_has(feature) for feature in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return False


def _cpu_has(feature: str) -> bool:
    probe = getattr(torch.cpu, feature, None)
    return probe is not None and bool(probe())
