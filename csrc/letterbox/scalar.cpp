// The bits, written plainly: every other ISA file is held to this one exactly.
#include "../kernels.hpp"

namespace pspfast {
namespace {

void blend_columns(const std::uint8_t* row, const ColumnTap* taps, std::int64_t count, std::int64_t,
                   std::int64_t tap_step, std::int16_t* out) {
    for (std::int64_t x = 0; x < count; ++x) {
        const std::uint8_t* left = row + taps[x].offset;
        const std::uint8_t* right = left + tap_step;
        for (int c = 0; c < 3; ++c)
            out[3 * x + c] =
                static_cast<std::int16_t>((left[c] * taps[x].left_weight + right[c] * taps[x].right_weight) >> 4);
    }
}

void blend_rows(const std::int16_t* upper, const std::int16_t* lower, std::int16_t upper_weight,
                std::int16_t lower_weight, std::int64_t count, std::uint8_t* out) {
    for (std::int64_t i = 0; i < count; ++i) {
        const int sum = ((upper[i] * upper_weight) >> 16) + ((lower[i] * lower_weight) >> 16);
        const int value = (sum + 2) >> 2;
        // Rounded weights may add up to 2049/2048, so the largest sum is checked rather than believed.
        out[i] = static_cast<std::uint8_t>(value > 255 ? 255 : value);
    }
}

void average_2x2(const std::uint8_t* upper, const std::uint8_t* lower, std::int64_t count, std::uint8_t* out) {
    for (std::int64_t x = 0; x < count; ++x)
        for (int c = 0; c < 3; ++c) {
            const std::int64_t left = 6 * x + c, right = left + 3;
            out[3 * x + c] =
                static_cast<std::uint8_t>((upper[left] + upper[right] + lower[left] + lower[right] + 2) >> 2);
        }
}

}  // namespace

const LetterboxRows letterbox_scalar = {blend_columns, blend_rows, average_2x2, nullptr};

}  // namespace pspfast
