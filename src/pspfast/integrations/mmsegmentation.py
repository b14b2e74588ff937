"""mmsegmentation 1.x: ``PSPFastIoUMetric`` in place of ``IoUMetric``, counted exactly and by runs of equal pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pspfast.metrics.confusion import ConfusionMatrix

try:
    import torch
    from mmseg.evaluation import IoUMetric
    from mmseg.registry import METRICS
except ImportError as error:
    raise ImportError(
        "pspfast.integrations.mmsegmentation needs mmsegmentation 1.2, with mmcv or, where none of its compiled "
        "operators are used, mmcv-lite: pip install torch 'mmsegmentation>=1.2,<2' 'mmcv-lite>=2,<2.2'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

__all__ = ["PSPFastIoUMetric"]


@METRICS.register_module()
class PSPFastIoUMetric(IoUMetric):
    """mmsegmentation's ``IoUMetric``: its arguments, result keys, table and files, with another way to count.

    In a configuration::

        custom_imports = dict(imports=["pspfast.integrations.mmsegmentation"])
        val_evaluator = dict(type="PSPFastIoUMetric", iou_metrics=["mIoU"])

    Pixels are counted as int64 and divided as float64. mmsegmentation adds float32 histograms, which stops being exact
    at 2^24 pixels of a class: with counts like those of a Cityscapes validation (500 pictures, 2 megapixels each) its
    totals were up to 140 pixels off and the IoU of a class 4e-7; nothing that its two decimals show. Its arithmetic on
    exact counts is what comes out here.

    A picture's prediction and labels are copied to the CPU once each, if they are not there, for counting and for
    ``output_dir`` together. As in mmsegmentation, ``reduce_zero_label`` is the dataset's business: labels arrive
    reduced, and files for ``output_dir`` are written one higher. A label that is neither a class nor ``ignore_index``
    counts as a pixel of no class, while the prediction there counts in the union of its class, as in mmsegmentation
    and unlike in ``ConfusionMatrix.iou``. The one difference: with a single class, mmsegmentation's histogram of zero
    width takes every value for class 0, and here only 0 is.

    Args:
        ignore_index, iou_metrics, nan_to_num, beta, collect_device, output_dir, format_only, prefix: as those of
            ``IoUMetric``.

    Example:
        >>> import torch
        >>> metric = PSPFastIoUMetric(iou_metrics=["mIoU"], prefix="val")
        >>> metric.dataset_meta = {"classes": ("road", "sky")}
        >>> mask, labels = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 255]])
        >>> metric.process({}, [{"pred_sem_seg": {"data": mask}, "gt_sem_seg": {"data": labels}}])
        >>> metric.results  # intersection, union, predicted and labelled pixels of one picture
        [(tensor([1, 1]), tensor([2, 2]), tensor([2, 1]), tensor([1, 2]))]
    """

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Count pictures, and write their predictions if there is an ``output_dir``.

        Args:
            data_batch: not looked at.
            data_samples: for each picture ``["pred_sem_seg"]["data"]`` and, unless ``format_only``,
                ``["gt_sem_seg"]["data"]``: tensors ``(1, H, W)`` or ``(H, W)`` of class indices on any device.

        Raises:
            ValueError: shapes that differ, or values that are not whole numbers.
        """
        super().process(data_batch, [_on_cpu(sample) for sample in data_samples])

    @staticmethod
    def intersect_and_union(
        pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(num_classes,)`` int64 tensors of one picture: intersection, union, predicted, labelled pixels.

        Args:
            pred_label, label: class indices of equal shapes; float tensors must hold whole numbers.
            num_classes: number of classes.
            ignore_index: label of pixels that do not count.

        Raises:
            ValueError: shapes that differ, or values that are not whole numbers.
        """
        matrix = ConfusionMatrix(num_classes, ignore_index)
        matrix.update(_indices(pred_label), _indices(label))
        areas = matrix.areas()
        predicted = areas.predicted + matrix.predictions_at_invalid_labels
        union = areas.truth + predicted - areas.intersection
        return (
            torch.from_numpy(areas.intersection),
            torch.from_numpy(union),
            torch.from_numpy(predicted),
            torch.from_numpy(areas.truth),
        )

    @staticmethod
    def total_area_to_metrics(
        total_area_intersect: Tensor,
        total_area_union: Tensor,
        total_area_pred_label: Tensor,
        total_area_label: Tensor,
        metrics: str | Sequence[str] = ("mIoU",),
        nan_to_num: int | None = None,
        beta: int = 1,
    ) -> dict[str, Any]:
        """The scores that mmsegmentation makes of these counts, in float64 where it would take float32."""
        areas = (total_area_intersect, total_area_union, total_area_pred_label, total_area_label)
        scores: dict[str, Any] = IoUMetric.total_area_to_metrics(
            *(area.double() for area in areas), metrics, nan_to_num, beta
        )
        return scores


def _on_cpu(sample: Mapping[str, Any]) -> dict[str, Any]:
    """The same sample with its masks on the CPU; those that are there already are not copied."""
    masks = [key for key in ("pred_sem_seg", "gt_sem_seg") if key in sample]
    return {**sample, **{key: {"data": sample[key]["data"].cpu()} for key in masks}}


def _indices(values: Tensor) -> Tensor:
    """Class indices as integers on the CPU: heads with one output channel give their masks of 0 and 1 as floats."""
    values = values.cpu()
    if not values.is_floating_point():
        return values
    whole = values.long()
    if not torch.equal(whole.to(values.dtype), values):
        raise ValueError(
            f"class indices must be whole numbers, got {values.dtype} from {values.min()} to {values.max()}"
        )
    return whole
