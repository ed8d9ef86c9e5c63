"""Traces become the right tables."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.gpu.profile import kernels_of, kind_of, record_trace, reduce_trace
from benchmarks.ours import Run

KERNELS = {
    "convolution": (
        "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64_execute_kernel__5x_cudnn",
        "sm80_xmma_wgrad_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc_kernel",
        "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816dgrad_optimized_bf16_128x128_32x5_nhwc>",
        "cudnn_generated_fort_native_kernel",
        "conv_general_dilated.5",
    ),
    "matmul": (
        "nvjet_tst_128x128_64x6_2x1_v_bz_NNT",
        "gemm_fusion_dot_12",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float>",
        "void cutlass::device_kernel<cute::SM90_TMA_LOAD, cute::UniversalCopy>",
        "dot.3",
    ),
    "copies and transposes": (
        "void cudnn::ops::nchwToNhwcKernel<float, __nv_bfloat16>",
        "MemcpyD2D",
        "loop_dynamic_update_slice_fusion_4",
        "input_transpose_fusion",
        "wrapped_concatenate",
        "loop_pad_fusion",
    ),
    "reduction": ("input_reduce_fusion_7", "input_multiply_reduce_fusion", "wrapped_reduce"),
    "elementwise fusion": (
        "loop_convert_fusion_2",
        "loop_add_multiply_fusion",
        "wrapped_tanh",
        "loop_broadcast_fusion",
    ),
    "other": ("RedzoneAllocatorKernel", "threefry2x32"),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KERNELS.items() for name in names])
def test_kinds_of_kernels(kind, name):
    assert kind_of(name) == kind


def gpu_trace():
    """Two iterations of a convolution on one stream and a fusion on another, overlapping, in jax's format."""

    def name(kind, pid, value, tid=None):
        return {"ph": "M", "pid": pid, "name": kind, "args": {"name": value}} | ({} if tid is None else {"tid": tid})

    def event(pid, tid, what, start, duration):
        return {"ph": "X", "pid": pid, "tid": tid, "name": what, "ts": start, "dur": duration}

    return {
        "traceEvents": [
            name("process_name", 1, "/device:GPU:0"),
            name("process_name", 701, "/host:CPU"),
            name("thread_name", 1, "Stream #13(Compute,MemcpyD2D)", 13),
            name("thread_name", 1, "Stream #14(Compute)", 14),
            name("thread_name", 1, "XLA Ops", 2),
            name("thread_name", 701, "Stream of thoughts", 9),
            event(1, 13, "sm90_xmma_fprop_implicit_gemm", 1000.0, 600.0),
            event(1, 14, "loop_add_fusion", 1500.0, 300.0),
            event(1, 13, "sm90_xmma_fprop_implicit_gemm", 2000.0, 600.0),
            event(1, 14, "loop_add_fusion", 2700.0, 300.0),
            event(1, 2, "fusion", 1000.0, 2000.0),
            event(701, 9, "XlaModule", 0.0, 9000.0),
            {"ph": "i", "pid": 1, "tid": 13, "name": "marker", "ts": 0.0},
        ]
    }


def test_a_trace_of_a_gpu():
    table = reduce_trace(gpu_trace(), iterations=2)
    assert table["window"] == pytest.approx(1.0)
    assert table["busy"] == pytest.approx(0.85)
    expected = {"convolution": 0.6, "elementwise fusion": 0.3, "idle": 0.15}
    assert table["by_kind"] == pytest.approx(expected)
    assert list(table["by_kind"]) == list(expected)
    assert table["kernels"] == 2
    assert [line["name"] for line in table["top"]] == ["sm90_xmma_fprop_implicit_gemm", "loop_add_fusion"]
    assert table["top"][0] == pytest.approx(
        {"name": "sm90_xmma_fprop_implicit_gemm", "kind": "convolution", "share": 0.6, "milliseconds": 0.6, "calls": 1}
    )


def test_a_gpu_that_was_not_traced_is_an_error():
    trace = gpu_trace()
    trace["traceEvents"] = [event for event in trace["traceEvents"] if event["pid"] == 701]
    with pytest.raises(ValueError, match=r"no kernels; its processes are \['/host:CPU'\]"):
        reduce_trace(trace, 2)


def test_a_trace_that_jax_writes():
    program = jax.jit(lambda x, *_: (jax.lax.scan(lambda c, _: (jnp.tanh(c @ c), None), x, None, 3)[0], x))
    run = Run(program, jnp.ones((8, 8)), None, None, None, None, iterations=1, facts={})
    run.call()
    trace = record_trace(run, 2)
    names = [name.split(".")[0] for name, *_ in kernels_of(trace, "cpu")]
    assert not {"while", "call"} & set(names)
    table = reduce_trace(trace, 2, "cpu")
    assert table["kernels"] == len(names) / 2 >= 6
    assert 0 < table["busy"] <= table["window"]
