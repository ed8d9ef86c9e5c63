"""t-SNE on one thread: its threads wait for each other by spinning, which takes long where tests run side by side."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import sklearn.manifold._t_sne  # noqa: F401 (loads the library whose threads are meant)

    with threadpool_limits(limits=1):
        yield
