// The row operation on masks, written plainly: every other ISA file is held to this one exactly.
#include "../kernels.hpp"

namespace pspfast {
namespace {

template <class T>
void run_ends(const void* row, std::int64_t count, std::uint64_t* ends) {
    const T* values = static_cast<const T*>(row);
    for (std::int64_t start = 0; start < count; start += 64) {
        std::uint64_t word = 0;
        for (std::int64_t x = start; x < count && x < start + 64; ++x) {
            const bool ends_here = x + 1 == count || values[x] != values[x + 1];
            word |= static_cast<std::uint64_t>(ends_here) << (x - start);
        }
        ends[start / 64] = word;
    }
}

}  // namespace

const MaskRows masks_scalar = {
    {run_ends<std::uint8_t>, run_ends<std::uint16_t>, run_ends<std::uint32_t>, run_ends<std::uint64_t>}};

}  // namespace pspfast
