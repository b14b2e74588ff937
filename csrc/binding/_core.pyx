# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The one binding to the kernels: check, drop the GIL, call, raise. No arithmetic, no defaults.

Beside the kernels there is :func:`read_file`, which drops the GIL once where Python's calls drop it five times: with
two threads over small files, handing the GIL over is what takes the time.
"""
import os

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EINTR, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libc.stdlib cimport free
from posix.fcntl cimport O_CLOEXEC, O_NONBLOCK, O_RDONLY, open as c_open
from posix.stat cimport S_ISREG, fstat, struct_stat
from posix.stdlib cimport posix_memalign
from posix.unistd cimport close, pread

cimport kernels as core

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
    """What each byte value becomes in each output channel; read-only once made, so threads may share it.

    ``single`` takes the place of the float32 values.
    """

    cdef core.Normalization values

    def __cinit__(self, tuple mean not None, tuple inv_std not None, const float[:, ::1] single=None):
        cdef double[3] means
        cdef double[3] factors
        cdef int channel, value
        means[0], means[1], means[2] = mean
        factors[0], factors[1], factors[2] = inv_std
        core.make_normalization(means, factors, &self.values)
        if single is None:
            return
        if single.shape[0] != 3 or single.shape[1] != 256:
            raise ValueError(f"single must be (3, 256), got {single.shape[0]}x{single.shape[1]}")
        for channel in range(3):
            for value in range(256):
                self.values.single[channel][value] = single[channel, value]


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


cdef class _Mask:
    """A held buffer of a (height, width) array of integers."""

    cdef Py_buffer buffer
    cdef core.MaskView view
    cdef bint held

    def __cinit__(self, array, bint writable=False):
        self.held = False
        PyObject_GetBuffer(array, &self.buffer, PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        self.held = True
        if self.buffer.ndim != 2 or (self.buffer.shape[1] > 1 and self.buffer.strides[1] != self.buffer.itemsize):
            raise ValueError("a mask must be (height, width) with the values of a row packed")
        kind = (<bytes> self.buffer.format).decode()
        if kind == "B":
            self.view.type = core.Integer.u8
        elif kind in "hilq" and self.buffer.itemsize == 2:
            self.view.type = core.Integer.i16
        elif kind in "hilq" and self.buffer.itemsize == 4:
            self.view.type = core.Integer.i32
        elif kind in "hilq" and self.buffer.itemsize == 8:
            self.view.type = core.Integer.i64
        else:
            raise TypeError(f"a mask must hold uint8, int16, int32 or int64, got the buffer format {kind!r}")
        self.view.data = self.buffer.buf
        self.view.height, self.view.width = self.buffer.shape[0], self.buffer.shape[1]
        self.view.row_stride = self.buffer.strides[0]

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)


cdef void* _mask_scratch(int64_t width, size_t* size) except NULL:
    cdef void* scratch = NULL
    size[0] = core.mask_workspace(width)
    if posix_memalign(&scratch, 64, size[0] + 64) != 0:
        raise MemoryError(f"no memory for {size[0]} bytes of scratch")
    return scratch


cdef core.Crop _crop(tuple offset, tuple size):
    cdef core.Crop crop
    crop.top, crop.left = offset
    crop.height, crop.width = size
    return crop


cdef int _check_masks(core.Status status, _Mask mask, core.Crop crop, int64_t height, int64_t width) except -1:
    if status == core.Status.ok:
        return 0
    sizes = f"mask {mask.view.height}x{mask.view.width}, crop {crop.height}x{crop.width}, result {height}x{width}"
    if status == core.Status.bad_shape:
        raise ValueError(f"a side is out of range (1 to 2**28): {sizes}")
    if status == core.Status.bad_placement:
        raise ValueError(f"the crop at row {crop.top}, column {crop.left} does not lie inside the mask: {sizes}")
    if status == core.Status.value_out_of_range:
        raise OverflowError("the mask holds values that the result cannot")
    raise RuntimeError(f"mask kernel: unexpected status {<int> status}")


def unpad_mask(mask, out, tuple offset not None, tuple size not None):
    cdef _Mask source = _Mask(mask), target = _Mask(out, True)
    cdef core.Crop crop = _crop(offset, size)
    cdef core.MutableMaskView result
    result.data, result.type = target.buffer.buf, target.view.type
    result.height, result.width, result.row_stride = target.view.height, target.view.width, target.view.row_stride
    cdef size_t scratch_bytes
    cdef void* scratch = _mask_scratch(result.width, &scratch_bytes)
    cdef core.Status status
    with nogil:
        status = core.unpad(source.view, crop, result, scratch, scratch_bytes)
        free(scratch)
    _check_masks(status, source, crop, result.height, result.width)


cdef class LabelRows:
    """Rows that labels are counted in, checked once; read-only, so threads may share it."""

    cdef core.Classes view
    cdef const int32_t[::1] row_of

    def __cinit__(self, int64_t count, const int32_t[::1] row_of not None, int64_t ignore):
        cdef Py_ssize_t i
        if count < 1 or count >= 1 << 30:
            raise ValueError(f"the number of classes is out of range: {count}")
        for i in range(row_of.shape[0]):
            if row_of[i] < 0 or row_of[i] > count + 1:
                raise ValueError(f"label {i} would be counted in row {row_of[i]}, of {count + 2}")
        self.row_of = row_of
        self.view.count, self.view.labels, self.view.ignore = count, row_of.shape[0], ignore
        self.view.row_of = &row_of[0] if row_of.shape[0] else NULL


def count_confusion(preds, target, tuple offset not None, tuple size not None, LabelRows classes not None,
              int64_t[:, ::1] counts not None, str isa not None):
    cdef const core.KernelTable* table = _table(isa)
    cdef _Mask source = _Mask(preds), labels = _Mask(target)
    cdef core.Crop crop = _crop(offset, size)
    if counts.shape[0] != classes.view.count + 2 or counts.shape[1] != classes.view.count + 1:
        raise ValueError("counts must be (num_classes + 2, num_classes + 1)")
    cdef size_t scratch_bytes
    cdef void* scratch = _mask_scratch(labels.view.width, &scratch_bytes)
    cdef core.Status status
    with nogil:
        status = core.confusion(table[0], source.view, crop, labels.view, classes.view, &counts[0, 0], scratch,
                                scratch_bytes)
        free(scratch)
    _check_masks(status, source, crop, labels.view.height, labels.view.width)


def list_confusion_runs(preds, target, tuple offset not None, tuple size not None, LabelRows classes not None,
                   int64_t[::1] cells not None, int64_t[::1] lengths not None, str isa not None):
    cdef const core.KernelTable* table = _table(isa)
    cdef _Mask source = _Mask(preds), labels = _Mask(target)
    cdef core.Crop crop = _crop(offset, size)
    cdef int64_t pixels = labels.view.height * labels.view.width
    if cells.shape[0] < pixels or lengths.shape[0] < pixels or pixels == 0:
        raise ValueError(f"cells and lengths must have room for {pixels} runs, and there must be pixels")
    cdef size_t scratch_bytes
    cdef int64_t runs = 0
    cdef void* scratch = _mask_scratch(labels.view.width, &scratch_bytes)
    cdef core.Status status
    with nogil:
        status = core.confusion_runs(table[0], source.view, crop, labels.view, classes.view, &cells[0], &lengths[0],
                                     &runs, scratch, scratch_bytes)
        free(scratch)
    _check_masks(status, source, crop, labels.view.height, labels.view.width)
    return runs


def read_file(path not None, int64_t start, uint8_t[::1] room not None):
    cdef bytes name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("embedded null byte")
    cdef const char* c_name = name
    cdef struct_stat about
    cdef int64_t count = 0, wanted = room.shape[0]
    cdef uint8_t* into = &room[0] if wanted else NULL
    cdef Py_ssize_t got = 0
    cdef int problem = 0, is_regular = 0, file
    with nogil:
        file = c_open(c_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK)  # a pipe must not hang the run
        if file < 0:
            problem = errno
        else:
            if fstat(file, &about) < 0:
                problem = errno
            else:
                is_regular = S_ISREG(about.st_mode) != 0
            while is_regular and count < wanted:
                got = pread(file, into + count, wanted - count, start + count)
                if got > 0:
                    count += got
                elif got == 0:
                    break
                elif errno != EINTR:
                    problem = errno
                    break
            close(file)
    if problem:
        raise OSError(problem, os.strerror(problem), path)
    if not is_regular:
        raise OSError(None, "not a regular file", path)
    return about.st_size, about.st_mtim.tv_sec * 1_000_000_000 + about.st_mtim.tv_nsec, count
