// AVX-512 F/BW/VL/DQ + F16C. Bound by the shuffle port: 16 pixels = 1 permute that gives each lane four pixels, then a
// channel at a time 1 shuffle that also widens, convert, subtract, multiply, narrow (a shuffle again), store.
// Every float operation is the scalar one, lane by lane; nothing is fused or reordered.
#include <immintrin.h>

#include "../kernels.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // the intrinsics' own headers, GCC bug 105593
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace pspfast {
namespace {

constexpr int nearest_even = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
constexpr char none = -128;  // a shuffle index that writes zero

__m128i load8(const std::uint8_t* from) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)); }
__m256i load32(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
__m512i load64(const void* from) { return _mm512_loadu_si512(from); }
void store64(void* to, __m512i values) { _mm512_storeu_si512(to, values); }

// The last block of a row is moved back to end with the row: some values twice, no tail code.
std::int64_t block_start(std::int64_t x, std::int64_t block, std::int64_t count) {
    return x + block <= count ? x : count - block;
}

// Eight groups of three 16-bit values and one of junk -> 48 bytes in order, and 16 bytes of junk behind them.
__m512i compact(__m512i groups_i16) {
    alignas(64) static constexpr std::int16_t order[32] = {0,  1,  2,  4,  5,  6,  8,  9,  10, 12, 13, 14,
                                                           16, 17, 18, 20, 21, 22, 24, 25, 26, 28, 29, 30};
    return _mm512_permutexvar_epi16(load64(order), groups_i16);
}

void blend_columns(const std::uint8_t* row, const ColumnTap* taps, std::int64_t count, std::int64_t exact_from,
                   std::int64_t tap_step, std::int16_t* out) {
    static_assert(sizeof(ColumnTap) == 8);
    constexpr std::int64_t block = 8;
    // A lane holds the 8 bytes of two columns. Of each the two pixels, 6 bytes, become (left, right) pairs of 16-bit
    // values, one pair a channel.
    const __m512i pair_up_even = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, none, 3, none, 1, none, 4, none, 2, none, 5, none, none, none, none, none));
    const __m512i pair_up_odd = _mm512_broadcast_i32x4(
        _mm_setr_epi8(8, none, 11, none, 9, none, 12, none, 10, none, 13, none, none, none, none, none));
    const auto eight_columns = [&](std::int64_t x) {
        const ColumnTap* tap = taps + x;
        // Masked broadcasts take a load and no shuffle, which inserts would.
        __m512i pixels_u8 = _mm512_broadcastq_epi64(load8(row + tap[0].offset));
        pixels_u8 = _mm512_mask_broadcastq_epi64(pixels_u8, 0x02, load8(row + tap[1].offset));
        pixels_u8 = _mm512_mask_broadcastq_epi64(pixels_u8, 0x04, load8(row + tap[2].offset));
        pixels_u8 = _mm512_mask_broadcastq_epi64(pixels_u8, 0x08, load8(row + tap[3].offset));
        pixels_u8 = _mm512_mask_broadcastq_epi64(pixels_u8, 0x10, load8(row + tap[4].offset));
        pixels_u8 = _mm512_mask_broadcastq_epi64(pixels_u8, 0x20, load8(row + tap[5].offset));
        pixels_u8 = _mm512_mask_broadcastq_epi64(pixels_u8, 0x40, load8(row + tap[6].offset));
        pixels_u8 = _mm512_mask_broadcastq_epi64(pixels_u8, 0x80, load8(row + tap[7].offset));
        // Both weights of a tap are one 32-bit word, the second of its two.
        const __m512i taps_i16 = load64(tap);
        const __m512i even_i32 = _mm512_madd_epi16(_mm512_shuffle_epi8(pixels_u8, pair_up_even),
                                                   _mm512_shuffle_epi32(taps_i16, _MM_PERM_BBBB));
        const __m512i odd_i32 = _mm512_madd_epi16(_mm512_shuffle_epi8(pixels_u8, pair_up_odd),
                                                  _mm512_shuffle_epi32(taps_i16, _MM_PERM_DDDD));
        return compact(_mm512_packs_epi32(_mm512_srli_epi32(even_i32, 4), _mm512_srli_epi32(odd_i32, 4)));
    };

    const std::int64_t vectors_to = exact_from >= block ? exact_from : 0;
    for (std::int64_t i = 0; i < vectors_to; i += block) {
        const std::int64_t x = block_start(i, block, vectors_to);
        store64(out + 3 * x, eight_columns(x));
    }
    letterbox_scalar.blend_columns(row, taps + vectors_to, count - vectors_to, 0, tap_step, out + 3 * vectors_to);
}

void blend_rows(const std::int16_t* upper, const std::int16_t* lower, std::int16_t upper_weight,
                std::int16_t lower_weight, std::int64_t count, std::uint8_t* out) {
    const __m512i upper_w = _mm512_set1_epi16(upper_weight), lower_w = _mm512_set1_epi16(lower_weight);
    const __m512i two = _mm512_set1_epi16(2);
    const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    const auto thirty_two = [&](std::int64_t i) {
        const __m512i sum_i16 = _mm512_add_epi16(_mm512_mulhi_epi16(load64(upper + i), upper_w),
                                                 _mm512_mulhi_epi16(load64(lower + i), lower_w));
        return _mm512_srai_epi16(_mm512_add_epi16(sum_i16, two), 2);
    };
    // The last block runs into the rows' slack.
    static_assert(row_slack >= 64);
    for (std::int64_t i = 0; i < count; i += 64) {
        const __m512i packed_u8 = _mm512_packus_epi16(thirty_two(i), thirty_two(i + 32));
        store64(out + i, _mm512_permutexvar_epi64(in_order, packed_u8));
    }
}

void average_2x2(const std::uint8_t* upper, const std::uint8_t* lower, std::int64_t count, std::uint8_t* out) {
    constexpr std::int64_t block = 16;
    if (count < block) return letterbox_scalar.average_2x2(upper, lower, count, out);
    // 96 bytes are eight groups of 12, four pixels each; a lane takes one, the even and the odd groups by turns.
    const __m512i even_groups = _mm512_setr_epi32(0, 1, 2, 2, 6, 7, 8, 8, 12, 13, 14, 14, 18, 19, 20, 20);
    const __m512i odd_groups = _mm512_setr_epi32(3, 4, 5, 5, 9, 10, 11, 11, 15, 16, 17, 17, 21, 22, 23, 23);
    // In a group: horizontal neighbours side by side, one pair a channel.
    const __m512i pair_up =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, none, none, none, none));
    const __m512i ones = _mm512_set1_epi8(1), two = _mm512_set1_epi16(2);
    const auto mean_of_groups = [&](std::int64_t x, __m512i groups) {
        const auto pair_sums = [&](const std::uint8_t* from) {
            const __m512i pixels_u8 =
                _mm512_permutex2var_epi32(load64(from), groups, _mm512_castsi256_si512(load32(from + 64)));
            return _mm512_maddubs_epi16(_mm512_shuffle_epi8(pixels_u8, pair_up), ones);
        };
        const __m512i sum_i16 = _mm512_add_epi16(pair_sums(upper + 6 * x), pair_sums(lower + 6 * x));
        return _mm512_srli_epi16(_mm512_add_epi16(sum_i16, two), 2);
    };
    for (std::int64_t i = 0; i < count; i += block) {
        const std::int64_t x = block_start(i, block, count);
        store64(out + 3 * x,
                compact(_mm512_packus_epi16(mean_of_groups(x, even_groups), mean_of_groups(x, odd_groups))));
    }
}

void store(std::uint16_t* to, __m512 values_f32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(values_f32, nearest_even));
}

void normalize_f16(const std::uint8_t* row, std::int64_t count, const float* mean, const float* inv_std,
                   std::uint16_t* const* plane) {
    constexpr std::int64_t block = 16;
    static_assert(block <= least_normalized);
    const __m512 mean_f32[3] = {_mm512_set1_ps(mean[0]), _mm512_set1_ps(mean[1]), _mm512_set1_ps(mean[2])};
    const __m512 inv_std_f32[3] = {_mm512_set1_ps(inv_std[0]), _mm512_set1_ps(inv_std[1]), _mm512_set1_ps(inv_std[2])};
    // Four pixels, 12 bytes, a lane; then one channel of them as 32-bit values.
    const __m512i spread = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    const auto widen = [](int c) {
        constexpr int zeros = ~0xff;  // as shuffle indices: three zero bytes above
        return _mm512_broadcast_i32x4(_mm_setr_epi32(c | zeros, (c + 3) | zeros, (c + 6) | zeros, (c + 9) | zeros));
    };
    const __m512i widen_channel[3] = {widen(0), widen(1), widen(2)};
    for (std::int64_t i = 0; i < count; i += block) {
        const std::int64_t x = block_start(i, block, count);
        const __m512i pixels_u8 = _mm512_permutexvar_epi32(spread, _mm512_maskz_loadu_epi32(0x0fff, row + 3 * x));
        for (int c = 0; c < 3; ++c) {
            const __m512 values_f32 = _mm512_cvtepi32_ps(_mm512_shuffle_epi8(pixels_u8, widen_channel[c]));
            store(plane[c] + x, _mm512_mul_ps(_mm512_sub_ps(values_f32, mean_f32[c]), inv_std_f32[c]));
        }
    }
}

}  // namespace

const LetterboxRows letterbox_avx512 = {blend_columns, blend_rows, average_2x2, normalize_f16};

}  // namespace pspfast
