"""README and docs: Python blocks run, real parsers read the commands, links lead somewhere, tables are filled."""

import argparse
import importlib
import inspect
import re
import shlex
import shutil
import sys
from unittest import mock

import pytest

import mpcc_jax
from mpcc_jax.cli.arguments import parse_arguments
from mpcc_jax.config import get_config
from mpcc_jax.data.sources import DATASETS
from mpcc_jax.networks.architecture import ARCHITECTURES
from mpcc_jax.prior import FAMILIES
from mpcc_jax.training import train as training
from mpcc_jax.workdir import PRETRAINED
from reproduce.markdown import fill
from tests.conftest import ROOT

PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]}
MAKEFILE = (ROOT / "Makefile").read_text()
# Programs that run what follows their options, and programs of others.
RUNNERS = {"mpirun": 2, "taskset": 2}
OTHERS = ("python3 -m venv", "pip install .", ". .venv/bin/activate", "gcloud storage", "tensorboard --logdir")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.M | re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the pages presuppose, and trainings of two iterations."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PRETRAINED / "digits", tmp_path / "runs" / "digits")
    monkeypatch.setattr(training, "train", shorten_training(training.train))
    monkeypatch.setattr(mpcc_jax.MPCC, "fit", shorten_fit(mpcc_jax.MPCC.fit))
    with mock.patch.dict(DATASETS), mock.patch.dict(ARCHITECTURES), mock.patch.dict(FAMILIES):
        yield


def shorten_training(train):
    def short(config, *arguments, **options):
        config.model.channels, config.training.iterations, config.training.iterations_per_call = 1, 2, 1
        config.evaluation.update({"standing_passes": 1, "samples_per_cluster": 2})
        return train(config, *arguments, **options)

    return short


def shorten_fit(fit):
    return lambda estimator, *arguments: fit(estimator.set_params(iterations=2, channels=1), *arguments)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_blocks_run(page):
    namespace = {}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), namespace)


def commands(page):
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


class Parsed(Exception):
    pass


def check_command(words, monkeypatch):
    """Raises unless a command is one of ours that its parser reads, or a program of others that is known."""
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    program, *rest = [words[0].removeprefix(".venv/bin/"), *words[1:]]
    if program in RUNNERS:
        check_command(rest[RUNNERS[program] :], monkeypatch)
    elif program == "mpcc" or [program, *rest[:1]] == ["python", "launch.py"]:
        check_subcommand(rest[program == "python" :])
    elif [program, *rest[:1]] == ["python", "-m"]:
        check_module(*rest[1:], monkeypatch=monkeypatch)
    elif program == "make":
        for word in rest:
            pattern = rf"^{word.partition('=')[0]} \?=" if "=" in word else rf"^{word}:"
            assert re.search(pattern, MAKEFILE, re.M), word
    elif program in ("sbatch", "kubectl", "deploy/tpu_slice.sh") or (program, *rest[:2]) == ("pip", "install", "-r"):
        (file,) = [word for word in (program, *rest) if word.startswith(("deploy/", "requirements"))]
        assert (ROOT / file).is_file()
    else:
        assert " ".join((program, *rest)).startswith(OTHERS)


def check_subcommand(words):
    if words[-1] == "--help":
        with pytest.raises(SystemExit):
            parse_arguments(words)
        return
    _, arguments = parse_arguments(words)
    if "config" in arguments:
        get_config(arguments["config"], arguments.get("overrides", ()))


def check_module(name, *words, monkeypatch):
    if name == "pytest":
        assert (ROOT / words[0]).is_file()
        return
    module = importlib.import_module("reproduce.__main__" if name == "reproduce" else name)
    if "argparse" not in vars(module):
        inspect.signature(module.main).bind(*words)
        return
    parse = argparse.ArgumentParser.parse_args

    def stop(*arguments):
        parse(*arguments)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", [name, *words])
        with pytest.raises(Parsed):
            module.main()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")])
def test_commands_are_those_of_the_parsers(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        check_command(words, monkeypatch)


@pytest.mark.parametrize(
    "line",
    [
        "python launch.py train digits --config.no_field=3",
        "mpcc generate digits --clusters=3",
        "mpcc train no_such_configuration",
        "python -m reproduce table9",
        "make no_such_target",
        "pip install -r requirements-none.txt",
        "rm -rf runs",
    ],
)
def test_commands_that_nobody_can_run_are_found(line, monkeypatch, capsys):
    with pytest.raises((Exception, SystemExit)):
        check_command(shlex.split(line), monkeypatch)


def anchors(page):
    headings = re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```", "", PAGES[page], flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.M | re.S)
    for link in re.findall(r"\]\((?!https:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), link


def test_tables_are_those_of_the_results():
    marked = [page for page, text in PAGES.items() if "<!-- table: " in text]
    assert len(marked) >= 3
    for page in marked:
        assert fill(PAGES[page], ROOT) == PAGES[page], f"`make docs` fills {page}"
    assert fill("<!-- table: results/table4_cpu.md, Runs -->\n<!-- /table -->", ROOT).count("\n| ") == 5


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 160
