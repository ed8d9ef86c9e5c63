"""Positions, flags and refusals of the command line, without running what they ask for."""

import pytest

from mpcc_jax.cli.arguments import COMMANDS, FLAGS, parse_arguments
from mpcc_jax.errors import InputError


@pytest.mark.parametrize(
    ("line", "command", "arguments"),
    [
        (
            "predict --workdir run photos --skip_bad",
            "predict",
            {"workdir": "run", "images": "photos", "skip_bad": True},
        ),
        ("reconstruct run --seed=3 photos", "reconstruct", {"workdir": "run", "images": "photos", "seed": 3}),
        ("generate run --truncation 0.5", "generate", {"workdir": "run", "truncation": 0.5}),
        ("--config a.py --config.seed=3", "train", {"config": "a.py", "overrides": ["--config.seed=3"]}),
        ("train digits --coordinator_timeout=9", "train", {"config": "digits", "timeout": 9}),
        ("--workdir run --mode=report --checkpoint 5", "report", {"workdir": "run", "iteration": 5}),
        ("--mode=export_released run --out=x", "export-weights", {"workdir": "run", "out": "x"}),
    ],
)
def test_positions_and_flags(line, command, arguments):
    assert parse_arguments(line.split()) == (command, arguments)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "train: --config is missing: experiment: the name of one that is shipped, or a Python file"),
        ("predcit run photos", "there is no subcommand 'predcit'; allowed: train, prepare, evaluate"),
        ("predict --workdir=run --images=photos more", "predict: more is not expected"),
        ("report run --images=photos", "report: --images=photos is not expected"),
        ("report run --config.seed=3", "report: --config.seed=3 is not expected"),
        ("evaluate run --num_sample=3", "evaluate: --num_sample=3 is not expected"),
        ("generate run --key=a", "invalid int value: 'a'"),
        ("generate run --num_images=-1", "--num_images is -1; allowed: 0 or more"),
        ("train digits --resume=never", "invalid choice: 'never'"),
    ],
)
def test_refusals(line, message):
    with pytest.raises(InputError) as error:
        parse_arguments(line.split())
    assert message in str(error.value)


@pytest.mark.parametrize("name", COMMANDS)
def test_required_flags_are_asked_for_and_help_has_all(name, capsys):
    command = COMMANDS[name]
    for flag in command.required:
        others = [f"--{other}=1" for other in command.required if other != flag]
        with pytest.raises(InputError, match=f"{name}: --{flag} is missing"):
            parse_arguments([name, *others])
    with pytest.raises(SystemExit):
        parse_arguments([name, "--help"])
    text = capsys.readouterr().out
    assert [flag for flag in command.required + command.flags if f"--{flag}" not in text] == []


def test_every_flag_belongs_to_a_subcommand():
    assert {flag for command in COMMANDS.values() for flag in command.required + command.flags} == FLAGS.keys()
