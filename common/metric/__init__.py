"""The scorer as a module for Hugging Face `evaluate`: `evaluate.load("common/metric")`, see `metric`."""
