"""What the tools print, written from what is known of their formats; figures of the guide where it has them."""

from __future__ import annotations

PERF_BS1 = """\
[e2e] throughputRate: 7.85666, latency: 184430
[data read] throughputRate: 37.4296, moduleLatency: 26.7168
[preprocess] throughputRate: 28.1654, moduleLatency: 35.5045
[infer] throughputRate: 7.91227, Interface throughputRate: 8.19018, moduleLatency: 126.139
[post] throughputRate: 7.91221, moduleLatency: 126.387
"""
PERF_BS16 = """\
[e2e] throughputRate: 8.16118, latency: 177548
[data read] throughputRate: 40.508, moduleLatency: 24.6865
[preprocess] throughputRate: 29.1145, moduleLatency: 34.3472
[infer] throughputRate: 8.21425, Interface throughputRate: 8.52684, moduleLatency: 121.508
[post] throughputRate: 0.515815, moduleLatency: 1938.68
"""
PERF_NEWER = (
    PERF_BS1.replace("[infer]", "[inference]")
    .replace("[post]", "[postprocess]")
    .replace("184430", "1.84430e+05")
    .replace("37.4296, moduleLatency: 26.7168", "1.45105e+06, moduleLatency: 0.000689156")
)

PURE_STDOUT = """\
[INFO] Dataset number: 0 finished cost 123.2ms
[INFO] Dataset number: 19 finished cost 123.1ms
[INFO] PureInfer result saved in ./result/PureInfer_perf_of_pspnet_bs1_in_device_2.txt
-----------------PureInfer Performance Summary------------------
[INFO] ave_throughputRate: 8.12674samples/s, ave_latency: 123.129ms
----------------------------------------------------------------
"""
PURE_FILE = "ave_throughputRate = 8.51957samples/s, ave_latency = 117.39ms\n"

_AIS_HEAD = "[INFO] -----------------Performance Summary------------------\n"
_AIS_TIMES = (
    "[INFO] NPU_compute_time (ms): min = 116.1, max = 119.9, mean = 117.5, median = 117.4, percentile(99%) = 119.8\n"
)
_SECOND = ("mean(117.5): 136.17021276595744", "mean(117.6): 136.0544")
_AIS_TAIL = "[INFO] ------------------------------------------------------\n"
AIS_2023 = (
    _AIS_HEAD
    + _AIS_TIMES
    + "[INFO] throughput 1000*batchsize.mean(16)/NPU_compute_time.mean(117.5): 136.17021276595744\n"
    + _AIS_TAIL
)
AIS_2022 = AIS_2023.replace("batchsize.mean(16)", "batchsize(16)")
AIS_EARLY = (
    _AIS_HEAD
    + "[INFO] H2D_latency (ms): min = 2.0, max = 2.0, mean = 2.0, median = 2.0, percentile(99%) = 2.0\n"
    + _AIS_TIMES
    + "[INFO] D2H_latency (ms): min = 0.5, max = 0.5, mean = 0.5, median = 0.5, percentile(99%) = 0.5\n"
    + "[INFO] throughput (1000*batchsize/NPU_compute_time): 136.17021276595744\n"
    + _AIS_TAIL
)
AIS_TWO_DEVICES = (
    AIS_2023
    + AIS_2023.replace("mean = 117.5", "mean = 117.6").replace(
        "mean(117.5): 136.17021276595744", "mean(117.6): 136.0544"
    )
    + "[INFO] i:0 device_1 throughput:136.17021276595744 start_time:1.0 end_time:2.0\n"
    + "[INFO] i:1 device_2 throughput:136.0544 start_time:1.0 end_time:2.0\n"
    + "[INFO] summary throughput:272.22461\n"
)

TRT_STAMP = "[09/24/2021-04:17:29] [I] "
TRT_7 = "".join(
    (TRT_STAMP + line).rstrip(" ") + "\n"
    for line in """\
Host Latency
min: 16.1 ms (end to end 31.2 ms)
max: 21.0 ms (end to end 40.1 ms)
mean: 16.6 ms (end to end 32.3 ms)
median: 16.5 ms (end to end 32.0 ms)
percentile: 19.6 ms at 99% (end to end 38.0 ms at 99%)
throughput: 0 qps
walltime: 3.07 s
Enqueue Time
min: 1.1 ms
max: 3.2 ms
median: 1.2 ms
GPU Compute
min: 15.829 ms
max: 20.5302 ms
mean: 16.2649 ms
median: 16.0951 ms
percentile: 19.1857 ms at 99%
total compute time: 3.04154 s""".splitlines()
)


def trt_8(command: str, *, dimensions: str = "", banner: str = "[TensorRT v8601] ", passed: bool = True) -> str:
    """A log of 8.6."""
    stamp = "[08/03/2023-10:27:37] [I] "
    binding = f"{stamp}Input binding for input with dimensions {dimensions} is created.\n" if dimensions else ""
    end = f"&&&& {'PASSED' if passed else 'FAILED'} TensorRT.trtexec {banner}# {command}\n"
    return (
        f"&&&& RUNNING TensorRT.trtexec {banner}# {command}\n"
        f"{stamp}=== Device Information ===\n{stamp}Selected Device: Tesla T4\n"
        f"{stamp}TensorRT version: 8.6.1\n{binding}"
        f"{stamp}Timing trace has 60 queries over 3.05 s\n"
        f"{stamp}=== Performance summary ===\n{stamp}Throughput: 19.67 qps\n"
        f"{stamp}Latency: min = 51.0 ms, max = 54.0 ms, mean = 52.0 ms, median = 51.9 ms, percentile(90%) = 53.0 ms, "
        "percentile(95%) = 53.5 ms, percentile(99%) = 53.9 ms\n"
        f"{stamp}Enqueue Time: min = 1.0 ms, max = 2.0 ms, mean = 1.5 ms, median = 1.5 ms, percentile(99%) = 2.0 ms\n"
        f"{stamp}H2D Latency: min = 1.0 ms, max = 1.2 ms, mean = 1.1 ms, median = 1.1 ms, percentile(99%) = 1.2 ms\n"
        f"{stamp}GPU Compute Time: min = 49.0 ms, max = 52.0 ms, mean = 50.0 ms, median = 49.9 ms, "
        "percentile(90%) = 51.0 ms, percentile(95%) = 51.5 ms, percentile(99%) = 51.9 ms\n"
        f"{stamp}D2H Latency: min = 0.8 ms, max = 1.0 ms, mean = 0.9 ms, median = 0.9 ms, percentile(99%) = 1.0 ms\n"
        f"{stamp}Total Host Walltime: 3.05 s\n{stamp}Total GPU Compute Time: 3.0 s\n" + end
    )
