// Holds every instruction set to the scalar kernels, without Python in between.
//
//   letterbox_driver matrix
//       Made-up pictures over a matrix of shapes, strides, offsets and options. Every table must write the scalar
//       table's bytes and nothing round them. Prints `ISA <name> <FNV-1a of all outputs> <cases>` for each; the hashes
//       of two machines can be compared. Also half_from_float against plain arithmetic, and the calls to refuse.
//
//   letterbox_driver pictures ISA
//       Jobs from stdin until it ends, the output of each to stdout as it lies in memory. A job, little-endian:
//           int32   height, width, canvas_height, canvas_width, resized_height, resized_width, top, left
//           float64 mean[3], inv_std[3]
//           float32 pad_value
//           int32   channels (0 as they are, 1 reversed), element (0 = float16, 1 = float32), nothing
//           uint8   height x width x 3
//
//   letterbox_driver halves PART PARTS
//       half_from_float of every float of this part of all 2^32 against the CPU's own converter.
//
// Built with PSPFAST_EMULATE_AVX512, letterbox_avx512 was compiled against simde/immintrin.h: it runs on any CPU and is
// tested whatever cpu_runs() says.
#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

using namespace pspfast;

int failures = 0;

// The first few in full: the rest say the same.
template <class... Args>
void fail(const char* format, Args... args) {
    if (++failures <= 20) std::fprintf(stderr, format, args...);
}

// ---- which tables, and which must be among them ----

std::vector<KernelTable> tables() {
    std::vector<KernelTable> found;
    for (std::size_t i = 0; const KernelTable* table = runnable_kernels(i); ++i) found.push_back(*table);
#if defined(PSPFAST_EMULATE_AVX512)
    if (!cpu_runs(Isa::avx512)) found.push_back({Isa::avx512, "avx512", &letterbox_avx512, &masks_avx512});
#endif
    return found;
}

const KernelTable* named(const std::vector<KernelTable>& all, const std::string& name) {
    for (const KernelTable& table : all)
        if (name == table.name) return &table;
    return nullptr;
}

// Asks the compiler's runtime, not cpu.cpp, which is under test as well.
std::vector<std::string> expected_names() {
    std::vector<std::string> names = {"scalar"};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) names.push_back("avx2");
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        names.push_back("avx512");
#if defined(PSPFAST_EMULATE_AVX512)
    names.push_back("avx512");
#endif
#elif defined(__aarch64__)
    names.push_back("neon");
#endif
    return names;
}

void check_tables(const std::vector<KernelTable>& all) {
    for (const std::string& name : expected_names())
        if (!named(all, name)) fail("this CPU runs %s, but there is no table of that name\n", name.c_str());
    for (const KernelTable& table : all) {
        bool known = false;
        for (std::size_t i = 0; const char* name = known_isa(i); ++i) known |= std::strcmp(name, table.name) == 0;
        if (!known) fail("known_isa() does not name %s\n", table.name);
    }
}

// ---- pictures ----

// splitmix64: the same numbers on every machine.
struct Random {
    std::uint64_t state;
    std::uint64_t next() {
        std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    std::int64_t below(std::int64_t limit) {
        return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(limit));
    }
};

// Memory whose end is watched, by AddressSanitizer or by a page without access behind it. A size that is a multiple of
// 64 starts on a 64-byte boundary.
class Block {
   public:
    explicit Block(std::int64_t bytes) : bytes_(static_cast<std::size_t>(bytes)) {
#if defined(__SANITIZE_ADDRESS__)
        data_ = static_cast<unsigned char*>(bytes % 64 == 0 ? std::aligned_alloc(64, bytes_) : std::malloc(bytes_));
        if (!data_) std::abort();
#else
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t usable = (bytes_ + page - 1) / page * page;
        mapped_bytes_ = usable + page;
        mapped_ = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped_ == MAP_FAILED || mprotect(static_cast<char*>(mapped_) + usable, page, PROT_NONE) != 0) std::abort();
        data_ = static_cast<unsigned char*>(mapped_) + (usable - bytes_);
#endif
    }
    ~Block() {
#if defined(__SANITIZE_ADDRESS__)
        std::free(data_);
#else
        munmap(mapped_, mapped_bytes_);
#endif
    }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;

    unsigned char* begin() const { return data_; }
    unsigned char* end() const { return data_ + bytes_; }
    std::size_t bytes() const { return bytes_; }
    void fill(int byte) const { std::memset(data_, byte, bytes_); }

   private:
    std::size_t bytes_;
    unsigned char* data_ = nullptr;
#if !defined(__SANITIZE_ADDRESS__)
    void* mapped_ = nullptr;
    std::size_t mapped_bytes_ = 0;
#endif
};

enum class Content { noise, black_or_white, white, count };

// Rows with room between them or none, in either direction; the last pixel in memory is the end of the block.
class Picture {
   public:
    Picture(Random& random, std::int64_t height, std::int64_t width, Content content)
        : before_(random.below(20)),
          stride_(3 * width + random.below(2) * random.below(40)),
          block_(before_ + (height - 1) * stride_ + 3 * width) {
        for (unsigned char& byte : block_) {
            byte = static_cast<unsigned char>(random.next() >> 56);
            if (content == Content::black_or_white) byte = byte > 127 ? 255 : 0;
            if (content == Content::white) byte = 255;
        }
        const bool upside_down = random.below(3) == 0;
        view = {block_.begin() + before_ + (upside_down ? (height - 1) * stride_ : 0), height, width,
                upside_down ? -stride_ : stride_};
    }

    PictureView view{};

   private:
    std::int64_t before_, stride_;
    Block block_;
};

std::int64_t element_size(Element element) { return element == Element::f16 ? 2 : 4; }

struct Constants {
    double mean[3], inv_std[3];
};

struct Options {
    Constants constants;
    Channels channels;
    float pad_value;
    Element element;
};

// Constants to normalize by. With the first two float32 arithmetic makes all the halves that the definition makes, with
// a mean that 2^15 can be added to and with one that it cannot; with the third it does not, and tables must step in.
constexpr Constants guide = {{123.6875, 116.25, 103.5}, {1 / 58.40625, 1 / 57.125, 1 / 57.375}};
constexpr Constants exact = {{123.675, 116.28, 103.53}, {1 / 58.395, 1 / 57.12, 1 / 57.375}};
constexpr Constants beyond_float32 = {{115.718, 118.681, 118.191}, {1 / 61.25, 1 / 56.402, 1 / 60.905}};

Options make_options(Random& random) {
    // No change; into and out of the halves' range at both ends; backwards.
    constexpr Constants some[] = {guide,
                                  exact,
                                  beyond_float32,
                                  {{0, 0, 0}, {1, 1, 1}},
                                  {{127.5, -3.25, 300}, {3e-7, 700, 1e-9}},
                                  {{1, 128, 254.999}, {-0.37, 2e-5, 1e38}}};
    constexpr float pads[] = {0.0F, -1.7F, 114.0F, 1e-6F, 65520.0F};
    return {some[random.below(6)], random.below(2) == 1 ? Channels::reversed : Channels::as_they_are,
            pads[random.below(5)], random.below(2) == 0 ? Element::f16 : Element::f32};
}

// ---- one call, watched ----

char current_call[500];

// Says which call touched the page behind a block.
extern "C" void on_fault(int) {
    const ssize_t written = write(STDERR_FILENO, current_call, std::strlen(current_call));
    _exit(written < 0 ? 2 : 1);
}

std::string describe(const PictureView& view, const Placement& p, const Options& o, std::int64_t offset) {
    char text[400];
    std::snprintf(text, sizeof text,
                  "%" PRId64 "x%" PRId64 " stride %td -> %" PRId64 "x%" PRId64 " at (%" PRId64 ", %" PRId64
                  ") of %" PRId64 "x%" PRId64
                  ", %s, channels %d, mean %g %g %g, inv_std %g %g %g, pad %g, offset "
                  "%" PRId64,
                  view.height, view.width, view.row_stride, p.resized_height, p.resized_width, p.top, p.left,
                  p.canvas_height, p.canvas_width, o.element == Element::f16 ? "f16" : "f32", int(o.channels),
                  o.constants.mean[0], o.constants.mean[1], o.constants.mean[2], o.constants.inv_std[0],
                  o.constants.inv_std[1], o.constants.inv_std[2], double(o.pad_value), offset);
    return text;
}

constexpr unsigned char untouched = 0xA5;
constexpr std::int64_t guard = 192;

struct Output {
    std::vector<unsigned char> bytes;  // of the canvas
    bool guards_whole;
    Status status;
};

// Into a canvas `offset` elements from a 64-byte boundary, with a workspace of exactly the size asked for.
Output watched(const KernelTable& table, const PictureView& view, const Placement& place, const Options& options,
               std::int64_t offset) {
    const std::int64_t size = 3 * place.canvas_height * place.canvas_width * element_size(options.element);
    const std::int64_t before = guard + offset * element_size(options.element);
    const Block block((before + size + guard + 63) / 64 * 64);
    block.fill(untouched);
    const Block workspace(static_cast<std::int64_t>(letterbox_workspace(place)));
    workspace.fill(0xEE);

    unsigned char* out = block.begin() + before;
    std::snprintf(current_call, sizeof current_call, "%s: out of bounds\n  %s\n", table.name,
                  describe(view, place, options, offset).c_str());
    Output output{};
    Normalization normalization;
    make_normalization(options.constants.mean, options.constants.inv_std, &normalization);
    output.status = letterbox(table, view, place, normalization, options.channels, options.pad_value, options.element,
                              out, workspace.begin(), workspace.bytes());
    output.bytes.assign(out, out + size);
    output.guards_whole = true;
    for (const unsigned char& byte : block)
        if ((&byte < out || &byte >= out + size) && byte != untouched) output.guards_whole = false;
    return output;
}

// ---- the matrix ----

struct Fnv1a {
    std::uint64_t value = 0xcbf29ce484222325u;
    void add(const std::vector<unsigned char>& bytes) {
        for (const unsigned char byte : bytes) value = (value ^ byte) * 0x100000001b3u;
    }
};

class Matrix {
   public:
    explicit Matrix(std::vector<KernelTable> all) : all_(std::move(all)), hashes_(all_.size()) {}

    void run() {
        for (std::int64_t width = 1; width <= 97; ++width) shapes_of(width, 1 + width % 7);
        for (const std::int64_t width : {127, 128, 129, 255, 256, 257, 375, 499, 500, 501, 512}) shapes_of(width, 6);
        try_shape(375, 500, 375, 500);
        try_shape(480, 640, 375, 500);
    }

    void report() const {
        for (std::size_t i = 0; i < all_.size(); ++i)
            std::printf("ISA %s %016" PRIx64 " %d\n", all_[i].name, hashes_[i].value, cases_);
    }

   private:
    // To pictures `width` wide, so that every row operation meets every remainder; heights odd and even.
    void shapes_of(std::int64_t width, std::int64_t height) {
        try_shape(height, width, height, width);
        try_shape(2 * height, 2 * width, height, width);      // exact: 2x2 averages
        try_shape(2 * height, 2 * width + 1, height, width);  // nearly
        try_shape(2 * height + 1, 2 * width, height, width);
        try_shape(height, 2 * width, height, width);  // one axis only
        try_shape(2 * height, width, height, width);
        try_shape(3 * height + 1, 5 * width + 3, height, width);  // far down
        try_shape((height + 1) / 2, (width + 1) / 2, height, width);
        try_shape(height + 3, (width + 6) / 7, height, width);  // far up
        try_shape(height, (4 * width + 2) / 3, height, width);
        try_shape(1, 1, height, width);
        try_shape(2, 2, height, width);
        try_shape(height + 1, 3, height, width);
    }

    void try_shape(std::int64_t height, std::int64_t width, std::int64_t resized_height, std::int64_t resized_width) {
        const auto content = static_cast<Content>(random_.below(static_cast<std::int64_t>(Content::count)));
        const Picture picture(random_, height, width, content);
        Placement place{};
        place.resized_height = resized_height;
        place.resized_width = resized_width;
        place.top = random_.below(3);
        place.left = random_.below(9);
        place.canvas_height = place.top + resized_height + random_.below(3);
        place.canvas_width = place.left + resized_width + random_.below(9);
        const Options options = make_options(random_);
        const std::int64_t offset = random_.below(32);

        const Output wanted = watched(*named(all_, "scalar"), picture.view, place, options, offset);
        for (std::size_t i = 0; i < all_.size(); ++i) {
            const Output got = watched(all_[i], picture.view, place, options, offset);
            hashes_[i].add(got.bytes);
            if (got.status == Status::ok && got.guards_whole && got.bytes == wanted.bytes) continue;
            const std::string which = describe(picture.view, place, options, offset);
            if (got.status != Status::ok) fail("%s: status %d\n  %s\n", all_[i].name, int(got.status), which.c_str());
            if (!got.guards_whole) fail("%s: wrote outside the canvas\n  %s\n", all_[i].name, which.c_str());
            if (got.bytes == wanted.bytes) continue;
            std::size_t first = 0;
            while (got.bytes[first] == wanted.bytes[first]) ++first;
            fail("%s: byte %zu of the canvas is %02x, scalar has %02x\n  %s\n", all_[i].name, first, got.bytes[first],
                 wanted.bytes[first], which.c_str());
        }
        ++cases_;
    }

    std::vector<KernelTable> all_;
    std::vector<Fnv1a> hashes_;
    Random random_{20120523};
    int cases_ = 0;
};

// ---- which constants an instruction set's own arithmetic may serve ----

// A matrix that meets only one of the two ways to normalize would prove little of the other.
void check_constants(const KernelTable& table) {
    const auto reproduces = [&](const Constants& constants) {
        Normalization normalization;
        make_normalization(constants.mean, constants.inv_std, &normalization);
        std::vector<unsigned char> row(3 * 256);
        for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<unsigned char>(i / 3);
        std::uint16_t halves[3][256];
        std::uint16_t* const plane[3] = {halves[0], halves[1], halves[2]};
        table.letterbox->normalize_f16(row.data(), 256, normalization.mean, normalization.inv_std, plane);
        return std::memcmp(halves, normalization.half, sizeof halves) == 0;
    };
    if (!table.letterbox->normalize_f16) return;
    if (!reproduces(guide)) fail("%s: does not make the halves of the guide's constants\n", table.name);
    if (!reproduces(exact)) fail("%s: does not make the halves of the exact constants\n", table.name);
    if (reproduces(beyond_float32)) fail("%s: makes halves that float32 cannot\n", table.name);
}

// ---- calls to refuse ----

void check_refusals(const KernelTable& table) {
    const std::vector<unsigned char> pixels(5 * 7 * 3, 9);
    const PictureView view{pixels.data(), 5, 7, 21};
    const Placement place{6, 8, 5, 7, 1, 1};
    const auto status = [&](const PictureView& v, const Placement& p, std::int64_t missing_bytes) {
        const Block workspace(static_cast<std::int64_t>(letterbox_workspace(place)));
        const Normalization normalization{};
        std::vector<unsigned char> out(3 * 6 * 8 * 2, untouched);
        const Status returned =
            letterbox(table, v, p, normalization, Channels::as_they_are, 0.0F, Element::f16, out.data(),
                      workspace.begin(), workspace.bytes() - static_cast<std::size_t>(missing_bytes));
        for (const unsigned char byte : out)
            if (returned != Status::ok && byte != untouched) fail("%s: a refused call wrote\n", table.name);
        return returned;
    };
    const auto expect = [&](Status wanted, const char* what, const PictureView& v, const Placement& p,
                            std::int64_t missing_bytes = 0) {
        const Status got = status(v, p, missing_bytes);
        if (got != wanted) fail("%s: %s: status %d, not %d\n", table.name, what, int(got), int(wanted));
    };
    constexpr std::int64_t huge = (INT64_C(1) << 28) + 1, largest = INT64_MAX;
    const auto* data = pixels.data();
    expect(Status::ok, "a good call", view, place);
    expect(Status::bad_shape, "height 0", {data, 0, 7, 21}, place);
    expect(Status::bad_shape, "width 0", {data, 5, 0, 21}, place);
    expect(Status::bad_shape, "height -1", {data, -1, 7, 21}, place);
    expect(Status::bad_shape, "width too large", {data, 5, huge, 21}, place);
    expect(Status::bad_shape, "height too large", {data, largest, 7, 21}, place);
    expect(Status::bad_shape, "resized height 0", view, {6, 8, 0, 7, 1, 1});
    expect(Status::bad_shape, "resized width 0", view, {6, 8, 5, 0, 1, 1});
    expect(Status::bad_shape, "resized width negative", view, {6, 8, 5, -7, 1, 1});
    expect(Status::bad_shape, "resized width too large", view, {6, 8, 5, huge, 1, 1});
    expect(Status::bad_shape, "resized width far too large", view, {6, 8, 5, largest, 1, 1});
    expect(Status::bad_shape, "canvas height 0", view, {0, 8, 5, 7, 1, 1});
    expect(Status::bad_shape, "canvas width too large", view, {6, huge, 5, 7, 1, 1});
    expect(Status::bad_placement, "top -1", view, {6, 8, 5, 7, -1, 1});
    expect(Status::bad_placement, "left -1", view, {6, 8, 5, 7, 1, -1});
    expect(Status::bad_placement, "one row too low", view, {6, 8, 5, 7, 2, 1});
    expect(Status::bad_placement, "one column too far right", view, {6, 8, 5, 7, 1, 2});
    expect(Status::bad_placement, "larger than the canvas", view, {6, 8, 7, 7, 0, 0});
    expect(Status::bad_placement, "top near overflow", view, {6, 8, 5, 7, largest, 1});
    expect(Status::bad_placement, "left near overflow", view, {6, 8, 5, 7, 1, largest});
    expect(Status::workspace_too_small, "one byte of workspace missing", view, place, 1);
}

// ---- masks ----

// Runs and noise of every element size, in blocks whose end is watched.
void check_run_ends(const KernelTable& table) {
    Random random{20260101};
    for (std::int64_t words = 1; words <= 40; ++words) {
        for (int kind = 0; kind < 4; ++kind) {
            const std::int64_t size = INT64_C(1) << kind, count = 64 * words + 1;
            const Block row(count * size);
            unsigned char value = 0;
            for (std::int64_t x = 0; x < count; ++x) {
                // Neighbours that differ in one byte only, each in its turn.
                if (random.below(1 + words % 9) == 0) ++value;
                std::memset(row.begin() + x * size, 7, static_cast<std::size_t>(size));
                row.begin()[x * size + value % size] = value;
            }
            const Block wanted(8 * words), got(8 * words);
            std::snprintf(current_call, sizeof current_call, "%s: run_ends out of bounds: %" PRId64 " of %" PRId64 "\n",
                          table.name, count, size);
            masks_scalar.run_ends[kind](row.begin(), words, reinterpret_cast<std::uint64_t*>(wanted.begin()));
            table.masks->run_ends[kind](row.begin(), words, reinterpret_cast<std::uint64_t*>(got.begin()));
            if (std::memcmp(wanted.begin(), got.begin(), wanted.bytes()) != 0)
                fail("%s: run_ends of %d values of %d bytes\n", table.name, int(count), int(size));
        }
    }
}

// unpad and confusion of one made-up mask with the memory they may touch, and no more.
void check_mask_calls(const KernelTable& table) {
    Random random{7};
    for (int i = 0; i < 300; ++i) {
        const std::int64_t height = 1 + random.below(20), width = 1 + random.below(150);
        const std::int64_t crop_height = 1 + random.below(height), crop_width = 1 + random.below(width);
        const Crop crop{random.below(height - crop_height + 1), random.below(width - crop_width + 1), crop_height,
                        crop_width};
        const std::int64_t out_height = random.below(2) ? crop_height : 1 + random.below(30);
        const std::int64_t out_width = random.below(2) ? crop_width : 1 + random.below(200);
        const auto type = static_cast<Integer>(random.below(4));
        const std::int64_t size = INT64_C(1) << int(type);
        const Block mask(height * width * size), labels(out_height * out_width), out(out_height * out_width);
        mask.fill(0);
        for (std::int64_t x = 0; x < height * width; ++x)
            mask.begin()[x * size] = static_cast<unsigned char>(random.below(5) + x / 40 % 3);
        for (unsigned char& label : labels) label = static_cast<unsigned char>(random.below(9));
        const Block workspace(static_cast<std::int64_t>(mask_workspace(out_width)));
        std::snprintf(current_call, sizeof current_call, "%s: unpad or confusion out of bounds, case %d\n", table.name,
                      i);
        const MaskView view{mask.begin(), type, height, width, width * size};
        const Status unpadded = unpad(view, crop, {out.begin(), Integer::u8, out_height, out_width, out_width},
                                      workspace.begin(), workspace.bytes());

        constexpr std::int32_t row_of[] = {0, 1, 2, 3, 4, 5, 5};  // of five classes; label 5 and 6 ignored, 7 too
        const Classes classes{5, row_of, 7, 7};
        const Block counts(7 * 6 * 8), wanted(7 * 6 * 8);
        counts.fill(0);
        wanted.fill(0);
        auto* cells = reinterpret_cast<std::int64_t*>(wanted.begin());
        for (std::int64_t x = 0; x < out_height * out_width; ++x) {
            const int label = labels.begin()[x], pred = out.begin()[x];
            const int row = label < 7 ? row_of[label] : label == 7 ? 5 : 6;
            ++cells[row * 6 + (pred < 5 ? pred : 5)];
        }
        const Status counted =
            confusion(table, view, crop, {labels.begin(), Integer::u8, out_height, out_width, out_width}, classes,
                      reinterpret_cast<std::int64_t*>(counts.begin()), workspace.begin(), workspace.bytes());
        if (unpadded != Status::ok || counted != Status::ok)
            fail("%s: case %d: status %d, %d\n", table.name, i, int(unpadded), int(counted));
        if (std::memcmp(counts.begin(), wanted.begin(), counts.bytes()) != 0)
            fail("%s: case %d: counts differ\n", table.name, i);
    }
}

// ---- half_from_float ----

float float_from_bits(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// By arithmetic in double, where every half and every midpoint is exact.
std::uint16_t slow_half(float value) {
    const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const double magnitude = std::fabs(static_cast<double>(value));
    if (std::isinf(value) || magnitude >= 65520.0) return static_cast<std::uint16_t>(sign | 0x7c00);
    const int exponent = magnitude < 0x1p-14 ? -14 : std::ilogb(magnitude);
    const double steps = std::nearbyint(std::ldexp(magnitude, 10 - exponent));  // ties to even
    // Counted in steps of its own exponent, a half is its bit pattern; 2048 steps are the first of the next exponent.
    return static_cast<std::uint16_t>(sign + (exponent + 14) * 1024 + static_cast<int>(steps));
}

void check_half(std::uint32_t bits) {
    const float value = float_from_bits(bits);
    const std::uint16_t got = half_from_float(value);
    if (std::isnan(value)) {
        const std::uint32_t wanted = (bits >> 16 & 0x8000) | 0x7e00 | (bits >> 13 & 0x3ff);
        if (got != wanted) fail("half_from_float(NaN %08x) is %04x, not %04x\n", bits, got, wanted);
    } else if (got != slow_half(value)) {
        fail("half_from_float(%08x = %a) is %04x, not %04x\n", bits, static_cast<double>(value), got, slow_half(value));
    }
}

// Every half and every midpoint with its neighbours (multiples of 2^12 and +-1 in the normal range), every exponent.
void check_halves() {
    for (std::uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += 1u << 12)
        for (const std::uint64_t nearby : {bits - 1, bits, bits + 1}) check_half(static_cast<std::uint32_t>(nearby));
    for (std::uint32_t half = 0; half < 0x0400; ++half)  // the subnormal halves and the midpoints behind them
        for (const double steps : {half + 0.0, half + 0.5}) {
            const auto value = static_cast<float>(steps * 0x1p-24);
            std::uint32_t bits;
            std::memcpy(&bits, &value, sizeof bits);
            for (const std::uint32_t nearby : {bits - 1, bits, bits + 1}) {
                check_half(nearby);
                check_half(nearby ^ 0x80000000u);
            }
        }
}

#if defined(__x86_64__)
__attribute__((target("avx,f16c"))) void eight_halves(const float* from, std::uint16_t* to) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(_mm256_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT));
}
bool has_converter() { return cpu_runs(Isa::avx2); }
#elif defined(__aarch64__)
void eight_halves(const float* from, std::uint16_t* to) {
    vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(from))));
    vst1_u16(to + 4, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(from + 4))));
}
bool has_converter() { return true; }
#endif

int run_halves(std::uint64_t part, std::uint64_t parts) {
    if (!has_converter() || parts == 0 || part >= parts) {
        std::fprintf(stderr, "halves PART PARTS, on a CPU that converts halves\n");
        return 2;
    }
    constexpr std::uint64_t all = UINT64_C(1) << 32;
    for (std::uint64_t bits = all / 8 * part / parts * 8; bits < all / 8 * (part + 1) / parts * 8; bits += 8) {
        float values[8];
        std::uint16_t wanted[8];
        for (std::uint32_t i = 0; i < 8; ++i) values[i] = float_from_bits(static_cast<std::uint32_t>(bits) + i);
        eight_halves(values, wanted);
        for (std::uint32_t i = 0; i < 8; ++i) {
            const std::uint16_t got = half_from_float(values[i]);
            if (got != wanted[i])
                fail("half_from_float(%08x) is %04x, the CPU says %04x\n", static_cast<std::uint32_t>(bits) + i, got,
                     wanted[i]);
        }
    }
    return failures == 0 ? 0 : 1;
}

// ---- the modes ----

int run_matrix() {
    const std::vector<KernelTable> all = tables();
    check_tables(all);
    if (!named(all, "scalar")) return 1;
    for (const KernelTable& table : all) {
        check_constants(table);
        check_refusals(table);
        check_run_ends(table);
        check_mask_calls(table);
    }
    check_halves();
    Matrix matrix(all);
    matrix.run();
    matrix.report();
    if (failures != 0) std::fprintf(stderr, "%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}

struct Job {
    std::int32_t height, width, canvas_height, canvas_width, resized_height, resized_width, top, left;
    Constants constants;
    float pad_value;
    std::int32_t channels, element, nothing;
};
static_assert(sizeof(Job) == 8 * 4 + 6 * 8 + 4 * 4);

int run_pictures(const char* isa) {
    const std::vector<KernelTable> all = tables();
    const KernelTable* table = named(all, isa);
    if (!table) {
        std::fprintf(stderr, "this CPU, or this build, has no ISA '%s'\n", isa);
        return 2;
    }
    Job job;
    std::size_t got;
    while ((got = std::fread(&job, 1, sizeof job, stdin)) == sizeof job) {
        if (job.height < 1 || job.width < 1) return std::fprintf(stderr, "a job without pixels\n"), 2;
        const Block pixels(INT64_C(3) * job.height * job.width);
        if (std::fread(pixels.begin(), 1, pixels.bytes(), stdin) != pixels.bytes())
            return std::fprintf(stderr, "stdin ended inside a picture\n"), 2;
        const Options options{job.constants, job.channels == 0 ? Channels::as_they_are : Channels::reversed,
                              job.pad_value, job.element == 0 ? Element::f16 : Element::f32};
        const Placement place{job.canvas_height, job.canvas_width, job.resized_height,
                              job.resized_width, job.top,          job.left};
        const Output output =
            watched(*table, {pixels.begin(), job.height, job.width, std::ptrdiff_t{3} * job.width}, place, options, 0);
        if (output.status != Status::ok || !output.guards_whole)
            return std::fprintf(stderr, "status %d, guards %d\n", int(output.status), output.guards_whole), 1;
        std::fwrite(output.bytes.data(), 1, output.bytes.size(), stdout);
    }
    if (got != 0) return std::fprintf(stderr, "stdin ended inside a job\n"), 2;
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
#if !defined(__SANITIZE_ADDRESS__)
    std::signal(SIGSEGV, on_fault);
#endif
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "matrix" && argc == 2) return run_matrix();
    if (mode == "pictures" && argc == 3) return run_pictures(argv[2]);
    if (mode == "halves" && argc == 4)
        return run_halves(std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10));
    std::fprintf(stderr, "usage: letterbox_driver matrix | pictures ISA | halves PART PARTS\n");
    return 2;
}
