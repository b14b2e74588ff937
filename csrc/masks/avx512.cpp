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

template <int size, int log2>
void run_ends(const void* row, std::int64_t count, std::uint64_t* ends) {
    const auto ends_from = [row](std::int64_t x) {
        const auto* at = static_cast<const std::uint8_t*>(row) + x * size;
        std::uint64_t equal = 0;
        for (int i = 0; i < size; ++i) equal |= equal_bits<size>(at + 64 * i) << (64 / size * i);
        return ~equal;
    };
    std::int64_t x = 0;
    for (; x + 64 < count; x += 64) ends[x / 64] = ends_from(x);
    // The rest ends with the row: a word of the last 65 values, moved to where it belongs.
    const std::int64_t last = count - 65;
    if (last < 0) return masks_scalar.run_ends[log2](row, count, ends);
    const std::uint64_t word = ends_from(last);
    ends[x / 64] = word >> 1 >> (x - last - 1) | UINT64_C(1) << (count - 1 - x);
}

}  // namespace

const MaskRows masks_avx512 = {{run_ends<1, 0>, run_ends<2, 1>, run_ends<4, 2>, run_ends<8, 3>}};

}  // namespace pspfast
