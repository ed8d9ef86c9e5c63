"""Rows of the paper's tables: exactly the published settings."""

import importlib

import jax
import pytest

from configs import tables
from mpcc_jax.config import default_config, flatten, resolve_conventions, validate
from mpcc_jax.errors import ConfigError
from mpcc_jax.model import build_model, init

# Section 5.3 and appendix C: what no experiment of the paper changes.
SHARED = {
    "variant": "paper",
    "data.resolution": 32,
    "augmentation.probability": None,
    "training.warm_start": None,
    "training.batch_size": 50,
    "training.discriminator_steps": 4,
    "training.learning_rate": 2e-4,
    "training.beta1": 0.0,
    "training.beta2": 0.999,
    "loss.adversarial": "hinge",
    "loss.prior_weight": 0.01,
    "prior.sigma_min": 0.5,
    "ema.decay": 0.9999,
    "ema.start": 1000,
    "evaluation.statistics": "standing",
    "evaluation.standing_passes": 16,
    "checkpoints.best": "",
}


def settings(name, split, channels, latent_dim, clusters, conditioning, iterations, encoder_steps, prior_rate, **more):
    return {
        "data.name": name,
        "data.split": split,
        "model.channels": channels,
        "model.latent_dim": latent_dim,
        "model.num_clusters": clusters,
        "model.conditioning": conditioning,
        "model.share_blocks": True,
        "prior.family": "gaussian",
        "training.iterations": iterations,
        "training.encoder_steps": encoder_steps,
        "training.prior_learning_rate": prior_rate,
        "training.conditional": False,
        **more,
    }


def ablation(encoder_steps, prior_rate, clusters=10, **more):
    return settings("cifar10", "train", 96, 128, clusters, "split", 75_000, encoder_steps, prior_rate, **more)


AIM = {"clusters": 1, "prior.family": "standard_normal"}
ROWS = {
    "tables:table1_row1": ablation(1, 2e-4),
    "tables:table1_row2": ablation(2, 2e-4),
    "tables:table1_row3": ablation(4, 2e-4),
    "tables:table1_row4": ablation(4, 4e-4),
    "tables:table1_row5": ablation(4, 6e-4),
    "tables:table2_aim_not_shared": ablation(4, 6e-4, **AIM, **{"model.share_blocks": False}),
    "tables:table2_aim_shared": ablation(4, 6e-4, **AIM),
    "tables:table3_conditional": ablation(4, 6e-4, **{"training.conditional": True}),
    "mnist": settings("mnist", "", 12, 24, 10, "conditional", 125_000, 4, 1.6e-3),
    "omniglot100": settings("omniglot100", "", 16, 24, 100, "conditional", 125_000, 4, 1.6e-3),
    "fashion_mnist": settings("fashion_mnist", "", 24, 16, 10, "shared", 75_000, 4, 1.6e-3),
    "cifar10": settings("cifar10", "", 96, 128, 10, "split", 75_000, 4, 6e-4),
    "cifar20": settings("cifar20", "", 96, 128, 20, "split", 75_000, 4, 6e-4),
}


def experiment(row):
    """The module of a row's file, and the row's configuration."""
    file, *argument = row.split(":")
    module = importlib.import_module(f"configs.{file}")
    return module, module.get_config(*argument)


@pytest.mark.parametrize("row", ROWS)
def test_rows_have_the_published_settings_and_no_others(row):
    _, config = experiment(row)
    validate(config)
    found = flatten(config.to_dict())
    assert found == {**flatten(default_config().to_dict()), **SHARED, **ROWS[row]}


def test_rows_of_the_tables_are_chosen_by_name():
    assert {f"tables:{name}" for name in tables.ROWS} == {row for row in ROWS if row.startswith("tables:")}
    assert tables.get_config() == tables.get_config("table1_row5")
    with pytest.raises(ConfigError, match=r"tables has no row 'table1_row6'; allowed: table1_row1, "):
        tables.get_config("table1_row6")


def shapes(row):
    _, config = experiment(row)
    model = build_model(config, 3, resolve_conventions(config))
    params, _ = jax.eval_shape(lambda: init(model, jax.random.key(0)))
    return {
        part: {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        for part, tree in params.items()
    }


def test_aim_has_the_architecture_of_mpcc():
    """Section 5.5; of the generator's embedding and the prior one component is left."""
    mpcc, shared, not_shared = map(
        shapes, ("tables:table1_row5", "tables:table2_aim_shared", "tables:table2_aim_not_shared")
    )
    differing = {name for name, shape in mpcc["generator"].items() if shared["generator"].get(name) != shape}
    assert len(differing) == 1
    (embedding,) = differing
    assert (mpcc["generator"][embedding][0], shared["generator"][embedding][0]) == (10, 1)
    assert mpcc["generator"].keys() == shared["generator"].keys()
    for part in ("trunk", "discriminator", "encoder"):
        assert mpcc[part] == shared[part] == not_shared[part]
    assert not_shared["generator"] == shared["generator"]
    assert not_shared["encoder_trunk"] == mpcc["trunk"]
    assert "encoder_trunk" not in shared
    assert shared["prior"] == not_shared["prior"] == {}


def test_the_conditional_row_has_a_projection():
    plain, conditional = shapes("tables:table1_row5"), shapes("tables:table3_conditional")
    extra = conditional["discriminator"].keys() - plain["discriminator"].keys()
    assert [conditional["discriminator"][name] for name in extra] == [(10, 384)]
    assert conditional["generator"] == plain["generator"]
