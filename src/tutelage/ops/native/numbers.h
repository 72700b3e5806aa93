// The two number formats of tensors here, float and bfloat16, read and written as float.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

// Whether the compiler knew OpenMP: without it the loops of a library run on one thread.
extern "C" int runs_threads() {
#if defined(_OPENMP)
    return 1;
#else
    return 0;
#endif
}

struct bfloat16 {
    uint16_t bits;
};

static inline float number(float value) { return value; }

static inline float number(bfloat16 value) {
    uint32_t bits = (uint32_t)value.bits << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

template <typename T>
static inline T as(float value);

template <>
inline float as<float>(float value) {
    return value;
}

// Rounds to the nearest, ties to even, as torch does; NaN stays NaN.
template <>
inline bfloat16 as<bfloat16>(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    return {(uint16_t)(value != value ? 0x7FC0 : rounded)};
}
