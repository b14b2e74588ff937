# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The one binding to the kernels: check, drop the GIL, call, raise. No arithmetic, no defaults."""
import os

from libc.stdint cimport uint8_t, uint16_t
from libc.stdlib cimport free
from posix.stdlib cimport posix_memalign

from pspfast cimport _core as core

cdef tuple _runnable():
    names, index = [], 0
    while core.runnable_kernels(index) != NULL:
        names.append(core.runnable_kernels(index).name.decode())
        index += 1
    return tuple(names)


cdef tuple _known():
    names, index = [], 0
    while core.known_isa(index) != NULL:
        names.append(core.known_isa(index).decode())
        index += 1
    return tuple(names)


RUNNABLE_ISAS = _runnable()
KNOWN_ISAS = _known()


cdef const core.KernelTable* _table(str name) except NULL:
    if name in RUNNABLE_ISAS:
        return core.runnable_kernels(RUNNABLE_ISAS.index(name))
    reason = "this CPU does not run it" if name in KNOWN_ISAS else f"expected one of {', '.join(KNOWN_ISAS)}"
    raise RuntimeError(f"instruction set {name!r} cannot be used: {reason}; here: {', '.join(RUNNABLE_ISAS)}")


cdef str _active = ""


def active_isa():
    global _active
    if not _active:
        name = os.environ.get("PSPFAST_ISA") or RUNNABLE_ISAS[0]
        try:
            _table(name)
        except RuntimeError as error:
            raise RuntimeError(f"PSPFAST_ISA: {error}") from None
        _active = name
    return _active


cdef class Normalizer:
    """What each byte value becomes in each output channel; read-only once made, so threads may share it."""

    cdef core.Normalization values

    def __cinit__(self, tuple mean not None, tuple inv_std not None):
        cdef double[3] means
        cdef double[3] factors
        means[0], means[1], means[2] = mean
        factors[0], factors[1], factors[2] = inv_std
        core.make_normalization(means, factors, &self.values)


cdef int _run(const uint8_t[:, :, :] image, void* out, core.Element element, core.Placement place,
              Normalizer normalizer, float pad_value, bint reverse_channels, str isa) except -1:
    cdef const core.KernelTable* table = _table(isa)
    if image.shape[2] != 3 or image.strides[2] != 1 or (image.shape[1] > 1 and image.strides[1] != 3):
        raise ValueError("image must be (height, width, 3) with the pixels of a row packed")
    cdef core.PictureView picture
    picture.height, picture.width, picture.row_stride = image.shape[0], image.shape[1], image.strides[0]
    # An empty picture has no first byte; the kernel refuses it by its shape before it looks.
    picture.data = &image[0, 0, 0] if image.shape[0] > 0 and image.shape[1] > 0 else NULL
    cdef core.Channels channels = core.Channels.reversed if reverse_channels else core.Channels.as_they_are

    cdef size_t scratch_bytes = core.letterbox_workspace(place)
    cdef void* scratch = NULL
    if posix_memalign(&scratch, 64, scratch_bytes + 64) != 0:
        raise MemoryError(f"no memory for {scratch_bytes} bytes of scratch")
    cdef core.Status status
    with nogil:
        status = core.letterbox(table[0], picture, place, normalizer.values, channels, pad_value, element, out,
                                scratch, scratch_bytes)
        free(scratch)
    if status == core.Status.ok:
        return 0
    if status == core.Status.bad_shape:
        raise ValueError(
            f"a side is out of range (1 to 2**28): picture {image.shape[0]}x{image.shape[1]}, resized "
            f"{place.resized_height}x{place.resized_width}, canvas {place.canvas_height}x{place.canvas_width}")
    if status == core.Status.bad_placement:
        raise ValueError(
            f"resized picture {place.resized_height}x{place.resized_width} at row {place.top}, column {place.left} "
            f"does not lie inside the canvas {place.canvas_height}x{place.canvas_width}")
    raise RuntimeError(f"letterbox kernel: unexpected status {<int> status}")


cdef core.Placement _placement(Py_ssize_t canvas_height, Py_ssize_t canvas_width, tuple resized, tuple offset):
    cdef core.Placement place
    place.canvas_height, place.canvas_width = canvas_height, canvas_width
    place.resized_height, place.resized_width = resized
    place.top, place.left = offset
    return place


def letterbox_f16(const uint8_t[:, :, :] image not None, uint16_t[:, :, ::1] out not None, tuple resized not None,
                  tuple offset not None, Normalizer normalizer not None, float pad_value, bint reverse_channels,
                  str isa not None):
    if out.shape[0] != 3 or out.shape[1] == 0 or out.shape[2] == 0:
        raise ValueError("out must be (3, height, width) and not empty")
    _run(image, &out[0, 0, 0], core.Element.f16, _placement(out.shape[1], out.shape[2], resized, offset), normalizer,
         pad_value, reverse_channels, isa)


def letterbox_f32(const uint8_t[:, :, :] image not None, float[:, :, ::1] out not None, tuple resized not None,
                  tuple offset not None, Normalizer normalizer not None, float pad_value, bint reverse_channels,
                  str isa not None):
    if out.shape[0] != 3 or out.shape[1] == 0 or out.shape[2] == 0:
        raise ValueError("out must be (3, height, width) and not empty")
    _run(image, &out[0, 0, 0], core.Element.f32, _placement(out.shape[1], out.shape[2], resized, offset), normalizer,
         pad_value, reverse_channels, isa)
