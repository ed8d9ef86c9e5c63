"""Tables as files, made anew from all records; several processes may do so at once."""

import datetime
import json
import os
import tempfile

from reproduce.beside import compare_with_baselines
from reproduce.markdown import (
    render_beside,
    render_published,
    render_runs,
    render_sentences,
    render_study,
)
from reproduce.plan import configure
from reproduce.scales import find_scale
from reproduce.study import summarize_study
from reproduce.summary import summarize_table

HEADINGS = {
    "paper": "at the paper's scale",
    "cpu": "on one CPU: images, networks and runs smaller than the paper's, with no claim to its figures",
}


def describe_scale(table, options):
    """What the scale does to the rows of a table.

    Args:
      table: a `Table`.
      options: `Options`.

    Returns:
      Sentences.
    """
    sentences = {}
    for row in table.rows:
        scale = find_scale(options.scale, configure(row, table.shown[0], options).data.name)
        fields = ", ".join(f"{name} {value}" for name, value in scale.fields.items())
        sentences.setdefault(scale.words + (f" ({fields})" if fields else ""), []).append(row.label)
    return [f"{'; '.join(labels)}: {words}" for words, labels in sentences.items()]


def summarize(table, options):
    """Everything that a table shows, as data.

    Args:
      table: a `Table`.
      options: `Options`.

    Returns:
      A dictionary that JSON can hold.
    """
    study = table.name == "study"
    return {
        "table": table.name,
        "title": table.title,
        "scale": options.scale,
        "settings": describe_scale(table, options),
        "written": datetime.date.today().isoformat(),
        **(summarize_study if study else summarize_table)(table, options),
        "beside": compare_with_baselines(table, options) if table.name == "table4" else [],
    }


def render_page(content):
    """A table as a page.

    Args:
      content: from `summarize`.

    Returns:
      Text of Markdown.
    """
    body = (render_study if content["table"] == "study" else render_published)(content["lines"])
    lines = [
        f"# {content['title']}, {HEADINGS[content['scale']]}",
        "",
        f"Made by `python -m reproduce {content['table']} --scale={content['scale']}` on {content['written']} "
        "from the records in `runs/`: mean ± sample standard deviation over seeds, at the last iteration.",
        "",
        *(f"- {sentence}" for sentence in content["settings"]),
        "",
        *body,
        *render_beside(content["beside"]),
        *render_runs(content["runs"]),
        *render_sentences("Failed", content["failed"]),
        *render_sentences("Left out", content["left_out"]),
    ]
    return "\n".join(lines) + "\n"


def _replace(path, text):
    """Whole or not at all, under a name of its own: another process may be writing the same table."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=".partial", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def _sources(options):
    """When each record was written."""
    return {path.name: path.stat().st_mtime_ns for path in sorted(options.records.glob("*.json"))}


def write_tables(table, options):
    """Writes TABLE_SCALE.md and TABLE_SCALE.json from the records that there are.

    Args:
      table: a `Table`.
      options: `Options`.

    Returns:
      `pathlib.Path` of the Markdown.
    """
    options.records.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{table.name}_{options.scale}.md"
    while True:
        before = _sources(options)
        content = summarize(table, options)
        _replace(path.with_suffix(".json"), json.dumps(content, indent=2) + "\n")
        _replace(path, render_page(content))
        # What another process has recorded meanwhile, it may have written before this older table replaced its own.
        if _sources(options) == before:
            return path
