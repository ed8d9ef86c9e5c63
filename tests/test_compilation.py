import os

import jax
import jax.numpy as jnp
import pytest

from mpcc_jax import compilation
from mpcc_jax.compilation import compile_ahead, compiler_options


def test_the_options_are_accepted_by_this_version():
    options = compiler_options()
    assert options, "this jaxlib does not know the options of the CPU any more: look for their new names"
    program = jax.jit(lambda x: x + 1.0, compiler_options=options)
    assert program(jnp.ones(3)).tolist() == [2.0, 2.0, 2.0]


def test_unknown_options_are_left_out(monkeypatch):
    monkeypatch.setattr(compilation, "_CPU_OPTIONS", {"xla_cpu_no_such_option": "1"})
    compilation._accepted_options.cache_clear()
    assert compiler_options() == {}
    compilation._accepted_options.cache_clear()
    assert compilation._accepted_options("cuda") == {}
    compilation._accepted_options.cache_clear()


def test_a_function_that_is_compiled_ahead_is_the_same():
    double = jax.jit(lambda x: 2.0 * x)
    compiled = compile_ahead(double, jax.ShapeDtypeStruct((3,), jnp.float32))
    assert compiled.result()(jnp.arange(3.0)).tolist() == double(jnp.arange(3.0)).tolist()


def test_a_mistake_in_tracing_is_raised_at_once():
    with pytest.raises(TypeError, match="shapes"):
        compile_ahead(jax.jit(jnp.add), jnp.ones(2), jnp.ones(3))


@pytest.fixture
def jax_settings():
    names = ("compilation_cache_dir", "compilation_cache_max_size", "persistent_cache_min_compile_time_secs")
    names = [f"jax_{name}" for name in (*names, "enable_compilation_cache")]
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "--xla_backend_extra_options=xla_cpu_disable_loop_unrolling"),
        ("--xla_a=1", "--xla_a=1 --xla_backend_extra_options=xla_cpu_disable_loop_unrolling"),
        ("--xla_backend_extra_options=x=1", "--xla_backend_extra_options=x=1"),
    ],
)
def test_loops_stay_rolled_unless_xla_is_told_otherwise(monkeypatch, before, after):
    monkeypatch.setenv("XLA_FLAGS", before)
    compilation.leave_loops_rolled()
    compilation.leave_loops_rolled()
    assert os.environ["XLA_FLAGS"] == after


def test_programs_are_kept_by_processor_unless_jax_is_told_otherwise(jax_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("MPCC_JAX_CACHE", str(tmp_path))
    told = jax.config.jax_compilation_cache_dir
    compilation.keep_programs()
    assert jax.config.jax_compilation_cache_dir == told
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    compilation.keep_programs()
    assert jax.config.jax_compilation_cache_dir is None
    jax.config.update("jax_enable_compilation_cache", True)
    folders = []
    for processor in ("one", "one", "another"):
        monkeypatch.setattr(compilation, "_processor", lambda name=processor: name)
        compilation.keep_programs()
        folders.append(jax.config.jax_compilation_cache_dir)
        jax.config.update("jax_compilation_cache_dir", None)
    assert folders[0] == folders[1] != folders[2]
    assert all(folder.startswith(str(tmp_path / "programs")) for folder in folders)
    assert 0 < jax.config.jax_compilation_cache_max_size < 1e10
