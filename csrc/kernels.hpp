// The contract between the binding and the kernels: plain views in, Status out.
//
// Nothing here knows Python, makes a thread, allocates or throws. Whoever calls owns every buffer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pspfast {

enum class Status : int {
    ok = 0,
    bad_shape,            // a size below 1, or one too large for 32-bit pixel arithmetic
    bad_placement,        // the resized picture does not lie inside the canvas
    workspace_too_small,  // fewer bytes than letterbox_workspace() or mask_workspace() asked for
    value_out_of_range,   // a mask holds a value that the output's type cannot
};

enum class Isa : int { scalar = 0, avx2, avx512, neon };

// ---- letterbox ---------------------------------------------------------------------------------

enum class Element : int { f16 = 0, f32 = 1 };
enum class Channels : int { as_they_are = 0, reversed = 1 };  // reversed: output channel c is input channel 2 - c

// uint8, height x width x 3, the three channels packed; rows `row_stride` bytes apart (may be negative).
struct PictureView {
    const std::uint8_t* data;
    std::int64_t height, width;
    std::ptrdiff_t row_stride;
};

// Where the resized picture goes in the canvas, in pixels.
struct Placement {
    std::int64_t canvas_height, canvas_width;
    std::int64_t resized_height, resized_width;
    std::int64_t top, left;
};

// What each of the 256 values of a byte becomes, channel by channel in the order of the *output*: the definition of
// normalization here. `mean` and `inv_std` serve kernels that find the halves faster than by looking them up.
struct Normalization {
    std::uint16_t half[3][256];
    float single[3][256];
    float mean[3], inv_std[3];
};

// (x - mean) * inv_std as cv2.subtract and cv2.multiply compute it with a scalar (measured, OpenCV 4.11 and 5.0): the
// difference in float32 with the mean rounded to it, the product in double with the factor as it is, rounded once.
void make_normalization(const double mean[3], const double inv_std[3], Normalization* out);

// One horizontal tap pair of the bilinear resize: byte offset of the left pixel, weights of left and right in 1/2048.
struct ColumnTap {
    std::int32_t offset;
    std::int16_t left_weight, right_weight;
};

// The row operations of the letterbox that are worth an instruction set of their own. "Interleaved" rows hold
// 3 values a pixel. Row buffers written by them have room for `row_slack` values past the end.
struct LetterboxRows {
    // Horizontal pass: out[3x+c] = (row[offset+c] * left + row[offset+tap_step+c] * right) >> 4.
    // Columns from `exact_from` on must not read more than the 6 bytes they need (they lie at the row's end).
    void (*blend_columns)(const std::uint8_t* row, const ColumnTap* taps, std::int64_t count, std::int64_t exact_from,
                          std::int64_t tap_step, std::int16_t* out);
    // Vertical pass over `count` values: (((upper * w0) >> 16) + ((lower * w1) >> 16) + 2) >> 2.
    void (*blend_rows)(const std::int16_t* upper, const std::int16_t* lower, std::int16_t upper_weight,
                       std::int16_t lower_weight, std::int64_t count, std::uint8_t* out);
    // Exact 2x reduction of two rows of 2 * count pixels: (a + b + c + d + 2) >> 2.
    void (*average_2x2)(const std::uint8_t* upper, const std::uint8_t* lower, std::int64_t count, std::uint8_t* out);
    // Interleaved bytes to three planes of halves, by (x - mean) * inv_std in float32; `plane`, `mean` and `inv_std`
    // are in the order of the *input* channels, `count` is at least `least_normalized`. Used only where it gives the
    // halves of the Normalization, all 768 of them. nullptr: nothing is faster than looking them up.
    void (*normalize_f16)(const std::uint8_t* row, std::int64_t count, const float* mean, const float* inv_std,
                          std::uint16_t* const* plane);
};

constexpr std::int64_t row_slack = 64;
constexpr std::int64_t least_normalized = 16;

struct KernelTable;

// Bytes of workspace letterbox() needs for this placement.
std::size_t letterbox_workspace(const Placement& placement);

// Resize (OpenCV's INTER_LINEAR on uint8, to the bit), swap, normalize and pad into `out`: 3 x canvas_height x
// canvas_width elements, C order. `pad_value` is written round the picture as it is: padding comes after normalization.
// `workspace` is 64-byte aligned scratch, used by this call only.
Status letterbox(const KernelTable& kernels, const PictureView& picture, const Placement& placement,
                 const Normalization& normalization, Channels channels, float pad_value, Element element, void* out,
                 void* workspace, std::size_t workspace_bytes);

// ---- masks: unpad and confusion ----------------------------------------------------------------

enum class Integer : int { u8 = 0, i16, i32, i64 };

// height x width class indices, packed in a row; rows `row_stride` bytes apart (may be negative).
struct MaskView {
    const void* data;
    Integer type;
    std::int64_t height, width;
    std::ptrdiff_t row_stride;
};

struct MutableMaskView {
    void* data;
    Integer type;
    std::int64_t height, width;
    std::ptrdiff_t row_stride;
};

// The part of a mask that holds the picture.
struct Crop {
    std::int64_t top, left, height, width;
};

// The row operation on masks that is worth an instruction set of its own, one for each element size: 1, 2, 4, 8 bytes.
// (Gathers are not: on Zen 1 and 5 they are no faster than loads one by one.)
struct MaskRows {
    // Bit x of `ends`, 64 a word, is set where a run ends: row[x] != row[x + 1]. Reads 64 * words + 1 values.
    void (*run_ends[4])(const void* row, std::int64_t words, std::uint64_t* ends);
};

// What becomes of the values of labels and predictions. Rows of the counts are truth, columns prediction.
struct Classes {
    std::int64_t count;          // C
    const std::int32_t* row_of;  // row of each label from 0 to labels - 1: a class, C (ignored) or C + 1 (invalid)
    std::int64_t labels;
    std::int64_t ignore;  // a label beyond the table that is ignored; all others beyond it are invalid
};

// Bytes of workspace that unpad() and confusion() need for an output, or labels, of this width.
std::size_t mask_workspace(std::int64_t width);

// `crop` of the mask to the size of `out`, nearest by PyTorch's rule: min(int(floorf(i * (float(in) / out))), in - 1).
// `out` is u8 or i32; what it cannot hold is an error and `out` is then unspecified.
Status unpad(const MaskView& mask, const Crop& crop, const MutableMaskView& out, void* workspace,
             std::size_t workspace_bytes);

// Count the pixels of `labels` against `crop` of `preds` brought to their size as unpad() does. `counts` is
// (C + 2) x (C + 1), added to: rows are the classes, ignored and invalid labels; columns the classes and invalid
// predictions. Every pixel is in exactly one cell.
Status confusion(const KernelTable& kernels, const MaskView& preds, const Crop& crop, const MaskView& labels,
                 const Classes& classes, std::int64_t* counts, void* workspace, std::size_t workspace_bytes);

// The same for class numbers that make `counts` too large: runs of equal cells, at most one a pixel, as cell numbers
// and lengths; `*runs` is set to how many.
Status confusion_runs(const KernelTable& kernels, const MaskView& preds, const Crop& crop, const MaskView& labels,
                      const Classes& classes, std::int64_t* cells, std::int64_t* lengths, std::int64_t* runs,
                      void* workspace, std::size_t workspace_bytes);

// ---- dispatch ----------------------------------------------------------------------------------

struct KernelTable {
    Isa isa;
    const char* name;
    const LetterboxRows* letterbox;
    const MaskRows* masks;
};

// Each ISA file defines its rows; which of the files are built depends on the target.
extern const LetterboxRows letterbox_scalar, letterbox_avx2, letterbox_avx512, letterbox_neon;
extern const MaskRows masks_scalar, masks_avx2, masks_avx512, masks_neon;

// True if this CPU has the instructions and this OS saves their registers.
bool cpu_runs(Isa isa);

// The tables this process can run, best first; the last is always the scalar one. nullptr past the end.
const KernelTable* runnable_kernels(std::size_t index);

// Every name a table can have on some machine, for messages; nullptr past the end.
const char* known_isa(std::size_t index);

// Round to nearest even, IEEE binary32 -> binary16.
std::uint16_t half_from_float(float value);

}  // namespace pspfast
