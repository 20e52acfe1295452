"""Trained weights merged into the base model: `python -m common.ask.export --run sft-lora --to FOLDER`.

What comes out is a plain model folder that transformers loads by itself. llama.cpp's convert_hf_to_gguf.py makes a GGUF
file of it. An adapter that was trained beside four-bit weights is merged into whole ones, which gives another model, a
little. Not covered: virtual tokens of prompt tuning, which stand before the input and in no weight.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from common.ask.places import base_model, expanded, looking
from common.pipes import piped
from common.settings import UserError, run_cli


def export(name: str, folder: Path, *, profile: str = "auto", model_id: str = "") -> Path:
    """Write the merged float32 weights and the tokenizer of the record `name` to a new folder; returns it.

    Raises UserError as `load_run`, where the folder is there already, and for what cannot be merged.
    """
    from common.ask.weights import weights_of
    from common.models import load_model
    from common.profiles import resolve
    from common.settings import writable, writing
    from common.training.adapters import load_weights, merge_adapter

    folder = expanded(folder)
    with looking(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} is there already; name a folder that is not")
    sizes = resolve(profile)
    sizes = replace(sizes, model_id=base_model(model_id) or sizes.model_id)
    weights, _ = weights_of(name, sizes)
    loaded = load_model(sizes.model_id)
    if (weights / "adapter_config.json").is_file():
        loaded = merge_adapter(loaded, weights)
    else:
        load_weights(loaded.model, weights)
    with writing(folder):
        writable(folder)
        try:
            loaded.model.save_pretrained(folder)
            loaded.tokenizer.save_pretrained(folder)
        except BaseException:  # half a model would be in the way of the next call
            for path in folder.iterdir():
                path.unlink()
            raise
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m common.ask.export", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--run", required=True, help="a record's name, such as sft-lora")
    parser.add_argument("--to", required=True, type=Path, help="a folder that is not there yet")
    parser.add_argument("--profile", default="auto", help="smoke, cpu, t4 or h100; auto looks at the hardware")
    parser.add_argument("--model", default="", help="the base model: a hub id, a folder or a .gguf file")
    given = parser.parse_args()
    folder = export(given.run, given.to, profile=given.profile, model_id=given.model)
    print(f"written: {folder}; `python -m common.ask FILE QUESTION --model {folder}` asks it")


if __name__ == "__main__":
    run_cli(piped(main))
