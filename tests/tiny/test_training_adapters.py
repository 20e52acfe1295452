"""What full fine-tuning, LoRA and QLoRA leave behind: precision, merging, and 4-bit weights that stay as they are."""

import json
from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from common import evaluation
from common.generation import complete
from common.models import base_digest, load_model
from common.profiles import TINY_MODEL
from common.prompts import prompt_ids
from common.settings import UserError
from common.training.adapters import adapt, for_evaluation, load_weights, merge_adapter, save_weights
from common.training.recipe import METHODS, Recipe
from common.training.sft import train_sft
from common.training.trainer import Clock

SCALE = 8 / 4  # lora_alpha / lora_rank of `short`


@pytest.fixture(scope="module")
def prompts(rows, tiny):
    tokenizer = tiny().tokenizer
    return [prompt_ids(example, tokenizer) for example in rows[0][:8] + rows[1]]


def logits(loaded, prompt):
    with torch.no_grad():
        return loaded.model(input_ids=torch.tensor([prompt])).logits[0]


def updated(base, files):
    """The base's tensors with scale × B A added by hand."""
    tensors = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    for name, down in files.items():
        if ".lora_A." in name:
            up = files[name.replace("lora_A", "lora_B")]
            tensors[name.removeprefix("base_model.model.").replace(".lora_A", "")] += SCALE * up @ down
    return tensors


# Full


def test_full_trains_float32_weights_of_a_bfloat16_model_and_hands_it_back_in_bfloat16(rows, short, saved, tmp_path):
    """Updates smaller than a step of bfloat16 are kept in the master weights."""
    loaded = load_model(TINY_MODEL, precision="bfloat16")
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    run = train_sft(loaded, *rows, short.with_values({"method": "full", "learning_rate": 1e-4}), folder=tmp_path)
    files, now = saved(run.weights), run.loaded.model.state_dict()
    assert {tensor.dtype for tensor in files.values()} == {torch.float32}
    assert {p.dtype for p in run.loaded.model.parameters()} == {torch.bfloat16}
    for name, tensor in files.items():
        assert torch.equal(now[name], tensor.bfloat16())
        assert 0 < (tensor - before[name].float()).abs().max() < 2e-3
    norms = [name for name in files if "norm" in name]
    assert norms and all(torch.equal(now[name], before[name]) for name in norms)  # 1 ± 7e-4 rounds to 1


# LoRA


def test_adapter_and_merged_model_give_the_same_greedy_output(tiny, trained, prompts):
    run, base = trained("lora"), tiny()
    beside = tiny()
    beside = replace(beside, model=PeftModel.from_pretrained(beside.model, run.weights).eval())
    assert not isinstance(run.loaded.model, PeftModel)
    assert len(prompts) == 16
    merged = complete(run.loaded, prompts, max_new_tokens=24)
    assert merged == complete(beside, prompts, max_new_tokens=24)
    assert sum(one != other for one, other in zip(merged, complete(base, prompts, max_new_tokens=24), strict=True)) > 12
    for prompt in prompts[:4]:
        assert (logits(run.loaded, prompt) - logits(beside, prompt)).abs().max() < 1e-4
        assert (logits(run.loaded, prompt) - logits(base, prompt)).abs().max() > 0.1


def test_a_merged_model_holds_the_update_worked_out_by_hand(tiny, trained, saved):
    run = trained("lora")
    for found in (run.loaded, merge_adapter(tiny(), run.weights)):
        now, base = found.model.state_dict(), tiny().model.state_dict()
        for name, tensor in updated(tiny().model, saved(run.weights)).items():
            assert torch.allclose(now[name], tensor, rtol=0, atol=1e-5), name
            assert torch.equal(now[name], base[name]) == ("proj" not in name), name
        assert not found.model.training


def test_lora_beside_a_bfloat16_model_is_trained_in_float32(rows, short, saved, tmp_path):
    run = train_sft(load_model(TINY_MODEL, precision="bfloat16"), *rows, short, folder=tmp_path)
    files = saved(run.weights)
    assert {tensor.dtype for tensor in files.values()} == {torch.float32}
    assert not any(torch.equal(tensor, tensor.bfloat16().float()) for tensor in files.values())
    parts = {"lora_" in name: p.dtype for name, p in run.loaded.model.named_parameters()}
    assert parts == {True: torch.float32, False: torch.bfloat16} and not run.merged


def test_lora_targets_are_those_that_are_named(rows, tiny, short, saved, tmp_path):
    recipe = short.with_values({"lora_targets": ["q_proj", "v_proj"], "epochs": 1, "evaluations": 1, "lora_rank": 2})
    run = train_sft(tiny(), *rows, recipe, folder=tmp_path)
    assert {name.split(".")[-3] for name in saved(run.weights)} == {"q_proj", "v_proj"}
    assert run.trainable_parameters == 2 * 2 * ((64 + 64) + (64 + 32))
    config = json.loads((run.weights / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (2, 8, 0.0)


# Answers on the way


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_answers_on_the_way_is_the_model_as_it_is_handed_back(precision, method, rows, one, tmp_path, monkeypatch):
    """Full fine-tuning in bfloat16 trains float32 weights under autocast; laid out so, they met bfloat16 inputs."""
    recipe = one.with_values({"method": method, "score_rows": 4})
    loaded = load_model(TINY_MODEL, precision=precision, quantisation=recipe.quantisation)
    answers, dtypes = [], []
    real = evaluation.complete

    def answered(*arguments, **options):
        dtypes.append({name: p.dtype for name, p in arguments[0].model.named_parameters()})
        completions = real(*arguments, **options)
        answers.append([completion.token_ids for completion in completions])
        return completions

    monkeypatch.setattr(evaluation, "complete", answered)
    run = train_sft(loaded, *rows, recipe, folder=tmp_path, max_new_tokens=12)
    evaluation.answer_means(run.loaded, rows[1][:4], max_new_tokens=12, batch_size=32)
    on_the_way, afterwards = answers
    assert on_the_way == afterwards and all(on_the_way)
    assert run.merged or dtypes[0] == dtypes[1]


# QLoRA


def test_qlora_leaves_4_bit_weights_and_trains_float32(tiny, trained, saved):
    run = trained("qlora")
    kinds = [type(p).__name__ for name, p in run.loaded.model.named_parameters() if "base_layer" in name]
    assert kinds == ["Params4bit"] * 14
    assert run.loaded.quantisation == "nf4" and isinstance(run.loaded.model, PeftModel)
    files = saved(run.weights)
    assert {tensor.dtype for tensor in files.values()} == {torch.float32}
    # Trained in bfloat16, every value would be one that bfloat16 has.
    assert not any(torch.equal(tensor, tensor.bfloat16().float()) for tensor in files.values())


def test_qlora_trains_in_float32_from_the_first_step_on(rows, tiny, short, tmp_path, monkeypatch):
    kinds = set()

    def look(self, *_, model=None, optimizer=None, **kwargs):
        kinds.update((p.dtype, p.grad.dtype) for group in optimizer.param_groups for p in group["params"])

    monkeypatch.setattr(Clock, "on_pre_optimizer_step", look, raising=False)
    recipe = short.with_values({"method": "qlora", "epochs": 1, "evaluations": 1})
    train_sft(tiny(recipe), *rows, recipe, folder=tmp_path)
    assert kinds == {(torch.float32, torch.float32)}


def base_state(model):
    return {n.replace(".base_layer", ""): t for n, t in model.get_base_model().state_dict().items() if "lora" not in n}


def test_evaluations_leave_the_4_bit_weights_as_they_are(rows, tiny, short, tmp_path):
    recipe = short.with_values({"method": "qlora", "epochs": 1})
    before = {name: tensor.clone() for name, tensor in tiny(recipe).model.state_dict().items()}
    run = train_sft(tiny(recipe), *rows, recipe, folder=tmp_path)
    now = base_state(run.loaded.model)
    assert now.keys() == before.keys() and any("absmax" in name for name in now)
    assert all(torch.equal(now[name], before[name]) for name in before)


def test_gradients_pass_4_bit_weights_after_an_evaluation(tiny, short, prompts):
    recipe, ids = short.with_values({"method": "qlora"}), torch.tensor([prompts[0]])
    model = adapt(tiny(recipe), recipe)
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    model.train()
    model(input_ids=ids, labels=ids).loss.backward()
    assert all(p.grad.norm() > 0 for name, p in model.named_parameters() if "lora_B" in name)


def test_a_qlora_adapter_merged_into_weights_that_are_not_quantised_is_another_model_a_little(
    tiny, trained, saved, prompts
):
    run = trained("qlora")
    merged = merge_adapter(tiny(), run.weights)
    assert (merged.quantisation, merged.id, merged.revision) == ("", run.loaded.id, run.loaded.revision)
    expected = updated(tiny().model, saved(run.weights))
    assert all(torch.allclose(merged.model.state_dict()[name], expected[name], rtol=0, atol=1e-5) for name in expected)
    apart = (logits(merged, prompts[0]) - logits(run.loaded, prompts[0])).abs().mean()
    moved = (logits(merged, prompts[0]) - logits(tiny(), prompts[0])).abs().mean()
    assert 1e-3 < apart < moved / 3


def test_the_factor_of_an_update_is_part_of_what_names_a_model(tiny, short):
    """The same adapter's weights with another alpha give other answers."""
    digests = set()
    for alpha in (8, 16):
        torch.manual_seed(0)
        digests.add(base_digest(adapt(tiny(), short.with_values({"lora_alpha": alpha}))))
    assert len(digests) == 2


# Mistakes


def refusal(act, *args):
    with pytest.raises(UserError) as raised:
        act(*args)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_merged_is_refused_in_one_line(tiny, trained, tmp_path):
    line = "holds no LoRA adapter, or the base weights are quantised: nothing can be merged"
    for method in ("full", "prompt-random", "prompt-text"):
        assert refusal(merge_adapter, tiny(), trained(method).weights) == f"weights {line}"
    assert refusal(merge_adapter, tiny("nf4"), trained("qlora").weights) == f"weights {line}"
    assert refusal(merge_adapter, tiny(), tmp_path / "nothing") == f"nothing {line}"
    for text in ("{", "{}", '{"peft_type": "LOHA"}'):
        (tmp_path / "adapter_config.json").write_text(text)
        assert refusal(merge_adapter, tiny(), tmp_path) == f"{tmp_path.name} {line}"


@pytest.mark.parametrize(("method", "has", "needs"), [("lora", "nf4", ""), ("full", "nf4", ""), ("qlora", "", "nf4")])
def test_base_weights_that_are_not_loaded_as_the_method_needs_them(method, has, needs, tiny, rows, short, tmp_path):
    recipe = short.with_values({"method": method})
    assert refusal(adapt, tiny(has), recipe) == (
        f"method '{method}' trains on weights loaded with quantisation '{needs}', these have '{has}'; "
        "call load_model(..., quantisation=recipe.quantisation)"
    )
    with pytest.raises(UserError, match="quantisation"):
        train_sft(tiny(has), *rows, recipe, folder=tmp_path)


# On disk


@pytest.mark.parametrize("method", ["full", "lora", "prompt-random"])
def test_weights_are_replaced_whole_and_come_back(method, tiny, saved, tmp_path):
    recipe, folder = Recipe(method=method, lora_rank=4, lora_alpha=8, virtual_tokens=5), tmp_path / "weights"
    model = adapt(tiny(), recipe)
    save_weights(model, folder)
    (folder / "stale.safetensors").write_bytes(b"left from another training")
    (tmp_path / "weights.partial").mkdir()
    (tmp_path / "weights.partial" / "config.json").write_text("{")  # a save that was cut short
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) if parameter.requires_grad else 0)
    save_weights(model, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights"]
    assert saved(folder)
    expected = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    back = adapt(tiny(), recipe)
    load_weights(back, folder)
    assert all(torch.equal(dict(back.named_parameters())[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_lora_update_is_merged_into_float32_weights_alone(dtype, tiny, short):
    for method, merges in [("full", False), ("lora", dtype == torch.float32), ("prompt-random", False)]:
        recipe, loaded = short.with_values({"method": method}), tiny()
        loaded.model.to(dtype)
        model, merged = for_evaluation(adapt(loaded, recipe), recipe, dtype)
        assert merged == merges and isinstance(model, PeftModel) == (method != "full" and not merged)
        base = {p.dtype for name, p in model.named_parameters() if "lora_" not in name and "prompt_" not in name}
        assert base == {dtype} and not model.training
