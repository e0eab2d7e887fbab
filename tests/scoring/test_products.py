"""Matrix products by either library: the same values, and the library by the processor."""

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from transformers.activations import ACT2FN

from evalkit.scoring import products


@pytest.fixture(scope="module")
def layers():
    torch.manual_seed(0)
    return [nn.Linear(96, width) for width in (96, 40, 200)]


@pytest.mark.parametrize("rows", [1, 7, 1024, 1500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("onednn", [True, False])
def test_a_product_is_the_layers_side_by_side(monkeypatch, layers, rows, dtype, onednn):
    if onednn and dtype == torch.bfloat16 and not products.prefers_onednn(dtype):
        pytest.skip("this processor has no bfloat16 in oneDNN")
    monkeypatch.setattr(products, "prefers_onednn", lambda _: onednn)
    x = torch.randn(rows, 96)
    found = products.product(layers, dtype)(x.to(dtype))
    wanted = torch.cat([layer(x) for layer in layers], dim=1)
    assert found.dtype == dtype
    assert found.shape == (rows, 336)
    off = 1e-5 if dtype == torch.float32 else 0.03
    assert torch.allclose(found.float(), wanted, atol=off, rtol=off)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("name", ["gelu", "gelu_new", "relu"])
def test_a_product_under_an_activation(monkeypatch, layers, dtype, onednn, name):
    if onednn and dtype == torch.bfloat16 and not products.prefers_onednn(dtype):
        pytest.skip("this processor has no bfloat16 in oneDNN")
    monkeypatch.setattr(products, "prefers_onednn", lambda _: onednn)
    x, activation = 3 * torch.randn(50, 96), ACT2FN[name]
    called = []

    def counted(values):
        called.append(values)
        return activation(values)

    counted.act = getattr(activation, "act", None)
    found = products.product(layers, dtype, counted)(x)
    wanted = activation(torch.cat([layer(x) for layer in layers], dim=1))
    assert found.dtype == dtype
    off = 1e-5 if dtype == torch.float32 else 0.05
    assert torch.allclose(found.float(), wanted, atol=off, rtol=off)
    assert bool(called) is not (onednn and name == "gelu")


def test_neighbours_in_one_dtype_are_one_product(layers):
    half, whole = torch.bfloat16, torch.float32
    x = torch.randn(5, 96)
    wanted = torch.cat([layer(x) for layer in layers], dim=1)
    for dtypes, widths in (
        ((whole, whole, whole), [336]),
        ((whole, whole, half), [136, 200]),
        ((whole, half, half), [96, 240]),
        ((whole, half, whole), [96, 40, 200]),
    ):
        parts = [part(x) for part in products.products(zip(layers, dtypes, strict=True))]
        assert [part.shape[1] for part in parts] == widths
        assert torch.allclose(torch.cat([part.float() for part in parts], 1), wanted, atol=0.03)
        kept = parts[0]
        assert torch.allclose(kept, wanted[:, : widths[0]], atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_a_hastened_model_computes_the_same(monkeypatch, bias):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40, bias=bias), nn.GELU(), nn.Linear(40, 1, bias=bias))
    x = torch.randn(3, 5, 24)  # batch, length, width, as transformers' models have it
    with torch.inference_mode():
        wanted = model(x)
        monkeypatch.setattr(products, "prefers_onednn", lambda _: False)
        products.hasten(model)
        assert "forward" not in vars(model[0])
        monkeypatch.setattr(products, "prefers_onednn", lambda _: True)
        products.hasten(model)
        assert "forward" in vars(model[0])
        assert torch.allclose(model(x), wanted, atol=1e-6)
        assert torch.allclose(model(x.transpose(0, 1)), wanted.transpose(0, 1), atol=1e-6)


def test_weights_are_packed_where_onednn_is_preferred(monkeypatch, layers):
    packed = []
    monkeypatch.setattr(products, "packed_product", lambda *given: packed.append(given))
    for preferred in (False, True):
        monkeypatch.setattr(products, "prefers_onednn", lambda _, yes=preferred: yes)
        products.product(layers, torch.float32)
    ((weight, bias, gelu),) = packed
    assert not gelu
    x = torch.randn(3, 96)
    assert torch.equal(linear(x, weight, bias)[:, :96], layers[0](x))


@pytest.mark.parametrize(
    ("vendor", "capability", "expected"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("AuthenticAMD", "AVX2", False),
        ("GenuineIntel", "AVX512", False),
    ],
)
def test_float32_is_onednns_on_amds_avx512(monkeypatch, tmp_path, vendor, capability, expected):
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: é\n", encoding="latin-1")
    monkeypatch.setattr(products, "CPUINFO", told)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert products.prefers_onednn.__wrapped__(torch.float32) is expected


def test_without_cpuinfo_the_platform_tells(monkeypatch, tmp_path):
    monkeypatch.setattr(products, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(products.platform, "processor", lambda: "AMD64 Family 25, AuthenticAMD")
    assert products.is_amd()
    monkeypatch.setattr(products.platform, "processor", lambda: "")
    assert not products.is_amd()


def test_without_the_operators_or_in_other_dtypes_it_is_linear(monkeypatch):
    assert not products.prefers_onednn.__wrapped__(torch.float16)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not products.prefers_onednn.__wrapped__(torch.bfloat16)
