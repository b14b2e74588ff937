// Stands in for the compiler's <immintrin.h> where avx512.cpp is built to run on any CPU: SIMDe's portable code under
// the native names, and the few intrinsics that SIMDe 0.7.4 lacks.
#pragma once

#include <cstdint>
#include <cstring>

#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

namespace pspfast {
std::uint16_t half_from_float(float value);  // held to the hardware converters by letterbox_driver
}

namespace emulated {

// Touches the wanted bytes only, so that AddressSanitizer sees what the instruction would touch.
inline __m512i maskz_loadu_epi32(unsigned mask, const void* from) {
    std::uint32_t words[16] = {};
    for (unsigned i = 0; i < 16; ++i)
        if (mask >> i & 1) std::memcpy(words + i, static_cast<const unsigned char*>(from) + 4 * i, 4);
    return _mm512_loadu_si512(words);
}

inline __m512i shuffle_epi32(__m512i values, int order) {
    std::uint32_t from[16], to[16];
    _mm512_storeu_si512(from, values);
    for (int i = 0; i < 16; ++i) to[i] = from[(i & ~3) | (order >> 2 * (i & 3) & 3)];
    return _mm512_loadu_si512(to);
}

inline __m512 cvtepi32_ps(__m512i values) {
    std::int32_t from[16];
    float to[16];
    _mm512_storeu_si512(from, values);
    for (int i = 0; i < 16; ++i) to[i] = static_cast<float>(from[i]);
    return _mm512_loadu_ps(to);
}

inline __m256i cvtps_ph(__m512 values) {
    float from[16];
    std::uint16_t to[16];
    _mm512_storeu_ps(from, values);
    for (int i = 0; i < 16; ++i) to[i] = pspfast::half_from_float(from[i]);
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(to));
}

}  // namespace emulated

// Also where a later SIMDe has its own; 0.7.4 gives madd the arguments of the masked form.
#undef _mm512_madd_epi16
#undef _mm512_maskz_loadu_epi32
#undef _mm512_shuffle_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtps_ph
#undef _MM_FROUND_NO_EXC
#undef _MM_PERM_BBBB
#undef _MM_PERM_DDDD
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)
#define _mm512_maskz_loadu_epi32(mask, from) emulated::maskz_loadu_epi32(mask, from)
#define _mm512_shuffle_epi32(values, order) emulated::shuffle_epi32(values, order)
#define _mm512_cvtepi32_ps(values) emulated::cvtepi32_ps(values)
#define _mm512_cvtps_ph(values, rounding) emulated::cvtps_ph(values)
#define _MM_FROUND_NO_EXC SIMDE_MM_FROUND_NO_EXC
#define _MM_PERM_BBBB 0x55
#define _MM_PERM_DDDD 0xFF

#if !defined(_mm512_cmpeq_epi16_mask)  // not in SIMDe 0.7
#define _mm512_cmpeq_epi16_mask(a, b) (simde_mm512_cmpge_epi16_mask(a, b) & simde_mm512_cmpge_epi16_mask(b, a))
#endif
