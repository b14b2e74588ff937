// AVX2 + F16C. Bound by: 16 pixels = 9 blends/shuffles to split the channels, then 6 x (widen, convert, subtract,
// multiply, narrow, store). Every float operation is the scalar one, lane by lane; nothing is fused or reordered.
#include <immintrin.h>

#include "../kernels.hpp"

namespace pspfast {
namespace {

constexpr int nearest_even = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
constexpr char none = -128;  // a shuffle index that writes zero

__m128i load8(const std::uint8_t* from) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)); }
__m128i load16(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
__m256i load32(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
__m256i join(__m128i low, __m128i high) { return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1); }

void blend_columns(const std::uint8_t* row, const ColumnTap* taps, std::int64_t count, std::int64_t exact_from,
                   std::int64_t tap_step, std::int16_t* out) {
    static_assert(sizeof(ColumnTap) == 8);
    // Two neighbouring pixels, 6 bytes, as (left, right) pairs of 16-bit values, one pair a channel.
    const __m256i pair_up = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, none, 3, none, 1, none, 4, none, 2, none, 5, none, none, none, none, none));
    // From two ColumnTaps: the weights, once for every pair.
    const __m256i spread_weights =
        _mm256_setr_epi8(4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7,  //
                         12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15);
    const auto two_columns = [&](std::int64_t x) {
        const __m256i pixels_u16 =
            _mm256_shuffle_epi8(join(load8(row + taps[x].offset), load8(row + taps[x + 1].offset)), pair_up);
        const __m256i weights_i16 =
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load16(taps + x)), spread_weights);
        return _mm256_srli_epi32(_mm256_madd_epi16(pixels_u16, weights_i16), 4);
    };

    std::int64_t x = 0;
    for (; x + 4 <= exact_from; x += 4) {
        const __m256i columns_i16 = _mm256_packs_epi32(two_columns(x), two_columns(x + 2));  // 0 2 | 1 3
        const __m128i even = _mm256_castsi256_si128(columns_i16);
        const __m128i odd = _mm256_extracti128_si256(columns_i16, 1);
        // Each store writes 4 values where a pixel has 3; the next one puts the fourth right.
        _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 3 * x), even);
        _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 3 * x + 3), odd);
        _mm_storeh_pd(reinterpret_cast<double*>(out + 3 * x + 6), _mm_castsi128_pd(even));
        _mm_storeh_pd(reinterpret_cast<double*>(out + 3 * x + 9), _mm_castsi128_pd(odd));
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
    // 12 of 16 bytes: 2 x 2 pixels as horizontal neighbours, one pair a channel.
    const __m128i pair_up = _mm_setr_epi8(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, none, none, none, none);
    const __m128i ones = _mm_set1_epi8(1), two = _mm_set1_epi16(2);
    std::int64_t x = 0;
    for (; 6 * x + 16 <= 6 * count; x += 2) {
        const __m128i sum_i16 =
            _mm_add_epi16(_mm_maddubs_epi16(_mm_shuffle_epi8(load16(upper + 6 * x), pair_up), ones),
                          _mm_maddubs_epi16(_mm_shuffle_epi8(load16(lower + 6 * x), pair_up), ones));
        const __m128i mean_i16 = _mm_srli_epi16(_mm_add_epi16(sum_i16, two), 2);
        _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 3 * x), _mm_packus_epi16(mean_i16, mean_i16));
    }
    letterbox_scalar.average_2x2(upper + 6 * x, lower + 6 * x, count - x, out + 3 * x);
}

struct Channels {
    __m128i channel[3];  // 16 bytes each
};

// 16 interleaved pixels -> three channels. 16 = 1 mod 3, so in each of the three loads a channel sits at other
// positions: two blends collect it, one shuffle sorts it.
Channels split(const std::uint8_t* row) {
    const __m128i a = load16(row), b = load16(row + 16), c = load16(row + 32);
    const char y = none, n = 0;
    const __m128i first = _mm_setr_epi8(y, n, n, y, n, n, y, n, n, y, n, n, y, n, n, y);   // positions 0 mod 3
    const __m128i second = _mm_setr_epi8(n, y, n, n, y, n, n, y, n, n, y, n, n, y, n, n);  // positions 1 mod 3
    const __m128i third = _mm_setr_epi8(n, n, y, n, n, y, n, n, y, n, n, y, n, n, y, n);   // positions 2 mod 3
    const auto collect = [](__m128i p, __m128i in_p, __m128i q, __m128i in_q, __m128i r) {
        return _mm_blendv_epi8(_mm_blendv_epi8(r, q, in_q), p, in_p);
    };
    const __m128i mixed0 = collect(a, first, b, third, c);
    const __m128i mixed1 = collect(a, second, b, first, c);
    const __m128i mixed2 = collect(a, third, b, second, c);
    return {{_mm_shuffle_epi8(mixed0, _mm_setr_epi8(0, 3, 6, 9, 12, 15, 2, 5, 8, 11, 14, 1, 4, 7, 10, 13)),
             _mm_shuffle_epi8(mixed1, _mm_setr_epi8(1, 4, 7, 10, 13, 0, 3, 6, 9, 12, 15, 2, 5, 8, 11, 14)),
             _mm_shuffle_epi8(mixed2, _mm_setr_epi8(2, 5, 8, 11, 14, 1, 4, 7, 10, 13, 0, 3, 6, 9, 12, 15))}};
}

void store(std::uint16_t* to, __m256 values_f32) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(values_f32, nearest_even));
}
void store(float* to, __m256 values_f32) { _mm256_storeu_ps(to, values_f32); }

template <class T>
void sixteen_pixels(const std::uint8_t* row, std::int64_t x, const __m256* mean, const __m256* inv_std,
                    T* const* plane) {
    const Channels bytes = split(row + 3 * x);
    for (int c = 0; c < 3; ++c) {
        const auto normalized = [&](__m128i eight_u8) {
            const __m256 values_f32 = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight_u8));
            return _mm256_mul_ps(_mm256_sub_ps(values_f32, mean[c]), inv_std[c]);
        };
        store(plane[c] + x, normalized(bytes.channel[c]));
        store(plane[c] + x + 8, normalized(_mm_srli_si128(bytes.channel[c], 8)));
    }
}

template <class T, class Scalar>
void normalize(const std::uint8_t* row, std::int64_t count, const float* mean, const float* inv_std, T* const* plane,
               Scalar short_row) {
    if (count < 16) return short_row(row, count, mean, inv_std, plane);
    const __m256 mean_f32[3] = {_mm256_set1_ps(mean[0]), _mm256_set1_ps(mean[1]), _mm256_set1_ps(mean[2])};
    const __m256 inv_std_f32[3] = {_mm256_set1_ps(inv_std[0]), _mm256_set1_ps(inv_std[1]),
                                   _mm256_set1_ps(inv_std[2])};
    std::int64_t x = 0;
    for (; x + 16 <= count; x += 16) sixteen_pixels(row, x, mean_f32, inv_std_f32, plane);
    // The rest once more with the pixels before it: the same values again, no tail code.
    if (x < count) sixteen_pixels(row, count - 16, mean_f32, inv_std_f32, plane);
}

void normalize_f16(const std::uint8_t* row, std::int64_t count, const float* mean, const float* inv_std,
                   std::uint16_t* const* plane) {
    normalize(row, count, mean, inv_std, plane, letterbox_scalar.normalize_f16);
}

void normalize_f32(const std::uint8_t* row, std::int64_t count, const float* mean, const float* inv_std,
                   float* const* plane) {
    normalize(row, count, mean, inv_std, plane, letterbox_scalar.normalize_f32);
}

}  // namespace

const LetterboxRows letterbox_avx2 = {blend_columns, blend_rows, average_2x2, normalize_f16, normalize_f32};

}  // namespace pspfast
