"""The recipes in deploy/, without a cluster: fields, flags, syntax, and what happens when a run stops too early."""

import json
import math
import os
import pathlib
import re
import signal
from subprocess import PIPE, Popen

import jsonschema
import pytest
import yaml

from mpcc_jax.cli.arguments import parse_arguments
from mpcc_jax.config import get_config

ROOT = pathlib.Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = {name: list(yaml.safe_load_all((DEPLOY / name).read_text())) for name in ("jobset.yaml", "tpu_jobset.yaml")}
VALIDATOR = jsonschema.Draft202012Validator(json.loads((ROOT / "tests" / "jobset_schema.json").read_text()))


def read_job(name):
    """Of a manifest: its job, the pod in it, the pod's container, and the container's environment."""
    job = MANIFESTS[name][1]["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    return job, pod, container, {variable["name"]: variable.get("value") for variable in container["env"]}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_have_fields_that_exist_and_agree_with_themselves(name):
    for document in MANIFESTS[name]:
        VALIDATOR.validate(document)
    for field in ("replicatedJobs", "backoffLimit", "restartPolicy", "mountPath"):
        misspelled = json.dumps(MANIFESTS[name][1]).replace(f'"{field}"', f'"{field}s"')
        assert not VALIDATOR.is_valid(json.loads(misspelled)), field

    (claim, jobset), (job, pod, train, variables) = MANIFESTS[name], read_job(name)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in train["volumeMounts"]} == volumes.keys()
    assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert job["parallelism"] == job["completions"] == int(variables.get("NUM_PROCESSES", job["completions"]))
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == train["name"]
    (per_pod,) = train["resources"]["limits"].values()
    assert int(re.search(r"batch_size=(\d+)", train["args"][0])[1]) % (per_pod * job["completions"]) == 0
    topology = pod.get("nodeSelector", {}).get("cloud.google.com/gke-tpu-topology")
    assert not topology or math.prod(map(int, topology.split("x"))) == per_pod * job["completions"]
    for host, port in re.findall(r'--coordinator="(\S+):(\d+)"', train["args"][0]):
        assert host == f"$JOBSET-{jobset['spec']['replicatedJobs'][0]['name']}-0-0.$JOBSET"
        assert {"containerPort": int(port)} in train["ports"]


@pytest.mark.parametrize("path", [*sorted(DEPLOY.iterdir()), ROOT / "docs" / "pods.md"])
def test_recipes_give_flags_that_exist(path):
    """The parser reads every command; numbers stand for what the shell fills in."""
    commands = re.findall(r'(?i:python)"? launch\.py((?: \\\n|[^\n`])+)', path.read_text().replace('"$@"', ""))
    for command in commands:
        words = re.sub(r"[\[{&|#)].*|\\\n", " ", command).split()
        words = [re.sub(r'"?\$\{?\w+\}?"?$', "1", word).replace('"', "") for word in words]
        _, arguments = parse_arguments(words)
        get_config(ROOT / "configs" / "digits.py", arguments.get("overrides", ()))
    assert commands


def start(folder, *command, programs, **environment):
    """Runs a script where `programs`, by name, stand in for those of a cluster."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, body in programs.items():
        (folder / "bin" / name).write_text("#!/bin/bash\n" + body)
        (folder / "bin" / name).chmod(0o755)
    environment["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    return Popen(command, cwd=folder, env=environment, stdout=PIPE, stderr=PIPE, text=True)


def finish(process):
    output, errors = process.communicate(timeout=20)
    assert not errors
    return process.returncode, output


# Stands for launch.py: writes config.json, saves at SIGTERM, and finishes only if THEN says so.
PROGRAM = """
trap 'echo saved; exit 0' TERM
echo "$@"
echo {} > config.json
echo started
[[ $THEN == wait ]] && for ((i = 0; i < 500; i++)); do sleep 0.02; done
[[ $THEN == finish ]] && sleep 0.02 && echo {} > results.json
[[ $THEN != fail ]] || exit 3
"""


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_pass_sigterm_on_and_tell_a_stop_from_the_end(tmp_path, name):
    _, _, container, variables = read_job(name)
    environment = {**variables, "WORKDIR": str(tmp_path), "JOBSET": "mpcc", "programs": {"python": PROGRAM}}

    def start_pod(number, then):
        indices = dict.fromkeys(("JOB_COMPLETION_INDEX", "TPU_WORKER_ID"), number)
        return start(tmp_path, "bash", "-c", container["args"][0], **environment, **indices, THEN=then)

    def stop(process):
        while process.stdout.readline() != "started\n":
            pass
        process.send_signal(signal.SIGTERM)
        return finish(process)

    assert stop(start_pod("0", "wait")) == (75, "saved\n")
    assert stop(start_pod("1", "wait")) == (0, "saved\n")
    assert finish(start_pod("0", "fail"))[0] == 3
    assert finish(start_pod("0", "finish"))[0] == 0
    os.utime(tmp_path / "results.json", (1, 1))  # of an earlier, shorter run
    assert stop(start_pod("0", "wait")) == (75, "saved\n")


@pytest.mark.parametrize(
    ("then", "state", "status", "requeued"),
    [("stop", "RUNNING", 0, True), ("stop", "COMPLETING", 0, False), ("fail", "", 3, False), ("finish", "", 0, False)],
)
def test_slurm_puts_a_stopped_job_back_and_no_other(tmp_path, then, state, status, requeued):
    programs = {"srun": 'while [[ $1 == --* ]]; do shift; done; "$@"', "python": PROGRAM}
    programs |= {"squeue": "echo $STATE", "scontrol": 'echo "$@"'}
    environment = {"SLURM_JOB_ID": "7", "PYTHON": "python", "WORKDIR": ".", "CONFIG": "configs/digits.py"}
    command = ("bash", DEPLOY / "slurm.sbatch", "--config.seed=3")
    returned, output = finish(start(tmp_path, *command, programs=programs, **environment, THEN=then, STATE=state))
    assert (returned, "requeue 7" in output) == (status, requeued)
    assert output.startswith("launch.py --config configs/digits.py --workdir . ")
    assert " --config.seed=3\n" in output


# Runs the command that every host of a slice would get.
GCLOUD = """
[[ $4 == describe ]] && echo "$STATE" && exit
echo "$4"
for word in "$@"; do [[ $word == --command=* ]] && bash -c "${word#--command=}"; done
exit 0
"""


@pytest.mark.parametrize(("state", "calls"), [("", ["create"]), ("READY", []), ("PREEMPTED", ["delete", "create"])])
def test_the_tpu_script_makes_a_slice_if_it_must_and_passes_words_on_whole(tmp_path, state, calls):
    programs = {"gcloud": GCLOUD, "sudo": '[[ $1 == systemd-run ]] && printf "[%s]" "$@"; exit 0'}
    programs |= dict.fromkeys(("git", "mountpoint"), "exit 0")
    python = tmp_path / "mpcc_jax" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/true")
    environment = {"REPOSITORY": "https://x/y.git", "SHARE": "gs://bucket", "HOME": str(tmp_path), "STATE": state}
    command = ("bash", DEPLOY / "tpu_slice.sh", "--config.data.name=folder:a b")
    status, output = finish(start(tmp_path, *command, programs=programs, **environment))
    assert status == 0
    assert re.findall(r"^(create|delete|ssh)$", output, re.MULTILINE) == [*calls, "ssh", "ssh"]
    assert "[launch.py][--config][configs/mnist.py][--workdir][/mnt/share/runs/mnist]" in output
    assert "[--config.data.name=folder:a b]" in output
