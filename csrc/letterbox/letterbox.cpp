// The one loop over rows, for every instruction set: each resized row is made in a row buffer that stays in L1 and
// goes straight to the three planes. There is no intermediate picture.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../kernels.hpp"

namespace pspfast {
namespace {

// cv2 keeps 11 bits of a bilinear weight (INTER_RESIZE_COEF_BITS).
constexpr float weight_scale = 2048.0F;
// Sides up to this keep every byte offset inside 32 bits.
constexpr std::int64_t largest_side = INT64_C(1) << 28;

struct Tap {
    std::int64_t index;
    float fraction;
};

// Source position of output index `d`, as OpenCV computes it: double, then float32, then split.
Tap locate(std::int64_t d, double scale) {
    const auto position = static_cast<float>((static_cast<double>(d) + 0.5) * scale - 0.5);
    const float whole = std::floor(position);
    return {static_cast<std::int64_t>(whole), position - whole};
}

std::int16_t weight(float fraction) {
    return static_cast<std::int16_t>(std::lrintf(fraction * weight_scale));  // nearest even
}

// OpenCV writes the reciprocal of a reciprocal; src / dst can differ in the last bit.
double axis_scale(std::int64_t source, std::int64_t resized) {
    return 1.0 / (static_cast<double>(resized) / static_cast<double>(source));
}

void fill_taps(std::int64_t source_width, std::int64_t resized_width, ColumnTap* taps) {
    const double scale = axis_scale(source_width, resized_width);
    for (std::int64_t x = 0; x < resized_width; ++x) {
        Tap tap = locate(x, scale);
        if (tap.index < 0) tap = {0, 0.0F};
        if (tap.index >= source_width - 1) {
            // The last pixel alone. Taken as the *right* of a pair, so that no tap points past the row.
            const std::int64_t left = std::max<std::int64_t>(source_width - 2, 0);
            taps[x] = {static_cast<std::int32_t>(3 * left), 0, static_cast<std::int16_t>(weight_scale)};
        } else {
            taps[x] = {static_cast<std::int32_t>(3 * tap.index), weight(1.0F - tap.fraction), weight(tap.fraction)};
        }
    }
}

std::size_t aligned(std::size_t bytes) { return (bytes + 63) & ~static_cast<std::size_t>(63); }

// Scratch of one call: column taps, two rows after the horizontal pass, one finished row.
struct Workspace {
    std::size_t taps, wide_row, byte_row;
    explicit Workspace(const Placement& p)
        : taps(aligned(static_cast<std::size_t>(p.resized_width) * sizeof(ColumnTap))),
          wide_row(aligned(static_cast<std::size_t>(3 * p.resized_width + row_slack) * sizeof(std::int16_t))),
          byte_row(aligned(static_cast<std::size_t>(3 * p.resized_width + row_slack))) {}
    std::size_t bytes() const { return taps + 2 * wide_row + byte_row; }
};

Status check(const PictureView& picture, const Placement& p) {
    for (const std::int64_t side :
         {picture.height, picture.width, p.canvas_height, p.canvas_width, p.resized_height, p.resized_width})
        if (side < 1 || side > largest_side) return Status::bad_shape;
    if (p.top < 0 || p.left < 0 || p.top > p.canvas_height - p.resized_height ||
        p.left > p.canvas_width - p.resized_width)
        return Status::bad_placement;
    return Status::ok;
}

template <class T>
struct Canvas {
    T* data;
    T pad;
    const Placement& place;

    T* row(int channel, std::int64_t y) const {
        return data + (channel * place.canvas_height + y) * place.canvas_width;
    }
    void pad_rows(std::int64_t from, std::int64_t to) const {
        for (int c = 0; c < 3; ++c) std::fill(row(c, from), row(c, to), pad);
    }
    void pad_sides(std::int64_t y) const {
        for (int c = 0; c < 3; ++c) {
            T* line = row(c, y);
            std::fill(line, line + place.left, pad);
            std::fill(line + place.left + place.resized_width, line + place.canvas_width, pad);
        }
    }
};

// Looks normalized values up: an input channel's table and plane are those of the output channel it becomes.
template <class T>
struct LookUp {
    const T (*values)[256];
    Channels channels;

    void operator()(const std::uint8_t* row, std::int64_t count, T* const* plane) const {
        for (int c = 0; c < 3; ++c) {
            const T* becomes = values[output_channel(c)];
            for (std::int64_t x = 0; x < count; ++x) plane[c][x] = becomes[row[3 * x + c]];
        }
    }
    int output_channel(int input) const { return channels == Channels::reversed ? 2 - input : input; }
};

// Computes halves with an instruction set's own arithmetic.
struct Compute {
    decltype(LetterboxRows::normalize_f16) normalize;
    float mean[3], inv_std[3];

    Compute(const LetterboxRows& rows, const Normalization& n, const LookUp<std::uint16_t>& like)
        : normalize(rows.normalize_f16) {
        for (int c = 0; c < 3; ++c) {
            mean[c] = n.mean[like.output_channel(c)];
            inv_std[c] = n.inv_std[like.output_channel(c)];
        }
    }
    void operator()(const std::uint8_t* row, std::int64_t count, std::uint16_t* const* plane) const {
        normalize(row, count, mean, inv_std, plane);
    }
};

// Every byte value in every channel.
struct Ramp {
    std::uint8_t row[3 * 256];
    constexpr Ramp() : row() {
        for (int i = 0; i < 3 * 256; ++i) row[i] = static_cast<std::uint8_t>(i / 3);
    }
};
constexpr Ramp ramp;

// float32 arithmetic and the definition may round to different halves for some constants; 768 values tell.
bool reproduces(const Compute& compute, const LookUp<std::uint16_t>& look_up) {
    std::uint16_t computed[3][256];
    std::uint16_t* const plane[3] = {computed[0], computed[1], computed[2]};
    compute(ramp.row, 256, plane);
    for (int c = 0; c < 3; ++c)
        if (std::memcmp(computed[c], look_up.values[look_up.output_channel(c)], sizeof computed[c]) != 0) return false;
    return true;
}

// Puts finished rows of bytes where they belong in the canvas, sides padded.
template <class T, class Normalize>
struct Sink {
    const Canvas<T>& canvas;
    const Normalize& normalize;
    Channels channels;

    void operator()(std::int64_t y, const std::uint8_t* row) const {
        const Placement& p = canvas.place;
        T* plane[3];
        for (int c = 0; c < 3; ++c)
            plane[c] = canvas.row(channels == Channels::reversed ? 2 - c : c, p.top + y) + p.left;
        normalize(row, p.resized_width, plane);
        canvas.pad_sides(p.top + y);
    }
};

const std::uint8_t* source_row(const PictureView& picture, std::int64_t y) {
    return picture.data + y * picture.row_stride;
}

template <class Put>
void copy_rows(const PictureView& picture, const Put& put) {
    for (std::int64_t y = 0; y < picture.height; ++y) put(y, source_row(picture, y));
}

template <class Put>
void halve_rows(const LetterboxRows& rows, const PictureView& picture, const Placement& p, std::uint8_t* line,
                const Put& put) {
    for (std::int64_t y = 0; y < p.resized_height; ++y) {
        rows.average_2x2(source_row(picture, 2 * y), source_row(picture, 2 * y + 1), p.resized_width, line);
        put(y, line);
    }
}

template <class Put>
void blend(const LetterboxRows& rows, const PictureView& picture, const Placement& p, unsigned char* scratch,
           const Put& put) {
    const Workspace sizes(p);
    auto* taps = reinterpret_cast<ColumnTap*>(scratch);
    std::int16_t* wide[2] = {reinterpret_cast<std::int16_t*>(scratch + sizes.taps),
                             reinterpret_cast<std::int16_t*>(scratch + sizes.taps + sizes.wide_row)};
    std::uint8_t* line = scratch + sizes.taps + 2 * sizes.wide_row;

    fill_taps(picture.width, p.resized_width, taps);
    // A vector load takes 8 bytes where a tap pair has 6: from here on that would leave the row.
    const std::int64_t last_roomy = 3 * picture.width - 8;
    const ColumnTap* exact = std::partition_point(taps, taps + p.resized_width,
                                                  [=](const ColumnTap& tap) { return tap.offset <= last_roomy; });
    const std::int64_t tap_step = picture.width > 1 ? 3 : 0;

    // Source rows live in the slot of their parity, so neighbours never push each other out.
    std::int64_t held[2] = {-1, -1};
    const auto horizontal = [&](std::int64_t y) -> const std::int16_t* {
        const auto slot = static_cast<std::size_t>(y & 1);
        if (held[slot] != y) {
            rows.blend_columns(source_row(picture, y), taps, p.resized_width, exact - taps, tap_step, wide[slot]);
            held[slot] = y;
        }
        return wide[slot];
    };

    const double scale = axis_scale(picture.height, p.resized_height);
    for (std::int64_t y = 0; y < p.resized_height; ++y) {
        const Tap tap = locate(y, scale);
        const auto clip = [&](std::int64_t row) { return std::clamp<std::int64_t>(row, 0, picture.height - 1); };
        const std::int16_t* upper = horizontal(clip(tap.index));
        const std::int16_t* lower = horizontal(clip(tap.index + 1));
        rows.blend_rows(upper, lower, weight(1.0F - tap.fraction), weight(tap.fraction), 3 * p.resized_width, line);
        put(y, line);
    }
}

template <class T, class Normalize>
void run(const LetterboxRows& rows, const Normalize& normalize, Channels channels, const PictureView& picture,
         const Canvas<T>& canvas, unsigned char* scratch) {
    const Placement& p = canvas.place;
    const Sink<T, Normalize> put{canvas, normalize, channels};
    canvas.pad_rows(0, p.top);
    if (picture.height == p.resized_height && picture.width == p.resized_width)
        copy_rows(picture, put);
    else if (picture.height == 2 * p.resized_height && picture.width == 2 * p.resized_width)
        halve_rows(rows, picture, p, scratch, put);  // cv2 turns an exact 2x reduction into INTER_AREA
    else
        blend(rows, picture, p, scratch, put);
    canvas.pad_rows(p.top + p.resized_height, p.canvas_height);
}

}  // namespace

std::size_t letterbox_workspace(const Placement& placement) {
    const bool sane = placement.resized_width >= 1 && placement.resized_width <= largest_side;
    return sane ? Workspace(placement).bytes() : 0;  // letterbox() itself says what is wrong
}

Status letterbox(const KernelTable& kernels, const PictureView& picture, const Placement& placement,
                 const Normalization& normalization, Channels channels, float pad_value, Element element, void* out,
                 void* workspace, std::size_t workspace_bytes) {
    const Status status = check(picture, placement);
    if (status != Status::ok) return status;
    if (workspace_bytes < letterbox_workspace(placement)) return Status::workspace_too_small;

    const LetterboxRows& rows = *kernels.letterbox;
    auto* scratch = static_cast<unsigned char*>(workspace);
    if (element == Element::f32) {
        const Canvas<float> canvas{static_cast<float*>(out), pad_value, placement};
        run(rows, LookUp<float>{normalization.single, channels}, channels, picture, canvas, scratch);
        return Status::ok;
    }
    const Canvas<std::uint16_t> canvas{static_cast<std::uint16_t*>(out), half_from_float(pad_value), placement};
    const LookUp<std::uint16_t> look_up{normalization.half, channels};
    const Compute compute(rows, normalization, look_up);
    if (rows.normalize_f16 != nullptr && placement.resized_width >= least_normalized && reproduces(compute, look_up))
        run(rows, compute, channels, picture, canvas, scratch);
    else
        run(rows, look_up, channels, picture, canvas, scratch);
    return Status::ok;
}

void make_normalization(const double mean[3], const double inv_std[3], Normalization* out) {
    for (int c = 0; c < 3; ++c) {
        out->mean[c] = static_cast<float>(mean[c]);
        out->inv_std[c] = static_cast<float>(inv_std[c]);
        for (int value = 0; value < 256; ++value) {
            const float centred = static_cast<float>(value) - out->mean[c];
            out->single[c][value] = static_cast<float>(static_cast<double>(centred) * inv_std[c]);
            out->half[c][value] = half_from_float(out->single[c][value]);
        }
    }
}

}  // namespace pspfast
