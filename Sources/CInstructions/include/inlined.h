#pragma once

// Small things that become one instruction where they are used, for the CPU that the using target
// is compiled for.

/// The instruction-set extensions the compiler was allowed to use for the target that includes this
/// header, as names of /proc/cpuinfo, separated by spaces.
static inline const char *_Nonnull lockstep_compiled_cpu_features(void) {
  return ""
#ifdef __AVX__
      "avx "
#endif
#ifdef __AVX2__
      "avx2 "
#endif
#ifdef __FMA__
      "fma "
#endif
#ifdef __BMI__
      "bmi1 "
#endif
#ifdef __BMI2__
      "bmi2 "
#endif
#ifdef __GFNI__
      "gfni "
#endif
#ifdef __AVX512F__
      "avx512f "
#endif
#ifdef __AVX512BW__
      "avx512bw "
#endif
#ifdef __AVX512CD__
      "avx512cd "
#endif
#ifdef __AVX512DQ__
      "avx512dq "
#endif
#ifdef __AVX512VL__
      "avx512vl "
#endif
#ifdef __AVX512IFMA__
      "avx512ifma "
#endif
#ifdef __AVX512VBMI__
      "avx512vbmi "
#endif
#ifdef __AVX512VBMI2__
      "avx512_vbmi2 "
#endif
#ifdef __AVX512BITALG__
      "avx512_bitalg "
#endif
#ifdef __AVX512VPOPCNTDQ__
      "avx512_vpopcntdq "
#endif
#ifdef __AVX512VNNI__
      "avx512_vnni "
#endif
#ifdef __AVX512BF16__
      "avx512_bf16 "
#endif
#ifdef __AVX512FP16__
      "avx512_fp16 "
#endif
      ;
}

/// Asks for the cache line at `place`, which need not exist. Swift has no way to say it, and the
/// hardware stops prefetching at every 4 KiB page, which is what shared memory consists of.
static inline void lockstep_prefetch(const void *_Nonnull place) {
  __builtin_prefetch(place, 0, 3);
}

typedef float lockstep_wide __attribute__((ext_vector_type(16)));

/// The square root of each element, correctly rounded like Swift's, which computes one at a time.
static inline lockstep_wide lockstep_square_root(lockstep_wide x) {
  return __builtin_elementwise_sqrt(x);
}
