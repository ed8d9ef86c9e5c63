import pytest

from benchmarks.compare import peer_settings
from benchmarks.peer.settings import parse_variant
from tests.conftest import tiny_config

torch = pytest.importorskip("torch")


def test_what_does_not_train_is_not_timed(monkeypatch):
    from benchmarks.peer.iteration import Peer
    from benchmarks.peer.timing import Loop

    peer = Peer(peer_settings(tiny_config(), 1), parse_variant("eager"), "cpu", torch.Generator().manual_seed(0))
    monkeypatch.setattr(peer, "update", lambda *_: None)
    with pytest.raises(RuntimeError, match="left the generator as it was"):
        Loop(peer).warm_up()
