"""Sizes of a Llama- or Qwen3-style decoder, read from its config; no weights are loaded and no torch is needed.

Knows the sizes of the profiles' models by heart, so that they can be asked for without a network.
"""

from dataclasses import dataclass

from common.profiles import EMBEDDED_MODEL, LARGER_TINY_MODEL, TINY_MODEL
from common.training.recipe import Recipe

NORMED = {"llama": False, "mistral": False, "qwen2": False, "qwen3": True}  # model_type → norms on queries and keys


@dataclass(frozen=True)
class Decoder:
    """Sizes as the config names them. tied: the output head is the embedding. normed: RMSNorms on each head's queries
    and keys. Biases are not counted: no profile's model has any, Qwen2's are a ten-thousandth of its weights."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    normed: bool

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """A layer's linear modules by name: (width of its input, of its output)."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_weights(self) -> int:
        """Weights of all layers' linear modules: those that NF4 packs and autocast copies."""
        return self.layers * sum(wide * high for wide, high in self.linears.values())

    @property
    def embedding_weights(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def weights(self) -> int:
        """All of them, a tied head once."""
        norms = self.layers * (2 * self.hidden + self.normed * 2 * self.head_dim) + self.hidden
        return self.linear_weights + self.embedding_weights * (1 if self.tied else 2) + norms


KNOWN = {
    TINY_MODEL: Decoder(2, 64, 128, 4, 2, 16, 1024, True, True),
    LARGER_TINY_MODEL: Decoder(4, 64, 128, 4, 2, 16, 1024, True, True),
    EMBEDDED_MODEL: Decoder(30, 576, 1536, 9, 3, 64, 49_152, True, False),
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": Decoder(24, 896, 4864, 14, 2, 64, 151_936, True, False),
    "Qwen/Qwen2.5-Coder-1.5B-Instruct": Decoder(28, 1536, 8960, 12, 2, 128, 151_936, True, False),
    "Qwen/Qwen3-0.6B": Decoder(28, 1024, 3072, 16, 8, 128, 151_936, True, True),
    "Qwen/Qwen3-8B": Decoder(36, 4096, 12_288, 32, 8, 128, 151_936, False, True),
}


def decoder(config) -> Decoder | None:
    """The sizes in a transformers config; None for an architecture whose activations `estimate` does not know."""
    if config.model_type not in NORMED:
        return None
    return Decoder(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        vocabulary=config.vocab_size,
        tied=config.tie_word_embeddings,
        normed=NORMED[config.model_type],
    )


def targets(sizes: Decoder, recipe: Recipe) -> list[str]:
    """A layer's linear modules whose weights, or adapters, are trained."""
    if recipe.method == "full" or (recipe.method in ("lora", "qlora") and recipe.lora_targets == "all-linear"):
        return list(sizes.linears)
    names = (recipe.lora_targets,) if isinstance(recipe.lora_targets, str) else recipe.lora_targets
    return [name for name in sizes.linears if name in names] if recipe.method in ("lora", "qlora") else []


def adapter_weights(sizes: Decoder, recipe: Recipe) -> int:
    """Weights that a recipe adds to the model's."""
    if recipe.method.startswith("prompt"):
        return recipe.virtual_tokens * sizes.hidden
    low_rank = recipe.lora_rank * sum(sum(sizes.linears[name]) for name in targets(sizes, recipe))
    return sizes.layers * low_rank if recipe.method in ("lora", "qlora") else 0
