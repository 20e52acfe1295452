"""The model that a method trains, its weights on disk, and the way back to a model that is evaluated.

Full fine-tuning trains the model itself; LoRA and QLoRA an update beside its linear layers; prompt tuning vectors
before its input. Base weights of the last three stay as they are.
"""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from common.models import LoadedModel, locate
from common.settings import UserError
from common.training.recipe import Recipe


def adapt(loaded: LoadedModel, recipe: Recipe) -> PreTrainedModel | PeftModel:
    """`loaded.model` made ready for the recipe's method, in place. Trained weights are float32, whatever the base is.

    Raises UserError as `check_quantisation`.
    """
    check_quantisation(loaded, recipe)
    if recipe.method == "full":
        model = loaded.model.float()  # master weights: an update far smaller than a half-precision step is kept
        model.requires_grad_(True)
        return model
    return get_peft_model(loaded.model, _peft_config(loaded, recipe))


def check_quantisation(loaded: LoadedModel, recipe: Recipe) -> None:
    """Raises UserError where the base weights are not loaded as the method needs them."""
    if loaded.quantisation != recipe.quantisation:
        raise UserError(
            f"method '{recipe.method}' trains on weights loaded with quantisation '{recipe.quantisation}', these have "
            f"'{loaded.quantisation}'; call load_model(..., quantisation=recipe.quantisation)"
        )


def _peft_config(loaded: LoadedModel, recipe: Recipe) -> LoraConfig | PromptTuningConfig:
    if recipe.method in ("lora", "qlora"):
        return LoraConfig(
            r=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha,
            lora_dropout=recipe.lora_dropout,
            target_modules=recipe.lora_targets if isinstance(recipe.lora_targets, str) else list(recipe.lora_targets),
            task_type=TaskType.CAUSAL_LM,
        )
    if recipe.method == "prompt-text":
        # peft reads the text's tokens from a tokenizer on disk.
        return PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=recipe.virtual_tokens,
            prompt_tuning_init=PromptTuningInit.TEXT,
            prompt_tuning_init_text=recipe.init_text,
            tokenizer_name_or_path=locate(loaded.id)[0],
        )
    # Random tokens of the vocabulary, as Lester et al. 2021 (arXiv:2104.08691) found best of the random starts: peft's
    # RANDOM draws vectors of unit variance, many times as long as a token's.
    return PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=recipe.virtual_tokens,
        prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
    )


def save_weights(model: PreTrainedModel | PeftModel, folder: Path) -> None:
    """What was trained, whole or not at all: an adapter, or all weights."""
    partial = folder.with_name(f"{folder.name}.partial")
    model.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def load_weights(model: PreTrainedModel | PeftModel, folder: Path) -> PreTrainedModel | PeftModel:
    """The trained weights of `folder` in `model`, which `adapt` has made."""
    if isinstance(model, PeftModel):
        model.load_adapter(folder, model.active_adapter)
        return model
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map={"": model.device})


def evaluated(model: PreTrainedModel | PeftModel, recipe: Recipe, dtype: torch.dtype) -> PreTrainedModel | PeftModel:
    """The model as it is evaluated, in the base model's dtype: a LoRA update is merged into the weights. QLoRA's stays
    beside its NF4 weights, which is what was trained, and virtual tokens stay before the input."""
    if recipe.method == "lora":
        model = model.merge_and_unload()
    return (model.to(dtype) if recipe.method in ("full", "lora") else model).eval()


def merge_adapter(loaded: LoadedModel, folder: Path) -> LoadedModel:
    """`loaded` with the LoRA or QLoRA adapter of `folder` merged into its weights, in place.

    A QLoRA adapter merged into weights that are not quantised gives another model than the trained one, a little:
    it was trained to stand beside the rounded weights. Raises UserError where `folder` holds no such adapter.
    """
    try:
        kind = json.loads((folder / "adapter_config.json").read_text())["peft_type"]
    except (OSError, ValueError, KeyError):
        kind = ""
    if kind != "LORA" or loaded.quantisation:
        raise UserError(
            f"{folder.name} holds no LoRA adapter, or the base weights are quantised: nothing can be merged"
        )
    try:
        model = PeftModel.from_pretrained(loaded.model, folder)
    except (RuntimeError, ValueError):  # sizes that differ, modules that are not there
        raise UserError(
            f"{folder.name} holds an adapter of another model than {loaded.id}; load the one it was trained on"
        ) from None
    model = model.merge_and_unload().eval()
    return LoadedModel(model, loaded.tokenizer, loaded.id, loaded.revision, loaded.quantisation)
