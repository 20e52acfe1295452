"""Speed and memory, each against the published recipe in the same run. Not part of the package; run from the root."""

import common  # noqa: F401  before peft and transformers: it keeps bitsandbytes' advice from the output
