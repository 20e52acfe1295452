"""A GGUF file's weights and tokenizer as a folder that transformers loads: dequantised to float32, once.

A module of its own, since what it writes is kept on disk under a digest of this code: a change here, and of nothing
else, converts anew. The architectures and quantisations are those that transformers reads.
"""

from pathlib import Path

import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils
from transformers.utils import logging


def convert(gguf: Path, folder: Path) -> None:
    """Write the model of `gguf` to `folder`. The embedded model takes half a minute."""
    logging.disable_progress_bar()
    modeling_gguf_pytorch_utils.tqdm = tqdm  # not its own, which is a widget in a notebook's output
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are plain float32 now; what says otherwise would forbid saving them.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
