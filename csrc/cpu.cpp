// What this CPU has *and* this operating system saves on a context switch. Nobody else asks.
#include "kernels.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pspfast {

#if defined(__x86_64__)
namespace {

// Bit numbers: Intel SDM volume 2A, CPUID; volume 1, XCR0.
constexpr unsigned bit(unsigned n) { return 1u << n; }

struct Registers {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf) {
    Registers r;
    if (__get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
    return r;
}

unsigned saved_by_os() {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

struct Features {
    bool avx2 = false, avx512 = false;

    Features() {
        const Registers one = cpuid(1), seven = cpuid(7);
        constexpr unsigned osxsave_avx_f16c = bit(27) | bit(28) | bit(29);
        if ((one.ecx & osxsave_avx_f16c) != osxsave_avx_f16c) return;

        constexpr unsigned ymm = bit(1) | bit(2), zmm = bit(5) | bit(6) | bit(7);
        const unsigned saved = saved_by_os();
        avx2 = (saved & ymm) == ymm && (seven.ebx & bit(5)) != 0;

        constexpr unsigned f_dq_bw_vl = bit(16) | bit(17) | bit(30) | bit(31);
        avx512 = avx2 && (saved & zmm) == zmm && (seven.ebx & f_dq_bw_vl) == f_dq_bw_vl;
    }
};

}  // namespace

bool cpu_runs(Isa isa) {
    static const Features features;
    switch (isa) {
        case Isa::scalar: return true;
        case Isa::avx2: return features.avx2;
        case Isa::avx512: return features.avx512;
        case Isa::neon: return false;
    }
    return false;
}

#else

// Advanced SIMD with its fp16 conversions is part of the AArch64 baseline.
bool cpu_runs(Isa isa) {
#if defined(__aarch64__)
    if (isa == Isa::neon) return true;
#endif
    return isa == Isa::scalar;
}

#endif

}  // namespace pspfast
