"""Which arithmetic a CPU takes, by what the processor says of itself, and how to decide otherwise."""

import pytest
import torch

from common import arithmetic, profiles
from common.profiles import resolve
from common.settings import UserError

GENOA = {"flags": "fma avx512f avx512_bf16", "vendor_id": "AuthenticAMD", "model name": "AMD EPYC", "cpu family": "25"}
SAPPHIRE = {"flags": "fma avx512f amx_bf16 amx_tile", "vendor_id": "GenuineIntel", "model name": "Intel Xeon"}
OLDER = {"flags": "fma avx512f avx512_vnni", "vendor_id": "GenuineIntel", "model name": "Intel Xeon"}
MILAN = {"flags": "fma avx2", "vendor_id": "AuthenticAMD", "model name": "AMD EPYC"}


@pytest.fixture
def cpu(monkeypatch):
    monkeypatch.delenv(arithmetic.VARIABLE, raising=False)

    def install(fields):
        monkeypatch.setattr(arithmetic, "_cpu", lambda field: fields.get(field, ""))

    return install


@pytest.mark.parametrize(
    ("fields", "precision"),
    [(GENOA, "bfloat16"), (SAPPHIRE, "bfloat16"), (OLDER, "float32"), (MILAN, "float32"), ({}, "float32")],
    ids=["AVX512-BF16", "AMX", "AVX512 alone", "AVX2", "nothing is known"],
)
def test_bfloat16_is_taken_where_the_processor_multiplies_it(cpu, fields, precision):
    cpu(fields)
    assert arithmetic.cpu_precision() == precision == resolve("cpu").precision
    assert arithmetic.native_bfloat16() == (precision == "bfloat16")
    assert resolve("smoke").precision == "float32"  # small enough everywhere, and the same everywhere


@pytest.mark.parametrize("name", arithmetic.PRECISIONS)
def test_the_environment_decides_otherwise(cpu, monkeypatch, name):
    monkeypatch.setattr(profiles, "multiplies_bfloat16", lambda: True)
    for fields in (GENOA, OLDER):
        cpu(fields)
        monkeypatch.setenv(arithmetic.VARIABLE, name)
        assert resolve("cpu").precision == name


def test_another_precision_is_one_line(cpu, monkeypatch):
    cpu(GENOA)
    monkeypatch.setenv(arithmetic.VARIABLE, "float16")
    with pytest.raises(UserError, match="^TEXT_TO_SQL_PRECISION is 'float16'; give one of float32, bfloat16, or leave"):
        resolve("cpu")


def test_bfloat16_of_a_processor_that_cannot_is_one_line(cpu, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setenv(arithmetic.VARIABLE, "bfloat16")
    cpu(MILAN)
    with pytest.raises(UserError, match="^TEXT_TO_SQL_PRECISION is 'bfloat16', which this processor cannot multiply"):
        resolve("cpu")
    assert resolve("smoke").precision == "float32"
    monkeypatch.setenv(arithmetic.VARIABLE, "float32")
    assert resolve("cpu").precision == "float32"
    monkeypatch.setenv(arithmetic.VARIABLE, "bfloat16")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # PyTorch's own products know it anywhere
    assert resolve("cpu").precision == "bfloat16"


def test_mkl_is_slow_on_others_processors(cpu):
    assert [cpu(fields) or arithmetic.has_slow_mkl() for fields in (GENOA, SAPPHIRE, {})] == [True, False, False]


def test_the_processor_is_named_by_kind(cpu):
    cpu(GENOA | {"model": "17"})
    assert arithmetic.processor() == "AMD EPYC (family 25, model 17), native bfloat16"
    cpu(OLDER)
    assert arithmetic.processor() == "Intel Xeon, no native bfloat16"


def test_this_machine_is_named():
    assert arithmetic.processor().endswith("native bfloat16")
