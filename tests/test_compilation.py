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
