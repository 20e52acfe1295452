"""Fine-tune over several processes, GPUs or machines, answer the test rows, and write one record.

accelerate launch --config_file examples/ddp.yaml examples/train_multi_gpu.py --profile h100 --method full

Without `accelerate launch` the same training runs in one process. Covers one run at given values, no search.
"""

import argparse

from common import distributed
from common.data import load_examples
from common.distributed import run_job
from common.models import load_model
from common.run import start_run
from common.settings import UserError
from common.statistics import metrics, of_split
from common.training.defaults import default_recipe, final_recipe
from common.training.recipe import METHODS
from common.training.sft import train_sft


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="auto", help="smoke, cpu, t4 or h100; auto looks at the hardware")
    parser.add_argument("--method", default="lora", help=", ".join(METHODS))
    parser.add_argument("--name", default="example-multi-gpu", help="names the record")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--model", default="", help="a hub id or a folder; empty takes the profile's")
    parser.add_argument("--data", default="", help="embedded, gretel, spider:DIR or a file; empty takes the profile's")
    parser.add_argument("--train-rows", type=int, default=0, help="0 takes the profile's third stage")
    parser.add_argument("--test-rows", type=int, default=0, help="0 takes the profile's")
    parser.add_argument("--learning-rate", type=float, default=0.0, help="peak, after the warm-up; 0: the profile's")
    parser.add_argument("--epochs", type=int, default=0, help="0: the profile's")
    parser.add_argument("--batch", type=int, default=0, help="rows a step, over all processes; 0: the profile's")
    parser.add_argument("--micro-batch", type=int, default=0, help="mean rows at once in a process; 0: the profile's")
    parser.add_argument("--save-every", type=int, default=0, help="steps between checkpoints; 0: by time")

    def wrong(message: str) -> None:
        raise UserError(f"{message}; --help lists the arguments")

    parser.error = wrong
    return parser.parse_args()


def main() -> None:
    options = arguments()
    distributed.join()
    values = dict(vars(options))
    run = start_run(
        values.pop("name"),
        notebook="examples/train_multi_gpu.py",
        model_id=values.pop("model"),
        **values,  # the number of processes is none of it: a run may go on with another one
    )
    profile = run.profile
    recipe = default_recipe(
        options.method,
        profile,
        seed=options.seed,
        learning_rate=options.learning_rate,
        effective_batch_size=options.batch,
        per_device_train_batch_size=options.micro_batch,
        save_every=options.save_every,
    )
    with distributed.main_first():  # what is made or fetched once is then in a cache
        stage = profile.stages[-1]
        train = load_examples(profile.data, "train", limit=options.train_rows or stage.train_rows)
        valid = load_examples(profile.data, "validation", limit=stage.valid_rows)
        count = sum(map(len, run.tests.values()))
        loaded = load_model(profile.model_id, precision=profile.precision, quantisation=recipe.quantisation)
    recipe = final_recipe(recipe, profile, len(train), len(valid), epochs=options.epochs)
    answers = {"max_new_tokens": profile.max_new_tokens, "batch_size": profile.eval_batch_size}
    answers["databases"] = profile.databases
    trained = train_sft(loaded, train, valid, recipe, folder=run.folder / "training", **answers)
    print(f"{trained.step} steps in {distributed.world()} processes, validation loss {trained.eval_loss:.4f}")
    print(f"{count} test rows to answer")
    report = run.evaluate(trained.loaded, run.name)
    if distributed.is_main():
        run.save(report, trained.loaded, trained=trained, adapter=options.method, recipe=recipe)
        match = metrics(of_split(report.rows))["match"]
        print(f"match {match['value']:.3f} [{match['low']:.3f}, {match['high']:.3f}] on {match['n']} rows")


if __name__ == "__main__":
    run_job(main)
