# The C++ side as csrc/kernels.hpp declares it; nothing here but names.
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t


cdef extern from "kernels.hpp" namespace "pspfast" nogil:
    cdef enum class Status:
        ok
        bad_shape
        bad_placement
        workspace_too_small
        value_out_of_range

    cdef enum class Element:
        f16
        f32

    cdef struct PictureView:
        const uint8_t* data
        int64_t height
        int64_t width
        ptrdiff_t row_stride

    cdef struct Placement:
        int64_t canvas_height
        int64_t canvas_width
        int64_t resized_height
        int64_t resized_width
        int64_t top
        int64_t left

    cdef enum class Channels:
        as_they_are
        reversed

    cdef struct Normalization:
        float single[3][256]

    cdef enum class Integer:
        u8
        i16
        i32
        i64

    cdef struct MaskView:
        const void* data
        Integer type
        int64_t height
        int64_t width
        ptrdiff_t row_stride

    cdef struct MutableMaskView:
        void* data
        Integer type
        int64_t height
        int64_t width
        ptrdiff_t row_stride

    cdef struct Crop:
        int64_t top
        int64_t left
        int64_t height
        int64_t width

    cdef struct Classes:
        int64_t count
        const int32_t* row_of
        int64_t labels
        int64_t ignore

    cdef struct KernelTable:
        const char* name

    size_t letterbox_workspace(const Placement&)
    void make_normalization(const double* mean, const double* inv_std, Normalization* out)
    Status letterbox(const KernelTable&, const PictureView&, const Placement&, const Normalization&, Channels,
                     float pad_value, Element, void* out, void* workspace, size_t workspace_bytes)
    size_t mask_workspace(int64_t width)
    Status unpad(const MaskView&, const Crop&, const MutableMaskView&, void* workspace, size_t workspace_bytes)
    Status confusion(const KernelTable&, const MaskView& preds, const Crop&, const MaskView& labels, const Classes&,
                     int64_t* counts, void* workspace, size_t workspace_bytes)
    Status confusion_runs(const KernelTable&, const MaskView& preds, const Crop&, const MaskView& labels,
                          const Classes&, int64_t* cells, int64_t* lengths, int64_t* runs, void* workspace,
                          size_t workspace_bytes)
    const KernelTable* runnable_kernels(size_t index)
    const char* known_isa(size_t index)
