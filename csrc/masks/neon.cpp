// AArch64 NEON. Bound by the way from vector to bits: compares are narrowed to bytes, 16 bytes to 16 bits by weights.
#include <arm_neon.h>

#include "../kernels.hpp"

namespace pspfast {
namespace {

// All bits set in each of 16 bytes whose value, of `size` bytes in the row, equals the next one.
template <int size>
uint8x16_t equal_to_next(const std::uint8_t* at) {
    const auto here = [&](int i) { return vld1q_u8(at + 16 * i); };
    const auto next = [&](int i) { return vld1q_u8(at + 16 * i + size); };
    const auto equal_16 = [&](int i) {
        return vceqq_u16(vreinterpretq_u16_u8(here(i)), vreinterpretq_u16_u8(next(i)));
    };
    const auto equal_32 = [&](int i) {
        return vceqq_u32(vreinterpretq_u32_u8(here(i)), vreinterpretq_u32_u8(next(i)));
    };
    const auto equal_64 = [&](int i) {
        return vceqq_u64(vreinterpretq_u64_u8(here(i)), vreinterpretq_u64_u8(next(i)));
    };
    const auto four_32 = [&](int i) { return vcombine_u16(vmovn_u32(equal_32(i)), vmovn_u32(equal_32(i + 1))); };
    const auto four_64 = [&](int i) { return vcombine_u32(vmovn_u64(equal_64(i)), vmovn_u64(equal_64(i + 1))); };
    const auto eight_64 = [&](int i) { return vcombine_u16(vmovn_u32(four_64(i)), vmovn_u32(four_64(i + 2))); };
    if constexpr (size == 1) return vceqq_u8(here(0), next(0));
    if constexpr (size == 2) return vcombine_u8(vmovn_u16(equal_16(0)), vmovn_u16(equal_16(1)));
    if constexpr (size == 4) return vcombine_u8(vmovn_u16(four_32(0)), vmovn_u16(four_32(2)));
    if constexpr (size == 8) return vcombine_u8(vmovn_u16(eight_64(0)), vmovn_u16(eight_64(4)));
}

template <int size>
void run_ends(const void* row, std::int64_t words, std::uint64_t* ends) {
    alignas(16) static constexpr std::uint8_t weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t weight = vld1q_u8(weights);
    const auto ends_from = [&](std::int64_t x) {
        const auto* at = static_cast<const std::uint8_t*>(row) + x * size;
        uint8x16_t part[4];
        for (int i = 0; i < 4; ++i) part[i] = vbicq_u8(weight, equal_to_next<size>(at + 16 * i * size));
        // Three rounds of pairwise sums leave 8 bytes, each the 8 bits of 8 values.
        const uint8x16_t sums = vpaddq_u8(vpaddq_u8(part[0], part[1]), vpaddq_u8(part[2], part[3]));
        return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
    };
    for (std::int64_t word = 0; word < words; ++word) ends[word] = ends_from(64 * word);
}

}  // namespace

const MaskRows masks_neon = {{run_ends<1>, run_ends<2>, run_ends<4>, run_ends<8>}};

}  // namespace pspfast
