"""The tests' models where a test has a folder for outputs of its own."""

from pathlib import Path

from common.settings import outputs


def with_models(folder: Path) -> str:
    """The folder, made, with a link to the models that are there already: making one anew takes seconds."""
    models = outputs() / "models"
    models.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "models").exists():
        (folder / "models").symlink_to(models)
    return str(folder)
