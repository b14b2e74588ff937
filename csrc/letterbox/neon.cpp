// AArch64 NEON, with the baseline's fp16 conversions. Bound by: 16 pixels = 1 vld3, which splits the channels, then
// 12 x (convert, subtract, multiply, narrow). Every float operation is the scalar one, lane by lane; nothing is fused
// or reordered.
#include <arm_neon.h>

#include "../kernels.hpp"

namespace pspfast {
namespace {

// The last block of a row is moved back to end with the row: some values twice, no tail code.
std::int64_t block_start(std::int64_t x, std::int64_t block, std::int64_t count) {
    return x + block <= count ? x : count - block;
}

void blend_columns(const std::uint8_t* row, const ColumnTap* taps, std::int64_t count, std::int64_t exact_from,
                   std::int64_t tap_step, std::int16_t* out) {
    for (std::int64_t x = 0; x < exact_from; ++x) {
        // Two neighbouring pixels, then 2 bytes of no interest.
        const int16x8_t pixels_i16 = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(row + taps[x].offset)));
        const int16x4_t left_i16 = vget_low_s16(pixels_i16);
        const int16x4_t right_i16 = vget_low_s16(vextq_s16(pixels_i16, pixels_i16, 3));
        const int32x4_t sum_i32 =
            vmlal_n_s16(vmull_n_s16(left_i16, taps[x].left_weight), right_i16, taps[x].right_weight);
        // Each store writes 4 values where a pixel has 3; the next one puts the fourth right.
        vst1_s16(out + 3 * x, vshrn_n_s32(sum_i32, 4));
    }
    letterbox_scalar.blend_columns(row, taps + exact_from, count - exact_from, 0, tap_step, out + 3 * exact_from);
}

void blend_rows(const std::int16_t* upper, const std::int16_t* lower, std::int16_t upper_weight,
                std::int16_t lower_weight, std::int64_t count, std::uint8_t* out) {
    const auto eight = [&](std::int64_t i) {
        // (2 * a * b >> 16) >> 1 is a * b >> 16: a floor of a floor, and nothing here is large enough to saturate.
        const int16x8_t upper_i16 = vshrq_n_s16(vqdmulhq_n_s16(vld1q_s16(upper + i), upper_weight), 1);
        const int16x8_t lower_i16 = vshrq_n_s16(vqdmulhq_n_s16(vld1q_s16(lower + i), lower_weight), 1);
        return vqrshrun_n_s16(vaddq_s16(upper_i16, lower_i16), 2);  // (x + 2) >> 2, saturated to a byte
    };
    // The last block runs into the rows' slack.
    static_assert(row_slack >= 16);
    for (std::int64_t i = 0; i < count; i += 16) vst1q_u8(out + i, vcombine_u8(eight(i), eight(i + 8)));
}

void average_2x2(const std::uint8_t* upper, const std::uint8_t* lower, std::int64_t count, std::uint8_t* out) {
    constexpr std::int64_t block = 8;
    if (count < block) return letterbox_scalar.average_2x2(upper, lower, count, out);
    for (std::int64_t i = 0; i < count; i += block) {
        const std::int64_t x = block_start(i, block, count);
        const uint8x16x3_t above = vld3q_u8(upper + 6 * x), below = vld3q_u8(lower + 6 * x);
        uint8x8x3_t mean;
        for (int c = 0; c < 3; ++c)
            mean.val[c] = vrshrn_n_u16(vpadalq_u8(vpaddlq_u8(above.val[c]), below.val[c]), 2);  // (x + 2) >> 2
        vst3_u8(out + 3 * x, mean);
    }
}

void store(std::uint16_t* to, float32x4_t low_f32, float32x4_t high_f32) {
    vst1q_u16(to, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(low_f32), high_f32)));
}

void normalize_f16(const std::uint8_t* row, std::int64_t count, const float* mean, const float* inv_std,
                   std::uint16_t* const* plane) {
    constexpr std::int64_t block = 16;
    static_assert(block <= least_normalized);
    const float32x4_t mean_f32[3] = {vdupq_n_f32(mean[0]), vdupq_n_f32(mean[1]), vdupq_n_f32(mean[2])};
    const float32x4_t inv_std_f32[3] = {vdupq_n_f32(inv_std[0]), vdupq_n_f32(inv_std[1]), vdupq_n_f32(inv_std[2])};
    for (std::int64_t i = 0; i < count; i += block) {
        const std::int64_t x = block_start(i, block, count);
        const uint8x16x3_t bytes = vld3q_u8(row + 3 * x);
        for (int c = 0; c < 3; ++c) {
            const auto normalized = [&](uint16x4_t four_u16) {
                const float32x4_t values_f32 = vcvtq_f32_u32(vmovl_u16(four_u16));
                return vmulq_f32(vsubq_f32(values_f32, mean_f32[c]), inv_std_f32[c]);
            };
            const uint16x8_t low_u16 = vmovl_u8(vget_low_u8(bytes.val[c])), high_u16 = vmovl_high_u8(bytes.val[c]);
            std::uint16_t* to = plane[c] + x;
            store(to, normalized(vget_low_u16(low_u16)), normalized(vget_high_u16(low_u16)));
            store(to + 8, normalized(vget_low_u16(high_u16)), normalized(vget_high_u16(high_u16)));
        }
    }
}

}  // namespace

const LetterboxRows letterbox_neon = {blend_columns, blend_rows, average_2x2, normalize_f16};

}  // namespace pspfast
