"""One training core under every objective, on TRL: all weights, LoRA, QLoRA and prompt tuning.

`recipe` says how weights are adapted and trained, an `Objective` what is learned, `session` begins or goes on, trains,
finishes and loads. `plan` says which rows meet when, `losses` gives log-probabilities, `adapters` prepares the model.
Supervised fine-tuning (`sft`) is the one objective so far: preference training, reward models and GRPO are to come.
"""
