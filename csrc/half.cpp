#include <cstring>

#include "kernels.hpp"

namespace pspfast {

std::uint16_t half_from_float(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;

    if (magnitude > 0x7f800000u)  // NaN: quiet, upper payload bits kept, as the hardware converters do
        return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u)  // 65520 and above round to infinity
        return static_cast<std::uint16_t>(sign | 0x7c00u);

    std::uint32_t kept, dropped, half_way;
    if (magnitude >= 0x38800000u) {  // 2^-14 and above: normal; the exponent bias falls from 127 to 15
        kept = (magnitude - 0x38000000u) >> 13;
        dropped = magnitude & 0x1fffu;
        half_way = 0x1000u;
    } else {
        const std::uint32_t exponent = magnitude >> 23;
        if (exponent < 102) return static_cast<std::uint16_t>(sign);  // below 2^-25: nearest is zero
        const std::uint32_t shift = 126 - exponent;                   // 14..24 bits fall off a subnormal half
        const std::uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
        kept = significand >> shift;
        dropped = significand & ((1u << shift) - 1);
        half_way = 1u << (shift - 1);
    }
    // A carry out of the significand runs into the exponent, which is the right result.
    if (dropped > half_way || (dropped == half_way && (kept & 1u))) ++kept;
    return static_cast<std::uint16_t>(sign | kept);
}

}  // namespace pspfast
