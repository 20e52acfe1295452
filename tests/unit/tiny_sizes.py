"""The tiny model's linear layers: width 64, MLP 128, 4 heads of 16 with 2 key-value heads, 2 layers, 1,024 tokens."""

LAYER = {"q": (64, 64), "k": (64, 32), "v": (64, 32), "o": (64, 64), "gate": (64, 128), "up": (64, 128)}
LAYER |= {"down": (128, 64)}
BODY = 2 * (64 * 64 + 64 * 32 + 64 * 32 + 64 * 64 + 3 * 64 * 128)
ADAPTER = 16 * 2 * (128 + 96 + 96 + 128 + 3 * 192)
HEAD = 64 * 1024
