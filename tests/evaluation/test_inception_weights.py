"""Where weights are looked for, how they arrive, and what is refused, with files for a network of two tensors."""

import hashlib
import http.server
import io
import threading

import numpy as np
import pytest

from mpcc_jax.errors import WeightsError
from mpcc_jax.evaluation import inception_weights
from mpcc_jax.evaluation.inception_weights import FILE_NAME, URL, download, find_weights, read_weights

RNG = np.random.default_rng(0)
TENSORS = {
    "fc.weight": RNG.normal(size=(3, 2)).astype(np.float32),
    "stem.bn.running_var": RNG.uniform(0.5, 1.5, 4).astype(np.float32),
}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """A small network, and no weights anywhere on this machine."""
    monkeypatch.setattr(inception_weights, "SHAPES", {name: array.shape for name, array in TENSORS.items()})
    monkeypatch.delenv("MPCC_JAX_INCEPTION", raising=False)
    monkeypatch.setenv("MPCC_JAX_CACHE", str(tmp_path / "cache"))


def write_npz(path, tensors=TENSORS, **changes):
    np.savez(path, **{**tensors, **changes})
    return path


def put_in_cache(tmp_path):
    path = tmp_path / "cache" / FILE_NAME
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def test_the_variable_comes_before_the_cache_and_the_argument_before_both(tmp_path, monkeypatch):
    path = put_in_cache(tmp_path)
    assert find_weights() == find_weights(cache=tmp_path / "cache") == path
    assert find_weights("download") == path  # nothing is fetched twice
    by_variable, by_argument = (write_npz(tmp_path / name) for name in ("variable.npz", "argument.npz"))
    monkeypatch.setenv("MPCC_JAX_INCEPTION", str(by_variable))
    assert find_weights() == by_variable
    assert find_weights(by_argument) == by_argument


@pytest.mark.parametrize(("path", "variable"), [(None, None), ("gone.pth", None), (None, "gone.pth"), (".", None)])
def test_absent_weights_say_what_to_do(path, variable, monkeypatch, tmp_path):
    if path or variable:
        put_in_cache(tmp_path)  # which must not stand in for what was asked for
    if variable:
        monkeypatch.setenv("MPCC_JAX_INCEPTION", variable)
    with pytest.raises(WeightsError) as caught:
        find_weights(path)
    for needed in (path or variable or FILE_NAME, str(tmp_path / "cache" / FILE_NAME), URL, "--inception=PATH"):
        assert needed in str(caught.value)
    assert "MPCC_JAX_INCEPTION" in str(caught.value)
    assert "--inception=download" in str(caught.value)


@pytest.fixture
def server():
    """Serves /w-<checksum>.pth rightly, /w-00000000.pth with other bytes, and /short-*.pth cut off."""
    content = b"weights" * 1000

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if "gone" in self.path else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:100] if "short" in self.path else content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}", hashlib.sha256(content).hexdigest()[:8], content
        serving.shutdown()


def test_download(server, tmp_path, monkeypatch):
    address, checksum, content = server
    target = tmp_path / "new" / "w.pth"
    assert download(target, f"{address}/w-{checksum}.pth") == target
    assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]
    monkeypatch.setattr(inception_weights, "URL", f"{address}/w-{checksum}.pth")
    assert find_weights("download") == tmp_path / "cache" / FILE_NAME
    assert find_weights().read_bytes() == content


@pytest.mark.parametrize(
    ("target", "name", "message"),
    [
        ("new/w.pth", "w-00000000.pth", "should start with 00000000"),
        ("new/w.pth", "short-{}.pth", "should start with|IncompleteRead"),
        ("new/w.pth", "gone-{}.pth", r"failed .*404.*--inception=PATH"),
        ("file/w.pth", "w-{}.pth", "failed"),
    ],
)
def test_failed_downloads_leave_nothing(server, tmp_path, target, name, message):
    address, checksum, _ = server
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=message):
        download(tmp_path / target, f"{address}/{name.format(checksum)}")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["file"]


def test_npz(tmp_path):
    path = write_npz(tmp_path / "mine.npz", **{"stem.bn.num_batches_tracked": np.int64(3)})
    weights = read_weights(path)
    assert (weights.file, weights.published) == ("mine.npz", False)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(weights.params) == set(TENSORS)
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(weights.params[name], array)


def test_a_checksum_in_the_name_is_checked(tmp_path, monkeypatch):
    file = io.BytesIO()
    np.savez(file, **TENSORS)
    checksum = hashlib.sha256(file.getvalue()).hexdigest()[:8]
    right, wrong = tmp_path / f"inception-{checksum}.npz", tmp_path / "inception-6726825d.npz"
    right.write_bytes(file.getvalue())
    wrong.write_bytes(file.getvalue())
    assert not read_weights(right).published
    with pytest.raises(WeightsError, match="should start with 6726825d"):
        read_weights(wrong)
    monkeypatch.setattr(inception_weights, "FILE_NAME", right.name)
    assert read_weights(right).published


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({name: array for name, array in TENSORS.items() if name != "fc.weight"}, r"fc\.weight \[3, 2\] is missing"),
        ({**TENSORS, "AuxLogits.fc.bias": np.zeros(7)}, r"AuxLogits\.fc\.bias \[7\] does not belong"),
        ({**TENSORS, "fc.weight": np.zeros((2, 3))}, r"fc\.weight has shape \(2, 3\); expected \(3, 2\)"),
        ({**TENSORS, "fc.weight": np.full((3, 2), np.nan)}, r"fc\.weight has 6 values that are NaN"),
        ({**TENSORS, "fc.weight": np.zeros((3, 2), int)}, r"fc\.weight is int64"),
        ({**TENSORS, "stem.bn.running_var": np.full(4, -1.0)}, r"running_var has negative variances, down to -1"),
    ],
)
def test_wrong_tensors_are_named(tmp_path, tensors, message):
    with pytest.raises(WeightsError, match=message):
        read_weights(write_npz(tmp_path / "mine.npz", tensors))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine.npz", b"PK\x03\x04" + bytes(500), "damaged or of another kind"),
        ("mine.h5", b"", r"mine\.h5"),
        ("gone.npz", None, "cannot be read"),
    ],
)
def test_damaged_unknown_and_absent_files(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path / name)
