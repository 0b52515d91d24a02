"""What a training step sets and what it understands of errors."""

from __future__ import annotations

import torch

from segue.training.loop import exact_sums, out_of_memory


def test_the_order_of_sums_is_put_back_as_it_was():
    try:
        for warn_only in (True, False):
            torch.use_deterministic_algorithms(True, warn_only=warn_only)
            for device in ("cpu", "cuda"):
                with exact_sums(device):
                    assert torch.are_deterministic_algorithms_enabled()
                assert torch.is_deterministic_algorithms_warn_only_enabled() == warn_only
    finally:
        torch.use_deterministic_algorithms(False)


def test_what_libraries_of_a_gpu_say_of_a_lack_of_memory_is_understood():
    for words in (
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ):
        assert out_of_memory(RuntimeError(words))
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"))
    assert not out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
