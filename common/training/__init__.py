"""Supervised fine-tuning on TRL: all weights, LoRA, QLoRA and prompt tuning.

`recipe` says what is trained how, `rows` makes the batches, `adapt` prepares the model, `sft` trains and resumes.
Preference training, reward models and GRPO are not here yet.
"""
