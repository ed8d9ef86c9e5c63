"""The recipes in deploy/, without a cluster: fields, flags, syntax, and what happens when a run stops too early."""

import copy
import functools
import json
import os
import pathlib
import re
import signal
import subprocess

import jsonschema
import pytest
import yaml

from mpcc_jax.config import default_config

ROOT = pathlib.Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = ("jobset.yaml", "tpu_jobset.yaml")
SHELL = ("slurm.sbatch", "tpu_slice.sh", "gpu_lease/call.sh")
FREE = {  # keys that are names of others, which the schema does not list
    "alpha.jobset.sigs.k8s.io/exclusive-topology",
    "cloud.google.com/gke-tpu-accelerator",
    "cloud.google.com/gke-tpu-topology",
}
VALIDATOR = jsonschema.Draft202012Validator(json.loads((ROOT / "tests" / "jobset_schema.json").read_text()))


@functools.cache
def read(name):
    """The claim and the JobSet of a manifest."""
    return tuple(yaml.safe_load_all((DEPLOY / name).read_text()))


def job(name):
    return read(name)[1]["spec"]["replicatedJobs"][0]["template"]["spec"]


def pod(name):
    return job(name)["template"]["spec"]


def container(name):
    (only,) = pod(name)["containers"]
    return only


def variables(name):
    return {variable["name"]: variable.get("value") for variable in container(name)["env"]}


def objects(value):
    """All mappings in a manifest, outermost first."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


def commands(text):
    """What follows launch.py, to the end of its line and of the lines it continues on."""
    return re.findall(r"launch\.py((?:\\\n|[^\n])*)", text)


def flags(text):
    return {flag for command in commands(text) for flag in re.findall(r"(?<!\S)--([\w.]+)", command)}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_have_fields_that_exist_where_they_belong(name):
    claim, jobset = read(name)
    assert (claim["kind"], jobset["kind"]) == ("PersistentVolumeClaim", "JobSet")
    for document in (claim, jobset):
        VALIDATOR.validate(document)


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_schema_finds_every_misspelled_field_and_a_misplaced_one(name):
    VALIDATOR.check_schema(VALIDATOR.schema)
    tried = 0
    for document in read(name):
        for place, mapping in enumerate(objects(document)):
            for field in mapping.keys() - FREE:
                wrong = copy.deepcopy(document)
                there = list(objects(wrong))[place]
                there[field + "s"] = there.pop(field)
                assert not VALIDATOR.is_valid(wrong), field
                tried += 1
    assert tried > 60
    wrong = copy.deepcopy(read(name)[1])
    spec = wrong["spec"]["replicatedJobs"][0]["template"]["spec"]
    spec["terminationGracePeriodSeconds"] = spec["template"]["spec"].pop("terminationGracePeriodSeconds")
    with pytest.raises(jsonschema.ValidationError, match="'terminationGracePeriodSeconds' was unexpected"):
        VALIDATOR.validate(wrong)


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_agree_with_themselves(name):
    claim, jobset = read(name)
    spec, train = job(name), container(name)
    mounts = {mount["name"]: mount["mountPath"] for mount in train["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert mounts["shm"] == "/dev/shm"
    for variable in ("WORKDIR", "MPCC_JAX_CACHE"):
        assert variables(name)[variable].startswith(mounts["shared"] + "/")
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] == spec["completions"] == int(variables(name).get("NUM_PROCESSES", spec["completions"]))
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"] == {
        "containerName": train["name"],
        "operator": "In",
        "values": [75],
    }
    (per_pod,) = train["resources"]["limits"].values()
    batch_size = int(re.search(r"batch_size=(\d+)", train["args"][0])[1])
    assert batch_size % (per_pod * spec["completions"]) == 0
    topology = pod(name).get("nodeSelector", {}).get("cloud.google.com/gke-tpu-topology")
    if topology:
        rows, columns = map(int, topology.split("x"))
        assert rows * columns == per_pod * spec["completions"]
    else:
        host, port = re.search(r'--coordinator="(\S+):(\d+)"', train["args"][0]).groups()
        assert host == f"$JOBSET-{jobset['spec']['replicatedJobs'][0]['name']}-0-0.$JOBSET"
        assert int(port) in [entry["containerPort"] for entry in train["ports"]]


@pytest.mark.parametrize("name", SHELL)
def test_shell_recipes_parse(name):
    subprocess.run(["bash", "-n", DEPLOY / name], check=True)


@pytest.mark.parametrize("path", [*(DEPLOY / name for name in MANIFESTS + SHELL), ROOT / "docs" / "pods.md"])
def test_recipes_give_flags_that_launch_has(path):
    defined = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', (ROOT / "launch.py").read_text()))
    text = path.read_text()
    given = flags(text)
    assert {"config", "workdir"} <= given
    if path.suffix == ".md":
        given |= set(re.findall(r"--(config\.[\w.]*\w)", text))
    for flag in given:
        name, *fields = flag.split(".")
        assert name in defined, flag
        config = default_config()
        for field in fields:
            if field != "FIELD":  # how the usage says any
                assert field in config, flag
                config = config[field]


def program(folder, name, body="exit 0"):
    """A script on the PATH of `start`."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/bash\n" + body)
    path.chmod(0o755)


def start(folder, *command, **environment):
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env={**environment, "PATH": path}, **pipes)


def finish(process):
    output, errors = process.communicate(timeout=20)
    assert not errors
    return process.returncode, output


# Stands for the program: writes config.json, saves at SIGTERM, and finishes only where it is told to.
PROGRAM = """
trap 'echo saved; exit 0' TERM
echo "$@"
echo {} > config.json
echo started
[[ $THEN == wait ]] && for ((i = 0; i < 500; i++)); do sleep 0.02; done
[[ $THEN == finish ]] && sleep 0.02 && echo {} > results.json
[[ $THEN != fail ]] || exit 3
"""


@pytest.mark.parametrize(
    ("name", "index"), [("jobset.yaml", "JOB_COMPLETION_INDEX"), ("tpu_jobset.yaml", "TPU_WORKER_ID")]
)
def test_pods_hand_sigterm_on_and_tell_a_stop_from_the_end(tmp_path, name, index):
    program(tmp_path, "python", PROGRAM)
    environment = {**variables(name), "WORKDIR": str(tmp_path), "JOBSET": "mpcc"}

    def pod(number, then):
        return start(tmp_path, "bash", "-c", container(name)["args"][0], **environment, **{index: number}, THEN=then)

    def stop(process):
        while process.stdout.readline() != "started\n":
            pass
        process.send_signal(signal.SIGTERM)
        return finish(process)

    first, second = pod("0", "wait"), pod("1", "wait")
    assert stop(first) == (75, "saved\n")
    assert stop(second) == (0, "saved\n")
    assert finish(pod("0", "fail"))[0] == 3
    assert finish(pod("0", "finish"))[0] == 0
    os.utime(tmp_path / "results.json", (1, 1))  # of an earlier, shorter run
    assert stop(pod("0", "wait")) == (75, "saved\n")


def test_slurm_puts_a_stopped_job_back_and_no_other(tmp_path):
    program(tmp_path, "srun", 'while [[ $1 == --* ]]; do shift; done; "$@"')
    program(tmp_path, "python", PROGRAM)
    program(tmp_path, "squeue", "echo $STATE")
    program(tmp_path, "scontrol", 'echo "$@"')
    environment = {"SLURM_JOB_ID": "7", "PYTHON": "python", "WORKDIR": ".", "CONFIG": "configs/digits.py"}

    def batch(then, state="RUNNING"):
        script = (DEPLOY / "slurm.sbatch", "--config.seed=3")
        return finish(start(tmp_path, "bash", *script, **environment, THEN=then, STATE=state))

    status, output = batch("stop")
    assert (status, output.splitlines()[-1]) == (0, "requeue 7")
    assert output.startswith("launch.py --config configs/digits.py --workdir . --config.training.batch_size=48")
    assert "--config.seed=3\n" in output
    for arguments, expected in ((("stop", "COMPLETING"), 0), (("fail",), 3), (("finish",), 0)):
        status, output = batch(*arguments)
        assert status == expected
        assert "requeue" not in output


# Runs the command that every host of a slice would get.
GCLOUD = """
[[ $4 == describe ]] && echo "$STATE" && exit
echo "$4"
for word in "$@"; do
  [[ $word == --command=* ]] && bash -c "${word#--command=}"
done
exit 0
"""


@pytest.mark.parametrize(("state", "calls"), [("", ["create"]), ("READY", []), ("PREEMPTED", ["delete", "create"])])
def test_the_tpu_script_makes_a_slice_if_it_must_and_hands_words_on_whole(tmp_path, state, calls):
    program(tmp_path, "gcloud", GCLOUD)
    program(tmp_path, "sudo", '[[ $1 == systemd-run ]] && printf "[%s]" "$@"; exit 0')
    for name in ("git", "mountpoint"):
        program(tmp_path, name)
    python = tmp_path / "mpcc_jax" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/true")
    environment = {"REPOSITORY": "https://x/y.git", "SHARE": "gs://bucket", "HOME": str(tmp_path), "STATE": state}
    script = (DEPLOY / "tpu_slice.sh", "--config.data.name=folder:a b")
    status, output = finish(start(tmp_path, "bash", *script, **environment))
    assert status == 0
    assert re.findall(r"^(create|delete|ssh)$", output, re.MULTILINE) == [*calls, "ssh", "ssh"]
    assert "[launch.py][--config][configs/mnist.py][--workdir][/mnt/share/runs/mnist]" in output
    assert "[--config.data.name=folder:a b]" in output
