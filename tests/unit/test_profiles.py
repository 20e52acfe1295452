"""The published sizes are worked out here; the hardware is a stand-in for torch, so that no GPU is needed."""

import dataclasses
import sys
from types import SimpleNamespace

import pytest

from common.profiles import EMBEDDED_MODEL, PROFILES, TINY_MODEL, Profile, Stage, resolve
from common.settings import UserError
from common.training.architecture import KNOWN

QWEN = "Qwen/Qwen3-0.6B"
CODER = "Qwen/Qwen2.5-Coder-0.5B-Instruct"
# Published: 4,096/1,024, then twice as many, then 100,000 rows of which 2.5 % validate; 5,851 rows to test on.
ROWS = 100_000
PUBLISHED = ((2**12, 2**10), (2**13, 2**11), (ROWS - ROWS // 40, ROWS // 40))
TABLE = {
    "smoke": (TINY_MODEL, "embedded", ((16, 8), (24, 8), (32, 16)), 16, 24, "float32"),
    "cpu": (CODER, "embedded", ((32, 96), (48, 96), (384, 96)), 640, 96, "float32"),
    "t4": (QWEN, "gretel", PUBLISHED, 5_851, 512, "float16"),
    "h100": (QWEN, "gretel", PUBLISHED, 5_851, 512, "bfloat16"),
}


def hardware(capability: tuple[int, int] | None) -> SimpleNamespace:
    """A stand-in for torch on a machine with such a GPU, or none."""
    cuda = SimpleNamespace(is_available=lambda: capability is not None, get_device_capability=lambda *_: capability)
    return SimpleNamespace(cuda=cuda)


LARGER = {
    "smoke": "tiny-random-qwen3-4-layers",
    "cpu": "Qwen/Qwen2.5-Coder-1.5B-Instruct",
    "t4": "Qwen/Qwen3-8B",
    "h100": "Qwen/Qwen3-8B",
}


def test_there_is_a_row_of_the_table_for_each_profile():
    assert tuple(PROFILES) == tuple(TABLE)
    assert EMBEDDED_MODEL == "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.mark.parametrize("name", TABLE)
def test_profile_is_as_designed(name, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_PRECISION", "float32")  # else the processor's own
    profile = resolve(name)
    stages = tuple((stage.train_rows, stage.valid_rows) for stage in profile.stages)
    sizes = (profile.model_id, profile.data, stages, profile.test_rows, profile.max_new_tokens, profile.precision)
    assert (profile.name, sizes) == (name, TABLE[name])
    assert profile.larger_model_id == LARGER[name] and {profile.model_id, profile.larger_model_id} <= KNOWN.keys()
    assert KNOWN[profile.larger_model_id].weights > 1.3 * KNOWN[profile.model_id].weights


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_sizes_are_possible(profile):
    assert profile.other_test_rows == {"smoke": 8, "cpu": 320}.get(profile.name, 0)
    for field in ("per_device_train_batch_size", "eval_batch_size", "max_length"):
        assert getattr(profile, field) >= 1
    assert profile.max_new_tokens < profile.max_length
    trained, validated = zip(*((stage.train_rows, stage.valid_rows) for stage in profile.stages), strict=True)
    assert list(trained) == sorted(set(trained)) and list(validated) == sorted(validated)


@pytest.mark.parametrize("name", TABLE)
def test_a_device_batch_leaves_enough_groups_to_sort_by_length(name):
    """Two groups of an effective batch of 32 are a quarter padding, four an eighth (see the profile)."""
    assert 32 // PROFILES[name].per_device_train_batch_size >= 4


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        (None, "cpu"),
        ((6, 0), "t4"),
        ((7, 5), "t4"),  # a T4: no bf16
        ((8, 0), "h100"),  # bf16 came with 8.0
        ((9, 0), "h100"),  # an H100
        ((10, 0), "h100"),
    ],
)
def test_auto_follows_the_hardware(monkeypatch, capability, name):
    monkeypatch.setitem(sys.modules, "torch", hardware(capability))
    assert resolve("auto").name == PROFILES[name].name == name


def test_a_named_profile_does_not_look_at_the_hardware(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would raise
    assert resolve("h100").name == "h100"


@pytest.mark.parametrize("name", ["", "CPU", "a100", "cpu ", "auto,cpu"])
def test_an_unknown_profile_names_those_there_are(name):
    with pytest.raises(UserError) as error:
        resolve(name)
    assert str(error.value) == f"unknown profile '{name}'; choose one of auto, smoke, cpu, t4, h100"


@pytest.mark.parametrize(("thing", "field"), [(PROFILES["cpu"], "test_rows"), (Stage(1, 1, 1), "train_rows")])
def test_profiles_are_frozen(thing, field):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, field, 5)


def test_an_override_leaves_the_profile_as_it_was():
    assert dataclasses.replace(resolve("cpu"), test_rows=5).test_rows == 5
    assert resolve("cpu").test_rows == 640 and isinstance(resolve("cpu"), Profile)
