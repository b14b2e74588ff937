"""What Ascend's documentation says about ONNX operators: one table of limits, and the lists of operators.

Everything here is documented, with its source; nothing was measured on a device. A limit that no document names is
not here, so a model that respects them all may still be slow or be refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AWKWARD", "LIMITS", "OPERATORS", "OPSETS", "POOL_LIMITS", "RESIZE", "Limit", "PoolLimits", "ResizeLimits",
    "lists_with", "pool_excesses",
]  # fmt: skip

_AVERAGE_POOL = "CANN, ONNX AveragePool (atlasoxol_09_0022): 5.0.4, 7.0, 8.0, 8.5 and 9.0 agree"
_MAX_POOL = "CANN, ONNX MaxPool (atlasoxol_09_0094; 09_0073 in 5.0.4): 5.0.4, 8.0, 8.5 and 9.0 agree"
_RESIZE = "CANN, ONNX Resize (atlasoxol_09_0131; 09_0129 in 7.0)"
_ATC = "ATC manual of 2026, --framework"


@dataclass(frozen=True, slots=True)
class Limit:
    """A documented limit.

    Attributes:
        subject: what is limited.
        least, most: the range; ``None`` where there is no end.
        beyond: what the documentation says about what lies outside.
        source: where it says so.
    """

    subject: str
    least: int | None
    most: int | None
    beyond: str
    source: str

    def __contains__(self, value: int) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        if self.least is None:
            return f"at most {self.most}"
        return f"at least {self.least}" if self.most is None else f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Of a pooling operator.

    Attributes:
        side, area, stride: of the kernel; ``width`` of the input.
        pads_counted: whether ``count_include_pad`` is taken.
        auto_pads: values of ``auto_pad`` that are taken by all documented versions.
        dilations: whether dilations are taken for 2-D input.
    """

    side: Limit
    area: Limit
    stride: Limit
    width: Limit
    pads_counted: bool
    auto_pads: tuple[str, ...]
    dilations: bool
    source: str


@dataclass(frozen=True, slots=True)
class ResizeLimits:
    """Of Resize: ``modes`` and ``coordinates`` that are taken, ``nearest`` roundings; sizes must be constants."""

    modes: tuple[str, ...]
    coordinates: tuple[str, ...]
    nearest: tuple[str, ...]
    source: str


def _pool_limits(source: str, *, pads_counted: bool, dilations: bool) -> PoolLimits:
    slow = "runs on the AI CPU"
    return PoolLimits(
        side=Limit("kernel side", 1, 255, slow, source),
        area=Limit("kernel area", None, 256, slow, source),
        stride=Limit("stride", None, 63, slow, source),
        width=Limit("input width", 1, 4096, "is outside of the constraints", source),
        pads_counted=pads_counted,
        # 5.0.4 took SAME_LOWER and did as for SAME_UPPER, AveragePool since 7.0 refuses it, MaxPool takes it since 8.1.
        auto_pads=("NOTSET", "SAME_UPPER", "VALID"),
        dilations=dilations,
        source=source,
    )


POOL_LIMITS: dict[str, PoolLimits] = {
    "AveragePool": _pool_limits(_AVERAGE_POOL, pads_counted=False, dilations=False),
    "MaxPool": _pool_limits(_MAX_POOL, pads_counted=True, dilations=False),
}
"""There are none for GlobalAveragePool (atlasoxol_09_0066 says so) and ReduceMean, whatever they average over."""

RESIZE = ResizeLimits(
    modes=("nearest", "linear"),
    coordinates=(
        "align_corners", "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize", "pytorch_half_pixel", "half_pixel"
    ),
    nearest=("round_prefer_ceil",),
    source=_RESIZE,
)  # fmt: skip

LIMITS: dict[str, Limit] = {
    "opset": Limit("opset of the model", 11, 18, "is outside of what ATC takes", _ATC),
    "opset of 2021": Limit(
        "opset of the model", None, 11, "was refused by ATC of 2021 and 2022", "github.com/lenLRX/Atlas_ACL_E2E_Demo#37"
    ),
}

OPSETS: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "AveragePool": ({"5.0.4": tuple(range(8, 14)), "7.0 to 9.0": tuple(range(8, 19))}, _AVERAGE_POOL),
    "MaxPool": ({"5.0.4": tuple(range(8, 14)), "8.0 to 9.0": tuple(range(8, 19))}, _MAX_POOL),
    "GlobalAveragePool": (
        {"5.0.4": tuple(range(8, 14)), "6.0.1": tuple(range(8, 17)), "8.0 to 9.0": tuple(range(8, 19))},
        "CANN, ONNX GlobalAveragePool (atlasoxol_09_0066)",
    ),
    "Resize": (
        {"8.0 to 9.0": (10, 11, 12, 14, 15, 16, 17), "7.0 and the newest": (10, 11, 12, 14, 15, 16, 17, 18)},
        _RESIZE,
    ),
}
"""Operator -> opsets of the model listed for it, by version of CANN, and the source. Resize never has 13."""

AWKWARD: dict[str, str] = {
    "GatherND": "picks values one by one; torch's newer exporter makes it of adaptive pools of uneven windows (82 ms "
    "against 11 ms for the matrix form on a CPU)",
    "If": "chooses what to run while running; ATC needs graphs of fixed shape",
    "Loop": "repeats a graph while running; ATC needs graphs of fixed shape",
    "NonZero": "has an output whose size depends on the picture",
    "Shape": "computes sizes while running, which Resize needs as constants",
}
"""Operators that are trouble even where they are listed, and why: they are what exporters leave of sizes not fixed."""

# Names as the lists spell them, which is not always ONNX's spelling of capitals.
_LISTED_IN_5_0_4 = """
    Abs Acos Acosh AdaptiveAvgPool2D AdaptiveMaxPool2D Add Addcmul AffineGrid And Argmax Argmin AscendRequantS16
    AscendRequant AscendQuant AscendDequantS16 AscendDequant AscendAntiQuant Asin Asinh Atan Atanh AveragePool
    BatchNormalization BatchMatMul BatchMultiClassNMS BitShift Cast Ceil Celu Clip Concat ConvTranspose Cumsum Conv
    Compress Constant ConstantOfShape Cos Cosh DeformableConv2D Det DepthToSpace Div Dropout Elu EmbeddingBag Equal Erf
    Exp Expand EyeLike Flatten Floor Gather GatherND GatherElements Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
    Greater GreaterOrEqual HardSigmoid hardmax HardSwish Identity If InstanceNormalization Less LeakyRelu LessOrEqual
    Log LogSoftMax LpNormalization LpPool LRN LSTM MatMul Max MaxPool MaxRoiPool MaxUnpool Mean
    MeanVarianceNormalization Min Mod Mul Multinomial Neg NonMaxSuppression NonZero Not OneHot Or RandomNormalLike
    RandomUniformLike RandomUniform Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMin ReduceMean
    ReduceProd ReduceSumSquare Resize Relu ReduceSum ReduceMax Reshape ReverseSequence RoiExtractor RoiAlign Round PRelu
    Scatter ScatterElements ScatterND Shrink Selu Shape Sigmoid Slice Softmax Softsign Softplus SpaceToDepth Split Sqrt
    Squeeze Sub Sign Sin Sinh Size Sum Tanh TfIdfVectorizer Tile ThresholdedRelu TopK Transpose Pad Pow Unsqueeze Where
    Xor
"""
_LISTED_IN_8_0 = """
    Abs Acos Acosh AdaptiveAvgPool2D Add AffineGrid And Argmax Argmin AscendAntiQuant AscendQuant Asin Asinh Atan Atanh
    AveragePool BatchNormalization BatchMultiClassNMS BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu
    Clip Compress Concat Constant ConstantOfShape Conv ConvTranspose Corr Cos Cosh Cumsum DeformableConv2D DepthToSpace
    Det Div Dropout DynSeqOuter Einsum Elu EmbeddingBag Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements
    GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GRU Hardmax HardSigmoid
    HardSwish Identity If InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftMax
    LpNormalization LpPool LRN LSTM LSTMP MatMul Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mod
    MovingSumWithSigmoid Mul Multinomial Neg NonMaxSuppression NonZero Not OneHot Or Pad Pow RandomNormal
    RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMean ReduceMin ReduceProd ReduceSumSquare ReduceSum ReduceMax Relu Reshape Resize ReverseSequence RoiAlign
    RoiExtractor Round PRelu Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice
    Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh TfIdfVectorizer
    ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""

OPERATORS: dict[str, tuple[frozenset[str], str]] = {
    "5.0.4": (frozenset(_LISTED_IN_5_0_4.lower().split()), "CANN 5.0.4.6, list of ONNX operators (operatorlist_0071)"),
    "8.0": (frozenset(_LISTED_IN_8_0.lower().split()), "CANN 8.0, list of ONNX operators (operatorlist_00176)"),
}
"""Version of CANN -> operators listed for it, in small letters, and the source."""


def lists_with(operator: str) -> list[str]:
    """Versions of CANN whose list has an operator.

    Example:
        >>> lists_with("Einsum"), lists_with("ArgMax"), lists_with("Loop")
        (['8.0'], ['5.0.4', '8.0'], [])
    """
    return [version for version, (names, _) in OPERATORS.items() if operator.lower() in names]


def pool_excesses(operator: str, kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[Limit, int]]:
    """Limits that a pool is beyond, and by which value.

    Example:
        >>> [(limit.subject, value) for limit, value in pool_excesses("AveragePool", (21, 21), (21, 21))]
        [('kernel area', 441)]
    """
    limits = POOL_LIMITS.get(operator)
    if limits is None:
        return []
    area = 1
    for side in kernel:
        area *= side
    values = [(limits.side, max(kernel)), (limits.area, area), (limits.stride, max(stride))]
    return [(limit, value) for limit, value in values if value not in limit]
