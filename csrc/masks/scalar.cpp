// The row operation on masks, written plainly: every other ISA file is held to this one exactly.
#include "../kernels.hpp"

namespace pspfast {
namespace {

template <class T>
void run_ends(const void* row, std::int64_t words, std::uint64_t* ends) {
    const T* values = static_cast<const T*>(row);
    for (std::int64_t word = 0; word < words; ++word, values += 64) {
        ends[word] = 0;
        for (int x = 0; x < 64; ++x) ends[word] |= static_cast<std::uint64_t>(values[x] != values[x + 1]) << x;
    }
}

}  // namespace

const MaskRows masks_scalar = {
    {run_ends<std::uint8_t>, run_ends<std::uint16_t>, run_ends<std::uint32_t>, run_ends<std::uint64_t>}};

}  // namespace pspfast
