// unpad and confusion: the one walk over the rows of a letterboxed mask, for every instruction set. Neither makes a
// picture in between: a row of the mask, stretched if need be, stays in L1 until it is written or counted.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "../kernels.hpp"

namespace pspfast {
namespace {

constexpr std::int64_t largest_side = INT64_C(1) << 28;

int log2_size(Integer type) { return static_cast<int>(type); }
std::int64_t size_of(Integer type) { return INT64_C(1) << log2_size(type); }

// Calls `use` with a null pointer of the element's type.
template <class Use>
auto with_type(Integer type, const Use& use) {
    switch (type) {
        case Integer::u8: return use(static_cast<const std::uint8_t*>(nullptr));
        case Integer::i16: return use(static_cast<const std::int16_t*>(nullptr));
        case Integer::i32: return use(static_cast<const std::int32_t*>(nullptr));
        default: return use(static_cast<const std::int64_t*>(nullptr));
    }
}

const std::uint8_t* row_at(const MaskView& mask, std::int64_t y) {
    return static_cast<const std::uint8_t*>(mask.data) + y * mask.row_stride;
}

bool is_side(std::int64_t side) { return side >= 1 && side <= largest_side; }

Status check(const MaskView& mask, const Crop& crop) {
    if (!is_side(mask.height) || !is_side(mask.width) || !is_side(crop.height) || !is_side(crop.width))
        return Status::bad_shape;
    if (crop.top < 0 || crop.left < 0 || crop.top > mask.height - crop.height || crop.left > mask.width - crop.width)
        return Status::bad_placement;
    return Status::ok;
}

// torch.nn.functional.interpolate(mode="nearest"), in its own float32.
struct Nearest {
    std::int64_t length;
    float scale;
    bool is_copy;
    Nearest(std::int64_t from, std::int64_t to)
        : length(from), scale(static_cast<float>(from) / static_cast<float>(to)), is_copy(from == to) {}
    std::int64_t operator()(std::int64_t i) const {
        if (is_copy) return i;  // float32 has no odd numbers beyond 2^24
        return std::min(static_cast<std::int64_t>(std::floor(static_cast<float>(i) * scale)), length - 1);
    }
};

std::size_t aligned(std::size_t bytes) { return (bytes + 63) & ~static_cast<std::size_t>(63); }

// Scratch of one call: index of each column, one stretched row, its run ends and those of the row beside it.
struct Workspace {
    std::size_t index, row, ends;
    explicit Workspace(std::int64_t width)
        : index(aligned(static_cast<std::size_t>(width) * sizeof(std::int32_t))),
          row(aligned(static_cast<std::size_t>(width) * sizeof(std::int64_t))),
          ends(aligned(static_cast<std::size_t>((width + 63) / 64) * sizeof(std::uint64_t))) {}
    std::size_t bytes() const { return index + row + 2 * ends; }
};

// The rows of a crop, brought to a width.
class Stretched {
   public:
    Stretched(const MaskView& mask, const Crop& crop, std::int64_t width, unsigned char* scratch)
        : mask_(mask), crop_(crop), width_(width), index_(reinterpret_cast<std::int32_t*>(scratch)) {
        if (is_copy()) return;
        const Nearest nearest(crop.width, width);
        for (std::int64_t x = 0; x < width; ++x) index_[x] = static_cast<std::int32_t>(nearest(x));
    }

    bool is_copy() const { return crop_.width == width_; }
    const void* source(std::int64_t y) const { return row_at(mask_, crop_.top + y) + crop_.left * size_of(mask_.type); }
    void stretch(std::int64_t y, void* out) const {
        with_type(mask_.type, [&](const auto* null) {
            using T = std::remove_const_t<std::remove_reference_t<decltype(*null)>>;
            const T* values = static_cast<const T*>(source(y));
            for (std::int64_t x = 0; x < width_; ++x) static_cast<T*>(out)[x] = values[index_[x]];
        });
    }

   private:
    const MaskView& mask_;
    const Crop& crop_;
    std::int64_t width_;
    std::int32_t* index_;
};

// False if a value does not fit.
template <class From, class To>
bool convert(const From* from, std::int64_t count, To* to) {
    From lost = 0;
    for (std::int64_t x = 0; x < count; ++x) {
        to[x] = static_cast<To>(from[x]);
        lost = static_cast<From>(lost | (from[x] ^ static_cast<From>(to[x])));
    }
    return lost == 0;
}

template <class To>
bool convert_row(const void* row, Integer type, std::int64_t count, void* out) {
    return with_type(type, [&](const auto* null) {
        using From = std::remove_const_t<std::remove_reference_t<decltype(*null)>>;
        return convert(static_cast<const From*>(row), count, static_cast<To*>(out));
    });
}

// ---- confusion ----

// A row's run ends, its last value's among them, and zeros behind it.
void find_run_ends(const MaskRows& rows, Integer type, const void* row, std::int64_t count, std::uint64_t* ends) {
    const auto run_ends = rows.run_ends[log2_size(type)];
    const std::int64_t size = size_of(type), words = (count - 1) / 64;
    const auto rest = static_cast<int>(count - 64 * words);  // 1 to 64 values
    run_ends(row, words, ends);
    std::uint64_t word;
    if (words > 0) {  // the 64 values before the last one, then those already told shifted out
        run_ends(static_cast<const std::uint8_t*>(row) + (count - 65) * size, 1, &word);
        word = word >> 1 >> (64 - rest);
    } else {
        std::uint64_t padded[65] = {};
        std::memcpy(padded, row, static_cast<std::size_t>(count * size));
        run_ends(padded, 1, &word);
    }
    const std::uint64_t end = UINT64_C(1) << (rest - 1);
    ends[words] = (word & (end - 1)) | end;
}

struct Table {
    std::int64_t* counts;
    void add(std::int64_t cell, std::int64_t length) const { counts[cell] += length; }
};

struct RunList {
    std::int64_t* cells;
    std::int64_t* lengths;
    std::int64_t size;
    void add(std::int64_t cell, std::int64_t length) {
        if (size > 0 && cells[size - 1] == cell) {
            lengths[size - 1] += length;
        } else {
            cells[size] = cell;
            lengths[size++] = length;
        }
    }
};

// So many runs in 64 pixels are faster taken pixel by pixel.
constexpr int noisy = 24;

template <class Pred, class Label, class Sink>
void count_row(const Pred* preds, const Label* labels, std::int64_t count, const std::uint64_t* ends,
               const Classes& classes, Sink& sink) {
    const std::int64_t columns = classes.count + 1;
    const auto cell = [&](std::int64_t x) {
        const auto label = static_cast<std::int64_t>(labels[x]), pred = static_cast<std::int64_t>(preds[x]);
        std::int64_t row = classes.count + 1;
        if (static_cast<std::uint64_t>(label) < static_cast<std::uint64_t>(classes.labels))
            row = classes.row_of[label];
        else if (label == classes.ignore)
            row = classes.count;
        const bool valid = static_cast<std::uint64_t>(pred) < static_cast<std::uint64_t>(classes.count);
        return row * columns + (valid ? pred : classes.count);
    };
    std::int64_t start = 0;  // of the run under way
    for (std::int64_t block = 0; block < count; block += 64) {
        std::uint64_t bits = ends[block / 64];
        if (bits == 0) continue;
        if (__builtin_popcountll(bits) > noisy) {
            const std::int64_t stop = std::min(block + 64, count);
            if (start < block) sink.add(cell(block), block - start);
            for (std::int64_t x = block; x < stop; ++x) sink.add(cell(x), 1);
            start = stop;
            continue;
        }
        for (; bits != 0; bits &= bits - 1) {
            const std::int64_t end = block + __builtin_ctzll(bits);
            sink.add(cell(end), end + 1 - start);
            start = end + 1;
        }
    }
}

template <class Sink>
Status count(const KernelTable& kernels, const MaskView& preds, const Crop& crop, const MaskView& labels,
             const Classes& classes, Sink& sink, void* workspace, std::size_t workspace_bytes) {
    const Status status = check(preds, crop);
    if (status != Status::ok) return status;
    if (!is_side(labels.height) || !is_side(labels.width)) return Status::bad_shape;
    if (workspace_bytes < mask_workspace(labels.width)) return Status::workspace_too_small;

    const Workspace sizes(labels.width);
    auto* scratch = static_cast<unsigned char*>(workspace);
    unsigned char* stretched_row = scratch + sizes.index;
    auto* pred_ends = reinterpret_cast<std::uint64_t*>(stretched_row + sizes.row);
    auto* ends = reinterpret_cast<std::uint64_t*>(stretched_row + sizes.row + sizes.ends);
    const std::int64_t words = (labels.width + 63) / 64;

    const Stretched stretched(preds, crop, labels.width, scratch);
    const Nearest nearest(crop.height, labels.height);
    const void* pred_row = nullptr;
    std::int64_t held = -1;
    for (std::int64_t y = 0; y < labels.height; ++y) {
        const std::int64_t source = nearest(y);
        if (source != held) {
            held = source;
            pred_row = stretched.source(source);
            if (!stretched.is_copy()) {
                stretched.stretch(source, stretched_row);
                pred_row = stretched_row;
            }
            find_run_ends(*kernels.masks, preds.type, pred_row, labels.width, pred_ends);
        }
        const std::uint8_t* label_row = row_at(labels, y);
        find_run_ends(*kernels.masks, labels.type, label_row, labels.width, ends);
        for (std::int64_t word = 0; word < words; ++word) ends[word] |= pred_ends[word];
        with_type(preds.type, [&](const auto* pred_null) {
            with_type(labels.type, [&](const auto* label_null) {
                count_row(static_cast<decltype(pred_null)>(pred_row), reinterpret_cast<decltype(label_null)>(label_row),
                          labels.width, ends, classes, sink);
            });
        });
    }
    return Status::ok;
}

}  // namespace

std::size_t mask_workspace(std::int64_t width) { return is_side(width) ? Workspace(width).bytes() : 0; }

Status unpad(const MaskView& mask, const Crop& crop, const MutableMaskView& out, void* workspace,
             std::size_t workspace_bytes) {
    const Status status = check(mask, crop);
    if (status != Status::ok) return status;
    if (!is_side(out.height) || !is_side(out.width) || (out.type != Integer::u8 && out.type != Integer::i32))
        return Status::bad_shape;
    if (workspace_bytes < mask_workspace(out.width)) return Status::workspace_too_small;

    auto* scratch = static_cast<unsigned char*>(workspace);
    unsigned char* stretched_row = scratch + Workspace(out.width).index;
    const auto convert_to = out.type == Integer::u8 ? convert_row<std::uint8_t> : convert_row<std::int32_t>;
    const auto out_bytes = static_cast<std::size_t>(out.width * size_of(out.type));

    const Stretched stretched(mask, crop, out.width, scratch);
    const Nearest nearest(crop.height, out.height);
    std::int64_t held = -1;
    for (std::int64_t y = 0; y < out.height; ++y) {
        unsigned char* out_row = static_cast<unsigned char*>(out.data) + y * out.row_stride;
        const std::int64_t source = nearest(y);
        if (source == held) {
            std::memcpy(out_row, out_row - out.row_stride, out_bytes);
            continue;
        }
        held = source;
        const bool same_type = mask.type == out.type;
        const void* row = stretched.source(source);
        if (!stretched.is_copy()) {
            stretched.stretch(source, same_type ? out_row : stretched_row);
            row = same_type ? out_row : stretched_row;
        } else if (same_type) {
            std::memcpy(out_row, row, out_bytes);
        }
        if (!same_type && !convert_to(row, mask.type, out.width, out_row)) return Status::value_out_of_range;
    }
    return Status::ok;
}

Status confusion(const KernelTable& kernels, const MaskView& preds, const Crop& crop, const MaskView& labels,
                 const Classes& classes, std::int64_t* counts, void* workspace, std::size_t workspace_bytes) {
    Table table{counts};
    return count(kernels, preds, crop, labels, classes, table, workspace, workspace_bytes);
}

Status confusion_runs(const KernelTable& kernels, const MaskView& preds, const Crop& crop, const MaskView& labels,
                      const Classes& classes, std::int64_t* cells, std::int64_t* lengths, std::int64_t* runs,
                      void* workspace, std::size_t workspace_bytes) {
    RunList list{cells, lengths, 0};
    const Status status = count(kernels, preds, crop, labels, classes, list, workspace, workspace_bytes);
    *runs = list.size;
    return status;
}

}  // namespace pspfast
