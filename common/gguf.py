"""A GGUF file's weights and tokenizer as a folder that transformers loads: dequantised to float32, once.

A module of its own, since what it writes is kept on disk under a digest of this code: a change here, and of nothing
else, converts anew. The architectures and quantisations are those that transformers reads. Float32, since a quantised
weight is a product of up to 21 bits: bfloat16 and float16 would round it once more.
"""

from pathlib import Path

import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, modeling_gguf_pytorch_utils
from transformers.utils import logging

# Two quantisations of one matrix differ by some per cent of its norm (by 4.4 in Qwen2.5-Coder-0.5B's file, 5 bits
# against 8), two matrices that have nothing to do with each other by 141.
SAME = 0.5


def convert(gguf: Path, folder: Path) -> None:
    """Write the model of `gguf` to `folder`. The embedded model takes half a minute."""
    logging.disable_progress_bar()
    modeling_gguf_pytorch_utils.tqdm = tqdm  # not its own, which is a widget in a notebook's output
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are plain float32 now; what says otherwise would forbid saving them.
    del model.config.quantization_config
    model.hf_quantizer = None
    tie_head(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tie_head(model: PreTrainedModel) -> bool:
    """Make the head and the embedding one matrix again where the file has it twice; whether it did.

    llama.cpp may write the head of a tied model a second time, with more bits. transformers takes any file with a head
    for an untied model, which would train the two apart and hold both. The head's values stay: they are the finer ones.
    """
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    if head is embedding or head.shape != embedding.shape:
        return False
    with torch.no_grad():
        if torch.dist(head, embedding) > SAME * head.norm():
            return False
    model.get_input_embeddings().weight = head
    model.config.tie_word_embeddings = True
    model.tie_weights()
    return True
