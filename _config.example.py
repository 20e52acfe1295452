# Copy to _config.py (git-ignored) and fill in what you have; every key is optional.
WANDB_API_KEY = "your-wandb-key"  # without it, Weights & Biases stays offline
WANDB_PROJECT = "text-to-sql"
GROQ_API_KEY = "your-groq-key"  # only for generating preference pairs with a large model
