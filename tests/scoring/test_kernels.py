"""Attention over sequences end to end is attention over each alone."""

from __future__ import annotations

import pytest
import torch

from evalkit.scoring import kernels

LENGTHS = [1, 100, 2, 17, 64]


def _cumulative(lengths, device="cpu"):
    return torch.tensor([0, *lengths], device=device).cumsum(0).int()


@pytest.mark.parametrize("reach", [-1, 0, 8, 99])
def test_the_reference_is_the_formula(reach):
    """softmax(QKᵀ · scale) V over each sequence's own tokens, those out of reach left out."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, sum(LENGTHS), 2, 8, dtype=torch.float64)
    owner = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    at = torch.arange(sum(LENGTHS))
    seen = owner[:, None] == owner
    if reach >= 0:
        seen &= (at[:, None] - at).abs() <= reach
    scores = torch.einsum("qhd,khd->hqk", query, key) * 0.3
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    expected = torch.einsum("hqk,khd->qhd", weights, value)
    whole = _cumulative(LENGTHS)
    rest = ((whole, whole), (max(LENGTHS),) * 2, 0.3, reach)
    torch.testing.assert_close(kernels.per_sequence(query, key, value, *rest), expected)
    if reach < 0:  # of each sequence's first token alone
        counted = torch.arange(len(LENGTHS) + 1)
        first = whole[:-1].long()
        rest = ((counted, whole), (1, max(LENGTHS)), 0.3, reach)
        found = kernels.per_sequence(query[first], key, value, *rest)
        torch.testing.assert_close(found, expected[first])


def test_the_reference_takes_pytorchs_fast_way(monkeypatch):
    """Its CPU kernel of flash attention wants four dimensions; with three it computes a formula."""
    whole, seen = _cumulative([3, 4]), []
    real = torch.nn.functional.scaled_dot_product_attention

    def spy(query, *rest, **settings):
        seen.append(query.ndim)
        return real(query, *rest, **settings)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    states = torch.randn(3, 7, 2, 8)
    kernels.per_sequence(*states, (whole, whole), (4, 4), 0.3, -1)
    assert seen == [4, 4]


def test_without_cuda_or_in_fp32_the_reference_it_is():
    for device, dtype in [("cpu", torch.bfloat16), ("cuda", torch.float32)]:
        assert kernels.kernel_for(torch.device(device), dtype, 64) is kernels.per_sequence


@pytest.mark.parametrize("reach", [-1, 8])
def test_the_call_of_pytorchs_kernel_fits_the_installed_version(reach):
    """Its CUDA kernel cannot run here; its operator's own rules for types and shapes can."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    assert kernels.torch_has_varlen()
    with FakeTensorMode():
        # The layout in which BERT hands its states over: a transposed view.
        rows = torch.empty(1, 12, 4, 16, dtype=torch.bfloat16).transpose(1, 2)
        states = [rows[0].transpose(0, 1)] * 3
        cu_seqlens = torch.empty(3, dtype=torch.int32)
        out = kernels.torch_varlen(*states, (cu_seqlens,) * 2, (7, 7), 0.25, reach)
    assert (out.shape, out.dtype) == ((12, 4, 16), torch.bfloat16)
    assert states[0].stride(-1) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT CHECKED: no CUDA device")
@pytest.mark.parametrize("reach", [-1, 8])
def test_cuda_kernels_agree_with_the_reference(reach):
    torch.manual_seed(0)
    states = torch.randn(3, sum(LENGTHS), 4, 32, device="cuda", dtype=torch.bfloat16)
    cu_seqlens = _cumulative(LENGTHS, "cuda")
    rest = ((cu_seqlens,) * 2, (max(LENGTHS),) * 2, 32**-0.5, reach)
    expected = kernels.per_sequence(*states.float(), *rest)
    kernel = kernels.kernel_for(states.device, states.dtype, 32)
    assert kernel is not kernels.per_sequence
    torch.testing.assert_close(kernel(*states, *rest).float(), expected, atol=0.02, rtol=0)
