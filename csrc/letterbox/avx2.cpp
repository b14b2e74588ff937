// AVX2 + F16C. Bound by the conversions, which share a port on Zen: 8 pixels = a channel at a time 1 shuffle that also
// widens, (convert,) subtract, multiply, narrow, store. No operation is fused or reordered.
#include <immintrin.h>

#include "../kernels.hpp"

namespace pspfast {
namespace {

constexpr int nearest_even = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
constexpr char none = -128;  // a shuffle index that writes zero

__m128i load8(const std::uint8_t* from) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)); }
__m128i load16(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
__m256i load32(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
void store16(void* to, __m128i values) { _mm_storeu_si128(static_cast<__m128i*>(to), values); }
void store8(void* to, __m128i values) { _mm_storel_epi64(static_cast<__m128i*>(to), values); }
__m256i twice(__m128i lane) { return _mm256_broadcastsi128_si256(lane); }
__m256i join(__m128i low, __m128i high) { return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1); }

// The last block of a row is moved back to end with the row: some values twice, no tail code.
std::int64_t block_start(std::int64_t x, std::int64_t block, std::int64_t count) {
    return x + block <= count ? x : count - block;
}

void blend_columns(const std::uint8_t* row, const ColumnTap* taps, std::int64_t count, std::int64_t exact_from,
                   std::int64_t tap_step, std::int16_t* out) {
    static_assert(sizeof(ColumnTap) == 8);
    // A lane holds the 8 bytes of two columns. Of each the two pixels, 6 bytes, become (left, right) pairs of 16-bit
    // values, one pair a channel.
    const __m256i pair_up_even =
        twice(_mm_setr_epi8(0, none, 3, none, 1, none, 4, none, 2, none, 5, none, none, none, none, none));
    const __m256i pair_up_odd =
        twice(_mm_setr_epi8(8, none, 11, none, 9, none, 12, none, 10, none, 13, none, none, none, none, none));
    // Two groups of three 16-bit values and one of junk -> six values and two of junk.
    const __m256i compact = twice(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, none, none, none, none));
    const auto two_columns = [&](const ColumnTap* tap) {
        return _mm_unpacklo_epi64(load8(row + tap[0].offset), load8(row + tap[1].offset));
    };

    std::int64_t x = 0;
    for (; x + 4 <= exact_from; x += 4) {
        const __m256i pixels_u8 = join(two_columns(taps + x), two_columns(taps + x + 2));
        // Both weights of a tap are one 32-bit word, the second of its two.
        const __m256i taps_i16 = load32(taps + x);
        const __m256i even_i32 = _mm256_madd_epi16(_mm256_shuffle_epi8(pixels_u8, pair_up_even),
                                                   _mm256_shuffle_epi32(taps_i16, _MM_SHUFFLE(1, 1, 1, 1)));
        const __m256i odd_i32 = _mm256_madd_epi16(_mm256_shuffle_epi8(pixels_u8, pair_up_odd),
                                                  _mm256_shuffle_epi32(taps_i16, _MM_SHUFFLE(3, 3, 3, 3)));
        const __m256i columns_i16 = _mm256_shuffle_epi8(
            _mm256_packs_epi32(_mm256_srli_epi32(even_i32, 4), _mm256_srli_epi32(odd_i32, 4)), compact);
        // Each store writes 2 values too many; the next one, or the row's slack, takes them.
        store16(out + 3 * x, _mm256_castsi256_si128(columns_i16));
        store16(out + 3 * x + 6, _mm256_extracti128_si256(columns_i16, 1));
    }
    letterbox_scalar.blend_columns(row, taps + x, count - x, 0, tap_step, out + 3 * x);
}

void blend_rows(const std::int16_t* upper, const std::int16_t* lower, std::int16_t upper_weight,
                std::int16_t lower_weight, std::int64_t count, std::uint8_t* out) {
    const __m256i upper_w = _mm256_set1_epi16(upper_weight), lower_w = _mm256_set1_epi16(lower_weight);
    const __m256i two = _mm256_set1_epi16(2);
    const auto sixteen = [&](std::int64_t i) {
        const __m256i sum_i16 = _mm256_add_epi16(_mm256_mulhi_epi16(load32(upper + i), upper_w),
                                                 _mm256_mulhi_epi16(load32(lower + i), lower_w));
        return _mm256_srai_epi16(_mm256_add_epi16(sum_i16, two), 2);
    };
    // The last block runs into the rows' slack.
    static_assert(row_slack >= 32);
    for (std::int64_t i = 0; i < count; i += 32) {
        const __m256i packed_u8 = _mm256_packus_epi16(sixteen(i), sixteen(i + 16));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_permute4x64_epi64(packed_u8, 0xD8));
    }
}

void average_2x2(const std::uint8_t* upper, const std::uint8_t* lower, std::int64_t count, std::uint8_t* out) {
    // A lane holds 2 x 2 pixels in 12 of its bytes: as horizontal neighbours, one pair a channel.
    const __m256i pair_up = twice(_mm_setr_epi8(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, none, none, none, none));
    const __m256i ones = _mm256_set1_epi8(1), two = _mm256_set1_epi16(2);
    const auto pair_sums = [&](const std::uint8_t* from) {
        return _mm256_maddubs_epi16(_mm256_shuffle_epi8(join(load16(from), load16(from + 12)), pair_up), ones);
    };
    std::int64_t x = 0;
    for (; 6 * x + 28 <= 6 * count; x += 4) {
        const __m256i sum_i16 = _mm256_add_epi16(pair_sums(upper + 6 * x), pair_sums(lower + 6 * x));
        const __m256i mean_i16 = _mm256_srli_epi16(_mm256_add_epi16(sum_i16, two), 2);
        const __m256i mean_u8 = _mm256_packus_epi16(mean_i16, mean_i16);
        // Each store writes 2 values too many; the next one, or the row's slack, takes them.
        store8(out + 3 * x, _mm256_castsi256_si128(mean_u8));
        store8(out + 3 * x + 6, _mm256_extracti128_si256(mean_u8, 1));
    }
    letterbox_scalar.average_2x2(upper + 6 * x, lower + 6 * x, count - x, out + 3 * x);
}

// A byte in the second lowest place of a float whose top byte is this one: 2^15 + byte, without a conversion.
constexpr char top_byte = 0x47;
constexpr float bias = 32768.0F;

// `mean_f32` is higher by the bias if there is one.
template <bool biased>
void normalize(const std::uint8_t* row, std::int64_t count, const __m256* mean_f32, const __m256* inv_std_f32,
               std::uint16_t* const* plane) {
    constexpr std::int64_t block = 8;
    static_assert(block <= least_normalized);
    // The low lane has four pixels in its first 12 bytes, the high one in its last 12; what is left has room for the
    // top byte. Of a lane's pixels one channel, from byte c on, becomes four 32-bit values.
    const auto widen = [](int c, char free_place) {
        const char low = biased ? none : static_cast<char>(c), second = biased ? static_cast<char>(c) : none;
        const char top = biased ? free_place : none;
        const auto next = [](char place, int pixel) {
            return static_cast<char>(place < 0 ? place : place + 3 * pixel);
        };
        return _mm_setr_epi8(low, second, none, top, next(low, 1), next(second, 1), none, top,  //
                             next(low, 2), next(second, 2), none, top, next(low, 3), next(second, 3), none, top);
    };
    const __m256i widen_channel[3] = {join(widen(0, 12), widen(4, 0)), join(widen(1, 12), widen(5, 0)),
                                      join(widen(2, 12), widen(6, 0))};
    const __m256i top_bytes = _mm256_set1_epi32(top_byte);
    for (std::int64_t i = 0; i < count; i += block) {
        const std::int64_t x = block_start(i, block, count);
        __m256i pixels_u8 = join(load16(row + 3 * x), load16(row + 3 * x + 8));
        if (biased) pixels_u8 = _mm256_blend_epi32(pixels_u8, top_bytes, 0b0001'1000);
        for (int c = 0; c < 3; ++c) {
            const __m256i wide_i32 = _mm256_shuffle_epi8(pixels_u8, widen_channel[c]);
            const __m256 values_f32 = biased ? _mm256_castsi256_ps(wide_i32) : _mm256_cvtepi32_ps(wide_i32);
            const __m256 normalized_f32 = _mm256_mul_ps(_mm256_sub_ps(values_f32, mean_f32[c]), inv_std_f32[c]);
            store16(plane[c] + x, _mm256_cvtps_ph(normalized_f32, nearest_even));
        }
    }
}

void normalize_f16(const std::uint8_t* row, std::int64_t count, const float* mean, const float* inv_std,
                   std::uint16_t* const* plane) {
    // Where float32 holds bias + mean exactly, as with means rounded to float16, the difference is the same.
    bool biased = true;
    for (int c = 0; c < 3; ++c) biased = biased && (bias + mean[c]) - bias == mean[c];
    __m256 mean_f32[3], inv_std_f32[3];
    for (int c = 0; c < 3; ++c) {
        mean_f32[c] = _mm256_set1_ps(biased ? bias + mean[c] : mean[c]);
        inv_std_f32[c] = _mm256_set1_ps(inv_std[c]);
    }
    (biased ? normalize<true> : normalize<false>)(row, count, mean_f32, inv_std_f32, plane);
}

}  // namespace

const LetterboxRows letterbox_avx2 = {blend_columns, blend_rows, average_2x2, normalize_f16};

}  // namespace pspfast
