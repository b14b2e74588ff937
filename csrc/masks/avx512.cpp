// AVX-512 (F, BW). Bound by loads: a block of values is compared with itself one further on, 64 results a word.
#include <immintrin.h>

#include "../kernels.hpp"

namespace pspfast {
namespace {

__m512i load64(const void* from) { return _mm512_loadu_si512(from); }

// One bit for each of the 64 / size values of a register that equals the next one.
template <int size>
std::uint64_t equal_bits(const std::uint8_t* at) {
    const __m512i here = load64(at), next = load64(at + size);
    if constexpr (size == 1) return _mm512_cmpeq_epi8_mask(here, next);
    if constexpr (size == 2) return _mm512_cmpeq_epi16_mask(here, next);
    if constexpr (size == 4) return _mm512_cmpeq_epi32_mask(here, next);
    if constexpr (size == 8) return _mm512_cmpeq_epi64_mask(here, next);
}

template <int size>
void run_ends(const void* row, std::int64_t words, std::uint64_t* ends) {
    const auto ends_from = [row](std::int64_t x) {
        const auto* at = static_cast<const std::uint8_t*>(row) + x * size;
        std::uint64_t equal = 0;
        for (int i = 0; i < size; ++i) equal |= equal_bits<size>(at + 64 * i) << (64 / size * i);
        return ~equal;
    };
    for (std::int64_t word = 0; word < words; ++word) ends[word] = ends_from(64 * word);
}

}  // namespace

const MaskRows masks_avx512 = {{run_ends<1>, run_ends<2>, run_ends<4>, run_ends<8>}};

}  // namespace pspfast
