// One table a set of kernels, best first. Which one is used is the caller's choice; the first is the natural one.
#include "kernels.hpp"

namespace pspfast {
namespace {

constexpr KernelTable built[] = {
#if defined(__x86_64__)
    {Isa::avx512, "avx512", &letterbox_avx512, &masks_avx512},
    {Isa::avx2, "avx2", &letterbox_avx2, &masks_avx2},
#elif defined(__aarch64__)
    {Isa::neon, "neon", &letterbox_neon, &masks_neon},
#endif
    {Isa::scalar, "scalar", &letterbox_scalar, &masks_scalar},
};

constexpr const char* known[] = {"scalar", "avx2", "avx512", "neon"};

}  // namespace

const KernelTable* runnable_kernels(std::size_t index) {
    for (const KernelTable& table : built)
        if (cpu_runs(table.isa) && index-- == 0) return &table;
    return nullptr;
}

const char* known_isa(std::size_t index) { return index < sizeof known / sizeof *known ? known[index] : nullptr; }

}  // namespace pspfast
