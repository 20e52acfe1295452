"""The model that a method trains, its weights on disk, and the way back to a model that is evaluated.

Full fine-tuning trains the model itself; LoRA and QLoRA an update beside its linear layers; prompt tuning vectors
before its input. Base weights of the last three stay as they are. A training starts from the base, or from what an
earlier training has saved.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from safetensors.torch import load_file
from transformers import PreTrainedModel

from common.models import LoadedModel
from common.settings import UserError
from common.training.recipe import Recipe


def adapt(loaded: LoadedModel, recipe: Recipe, start: Path | None = None) -> PreTrainedModel | PeftModel:
    """`loaded.model` made ready for the recipe's method, in place. Trained weights are float32, whatever the base is.

    start: a folder of trained weights of the same method and size to go on from; None begins at the base. Raises
    UserError as `check_quantisation`, for a folder that holds other weights than the recipe trains, and where peft does
    not know such layers.
    """
    check_quantisation(loaded, recipe)
    if start:
        check_start(loaded, recipe, start)
    loaded.model.is_changed = True  # see `check_new`
    if recipe.method == "full":
        model = loaded.model.float()  # master weights: an update far smaller than a half-precision step is kept
        if start:
            load_weights(model, start)
        model.requires_grad_(True)
        return model
    config = _peft_config(loaded, recipe)
    if start:
        model = _with_adapter(loaded, start, config, recipe)
    else:
        try:
            model = get_peft_model(loaded.model, config)
        except ValueError as error:  # Mamba's layers take no LoRA, MPT's config does not name its sizes
            raise UserError(f"peft cannot adapt {loaded.id} by '{recipe.method}': {error}".splitlines()[0]) from None
        if recipe.quantisation:
            # As TRL does before training; done here, the weights that are trained are those that stand here.
            for weight in _trained(model):
                weight.data = weight.data.to(torch.bfloat16)
    for weight in _trained(model):
        weight.data = weight.data.float()
    for saved in model.peft_config.values():  # what is saved names the model, not a folder of this machine
        saved.base_model_name_or_path = loaded.id
        if getattr(saved, "tokenizer_name_or_path", None):
            saved.tokenizer_name_or_path = loaded.id
    return model


def _trained(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def check_quantisation(loaded: LoadedModel, recipe: Recipe) -> None:
    """Raises UserError where the base weights are not loaded as the method needs them."""
    if loaded.quantisation != recipe.quantisation:
        raise UserError(
            f"method '{recipe.method}' trains on weights loaded with quantisation '{recipe.quantisation}', these have "
            f"'{loaded.quantisation}'; call load_model(..., quantisation=recipe.quantisation)"
        )


def check_new(loaded: LoadedModel) -> None:
    """Raises UserError for a model that a training has changed: what starts from it would not start from the base."""
    if isinstance(loaded.model, PeftModel) or getattr(loaded.model, "is_changed", False):
        raise UserError(
            f"this {loaded.id} was trained already; load it anew with load_model, and name trained weights by start="
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
            tokenizer_name_or_path=loaded.source,
            tokenizer_kwargs={"revision": loaded.commit} if loaded.commit else None,
        )
    # Random tokens of the vocabulary, as Lester et al. 2021 (arXiv:2104.08691) found best of the random starts: peft's
    # RANDOM draws vectors of unit variance, many times as long as a token's.
    return PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=recipe.virtual_tokens,
        prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
    )


def _saved_config(folder: Path) -> dict:
    """What peft has written of an adapter; {} where the folder holds none."""
    try:
        return json.loads((folder / "adapter_config.json").read_text())
    except (OSError, ValueError):
        return {}


def check_start(loaded: LoadedModel, recipe: Recipe, start: Path) -> None:
    """Raises UserError where `start` holds other weights than a training by the recipe saves."""
    config = _saved_config(start)
    saved = config.get("peft_type", "full" if (start / "config.json").exists() else "")
    kind = {"full": "full", "lora": "LORA", "qlora": "LORA"}.get(recipe.method, "PROMPT_TUNING")
    if saved != kind:
        held = {"full": "all weights", "LORA": "a LoRA adapter", "PROMPT_TUNING": "virtual tokens"}.get(saved)
        raise UserError(
            f"{start} holds {held or 'no trained weights'}; a training by '{recipe.method}' cannot start from it"
        )
    sizes = {}
    if kind == "LORA":
        sizes = {"r": recipe.lora_rank, "lora_alpha": recipe.lora_alpha, "target_modules": _targets(loaded, recipe)}
    elif kind != "full":
        sizes = {"num_virtual_tokens": recipe.virtual_tokens}
    for name, value in sizes.items():
        size = config.get(name)
        if isinstance(size, list):  # peft saves modules by their full names where it was told none
            size = sorted({module.rpartition(".")[2] for module in size})
        if value != size:
            raise UserError(
                f"{start} holds an adapter with {name} {size}, the recipe asks for {value}; "
                "train with the adapter's own, or merge it first (merge_adapter) and train a new one beside it"
            )


def _targets(loaded: LoadedModel, recipe: Recipe) -> list[str] | str:
    """The modules that LoRA stands beside, as peft saves them: names in order, or a pattern."""
    if recipe.lora_targets != "all-linear":
        return recipe.lora_targets if isinstance(recipe.lora_targets, str) else sorted(recipe.lora_targets)
    head = loaded.model.get_output_embeddings()
    modules = loaded.model.named_modules()
    linear = (name for name, module in modules if isinstance(module, torch.nn.Linear) and module is not head)
    return sorted({name.rpartition(".")[2] for name in linear})


def _with_adapter(loaded: LoadedModel, start: Path, config, recipe: Recipe) -> PeftModel:
    """The model with the adapter of `start`, to be trained on."""
    if recipe.method.startswith("prompt"):  # peft loads virtual tokens for answers only
        model = get_peft_model(loaded.model, config)
        load_weights(model, start)
        return model
    saved = PeftConfig.from_pretrained(start)
    saved.lora_dropout = recipe.lora_dropout
    return _load_adapter(loaded, start, config=saved, is_trainable=True)


def _load_adapter(loaded: LoadedModel, folder: Path, **options) -> PeftModel:
    try:
        return PeftModel.from_pretrained(loaded.model, folder, **options)
    except (RuntimeError, ValueError):  # sizes that differ, modules that are not there
        raise UserError(
            f"{folder.name} holds an adapter of another model than {loaded.id}; load the one it was trained on"
        ) from None


def save_weights(model: PreTrainedModel | PeftModel, folder: Path) -> None:
    """What was trained, whole or not at all: an adapter, or all weights."""
    partial = folder.with_name(f"{folder.name}.partial")
    options = {}
    if isinstance(model, PeftModel):
        # The embedding is never trained; whether it was, peft would ask the hub.
        options = {"selected_adapters": [model.active_adapter], "save_embedding_layers": False}
    model.save_pretrained(partial, **options)
    if (card := partial / "README.md").exists() and isinstance(model, PeftModel):  # peft's card names a local folder
        name = model.active_peft_config.base_model_name_or_path
        card.write_text(card.read_text().replace(model.get_base_model().config._name_or_path or name, name))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def load_weights(model: PreTrainedModel | PeftModel, folder: Path) -> None:
    """Put the trained weights of `folder` into `model`, which `adapt` has made; no second model is loaded.

    Raises UserError where they are of another model.
    """
    if isinstance(model, PeftModel):
        model.load_adapter(folder, model.active_adapter)
        return
    tensors: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        tensors |= load_file(path, device=str(model.device))
    try:
        result = model.load_state_dict(tensors, strict=False)
    except RuntimeError:  # sizes that differ
        result = None
    tied = set(getattr(model, "all_tied_weights_keys", None) or getattr(model, "_tied_weights_keys", None) or ())
    if result is None or result.unexpected_keys or set(result.missing_keys) - tied:
        raise UserError(f"{folder} holds the weights of another model; load the one they were trained from")


def for_evaluation(
    model: PreTrainedModel | PeftModel, recipe: Recipe, dtype: torch.dtype
) -> tuple[PreTrainedModel | PeftModel, bool]:
    """(the model as it is evaluated, whether an adapter was merged into it); base weights in their own `dtype`.

    A LoRA update is merged into float32 weights, which changes a logit by rounding alone. In half precision most of it
    would be rounded away, so there it stays beside the base, as in training; QLoRA's stays beside its NF4 weights, and
    virtual tokens before the input.
    """
    merged = recipe.method == "lora" and dtype == torch.float32
    if merged:
        model = model.merge_and_unload()
    return (model.to(dtype) if recipe.method == "full" else model).eval(), merged


@contextmanager
def evaluation_weights(model: PreTrainedModel | PeftModel, recipe: Recipe, dtype: torch.dtype) -> Iterator[None]:
    """Within it, a model in training has the weights that `for_evaluation` would give it; then those in training again.

    Full fine-tuning trains float32 weights of a model that is evaluated in half precision. What answers on the way is
    the model that would be handed back.
    """
    parameters = list(model.parameters()) if recipe.method == "full" else []
    trained = [parameter.data for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.data = parameter.data.to(dtype)
        yield
    finally:
        for parameter, data in zip(parameters, trained, strict=True):
            parameter.data = data


def merge_adapter(loaded: LoadedModel, folder: Path) -> LoadedModel:
    """`loaded` with the LoRA or QLoRA adapter of `folder` merged into its weights, in place; they are float32 then.

    A QLoRA adapter merged into weights that are not quantised gives another model than the trained one, a little:
    it was trained to stand beside the rounded weights. Raises UserError where `folder` holds no such adapter.
    """
    if _saved_config(folder).get("peft_type") != "LORA" or loaded.quantisation:
        raise UserError(
            f"{folder.name} holds no LoRA adapter, or the base weights are quantised: nothing can be merged"
        )
    loaded.model.float()  # half precision would round most of the update away
    return replace(loaded, model=_load_adapter(loaded, folder).merge_and_unload().eval())
