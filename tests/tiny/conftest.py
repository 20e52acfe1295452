"""What the tests of training share: one thread, few rows, one short training of each method, and a loss by hand."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.data import Example, load_examples
from common.generation import onednn
from common.models import LoadedModel, load_model
from common.profiles import TINY_MODEL, multiplies_bfloat16
from common.prompts import prompt_ids
from common.training.recipe import Recipe
from common.training.rows import tokenise
from common.training.sft import Trained, train_sft

Rows = tuple[list[Example], list[Example]]
SHORT = Recipe(
    learning_rate=2e-2,
    epochs=2,
    effective_batch_size=8,
    per_device_train_batch_size=4,
    lora_rank=4,
    lora_alpha=8,
    virtual_tokens=5,
    evaluations=2,
)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The tiny model's products are too small to share: a thread that waits for a busy core costs ten times more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def layouts():
    """Where oneDNN cannot multiply bfloat16, models in it answer by PyTorch's own products; `resolve` refuses runs."""
    with pytest.MonkeyPatch.context() as patch:
        if not multiplies_bfloat16():
            patch.setattr(onednn, "DTYPES", (torch.float32,))
        yield


@pytest.fixture(scope="session")
def rows() -> Rows:
    """Rows to train on and rows to look at."""
    return load_examples("embedded", "train", limit=32), load_examples("embedded", "validation", limit=8)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., LoadedModel]:
    """Loads the base weights a recipe needs, anew at each call: training changes them in place."""

    def load(recipe: Recipe | str = "") -> LoadedModel:
        return load_model(TINY_MODEL, quantisation=recipe if isinstance(recipe, str) else recipe.quantisation)

    return load


def make_talkative(loaded: LoadedModel) -> LoadedModel:
    """Have the tiny model look hard at what it read, and end an answer with every 15th token: lengths differ."""
    with torch.no_grad():
        for layer in loaded.model.model.layers:
            layer.self_attn.q_norm.weight.mul_(6)
            layer.self_attn.o_proj.weight.mul_(15)
    every = range(0, loaded.model.config.vocab_size, 15)
    loaded.model.generation_config.eos_token_id = [loaded.tokenizer.eos_token_id, *every]
    return loaded


@pytest.fixture(scope="session")
def talking(tiny) -> Callable[[], LoadedModel]:
    """The tiny model made talkative, anew at each call."""
    return lambda: make_talkative(tiny())


@pytest.fixture
def talkative(talking) -> LoadedModel:
    return talking()


@pytest.fixture(scope="session")
def prompts(tiny) -> list[list[int]]:
    """Those of 24 test rows, and the fourth one twice more."""
    tokenizer = tiny().tokenizer
    ids = [prompt_ids(example, tokenizer) for example in load_examples("embedded", "test", limit=24)]
    return [*ids, ids[3], ids[3]]


@pytest.fixture(scope="session")
def short() -> Recipe:
    """8 steps of 8 rows in 2 micro-batches, evaluated after steps 4 and 8."""
    return SHORT


@pytest.fixture(scope="session")
def one(short) -> Recipe:
    """The shortest training that has a warm-up: two steps, evaluated once."""
    return short.with_values({"epochs": 1, "evaluations": 1, "effective_batch_size": 16})


@pytest.fixture(scope="session")
def trained(rows, tiny, tmp_path_factory) -> Callable[[str], Trained]:
    """One training of each method by `short`, made when first asked for. Not to be changed."""
    made: dict[str, Trained] = {}

    def train(method: str) -> Trained:
        if method not in made:
            recipe = SHORT.with_values({"method": method})
            made[method] = train_sft(tiny(recipe), *rows, recipe, folder=tmp_path_factory.mktemp(method))
        return made[method]

    return train


@pytest.fixture(scope="session")
def attentive(trained) -> Callable[[], LoadedModel]:
    """The tiny model taught a little, with attention made strong: a token more or less to look at makes a difference.

    As it is made, a random model looks at everything alike.
    """

    def load() -> LoadedModel:
        loaded = trained("full").loaded
        model = copy.deepcopy(loaded.model)
        model.is_changed = False  # it stands for a base model here
        with torch.no_grad():
            for layer in model.model.layers:
                layer.self_attn.q_norm.weight.mul_(4)
                layer.self_attn.o_proj.weight.mul_(10)
        return replace(loaded, model=model)

    return load


def _loss_by_hand(model, rows: Sequence[dict], prefix: torch.Tensor | None = None) -> float:
    """Sum of −log p of each taught token over the number of taught tokens; one row at a time, from full logits.

    prefix: (virtual tokens, width), put before the row's token embeddings.
    """
    total = count = 0
    for row in rows:
        vectors = model.get_input_embeddings()(torch.tensor(row["input_ids"]))
        ahead = 0 if prefix is None else len(prefix)
        if ahead:
            vectors = torch.cat([prefix, vectors])
        with torch.no_grad():
            chances = model(inputs_embeds=vectors[None]).logits[0, ahead:].log_softmax(dim=-1)
        for at, token in enumerate(row["labels"]):
            if token != -100:
                total, count = total - chances[at - 1, token].item(), count + 1
    return total / count


@pytest.fixture(scope="session")
def loss_by_hand() -> Callable[..., float]:
    return _loss_by_hand


@pytest.fixture(scope="session")
def tokens(tiny) -> Callable[[Sequence[Example]], list[dict]]:
    """Examples as rows of token ids and labels."""
    loaded = tiny()
    return lambda examples: tokenise(examples, loaded, max_length=4096)


@pytest.fixture(scope="session")
def saved() -> Callable[[Path], dict[str, torch.Tensor]]:
    """The tensors of a folder of weights."""
    from safetensors.torch import load_file

    def load(folder: Path) -> dict[str, torch.Tensor]:
        (path,) = folder.glob("*.safetensors")
        return load_file(path)

    return load
