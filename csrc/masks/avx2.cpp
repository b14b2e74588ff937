// AVX2. Bound by loads: a block of values is compared with itself one further on, 64 results a word.
#include <immintrin.h>

#include "../kernels.hpp"

namespace pspfast {
namespace {

__m256i load32(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

// All bits set in each value that equals the next one.
template <int size>
__m256i equal_to_next(const std::uint8_t* at) {
    const __m256i here = load32(at), next = load32(at + size);
    if constexpr (size == 1) return _mm256_cmpeq_epi8(here, next);
    if constexpr (size == 2) return _mm256_cmpeq_epi16(here, next);
    if constexpr (size == 4) return _mm256_cmpeq_epi32(here, next);
    if constexpr (size == 8) return _mm256_cmpeq_epi64(here, next);
}

// One bit a value for 32 of them, in order. Packs keep to their lanes; the permutations put that right.
template <int size>
std::uint32_t equal_bits(const std::uint8_t* at) {
    if constexpr (size == 1) return static_cast<std::uint32_t>(_mm256_movemask_epi8(equal_to_next<1>(at)));
    if constexpr (size == 2) {
        const __m256i bytes = _mm256_packs_epi16(equal_to_next<2>(at), equal_to_next<2>(at + 32));
        return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_permute4x64_epi64(bytes, 0xD8)));
    }
    if constexpr (size == 4) {
        const __m256i low = _mm256_packs_epi32(equal_to_next<4>(at), equal_to_next<4>(at + 32));
        const __m256i high = _mm256_packs_epi32(equal_to_next<4>(at + 64), equal_to_next<4>(at + 96));
        const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), in_order);
        return static_cast<std::uint32_t>(_mm256_movemask_epi8(bytes));
    }
    std::uint32_t bits = 0;
    for (int i = 0; i < 8; ++i) {
        const auto four = _mm256_movemask_pd(_mm256_castsi256_pd(equal_to_next<8>(at + 32 * i)));
        bits |= static_cast<std::uint32_t>(four) << (4 * i);
    }
    return bits;
}

template <int size>
void run_ends(const void* row, std::int64_t words, std::uint64_t* ends) {
    const auto ends_from = [row](std::int64_t x) {
        const auto* at = static_cast<const std::uint8_t*>(row) + x * size;
        return ~(std::uint64_t{equal_bits<size>(at)} | std::uint64_t{equal_bits<size>(at + 32 * size)} << 32);
    };
    for (std::int64_t word = 0; word < words; ++word) ends[word] = ends_from(64 * word);
}

}  // namespace

const MaskRows masks_avx2 = {{run_ends<1>, run_ends<2>, run_ends<4>, run_ends<8>}};

}  // namespace pspfast
