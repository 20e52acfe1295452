"""Speed and memory, each against the published recipe in the same run. Not part of the package; run from the root."""
