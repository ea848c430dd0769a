#pragma once
#include <cblas.h>

/// The instruction-set extensions the compiler was allowed to use for the target that includes this
/// header, as names of /proc/cpuinfo, separated by spaces.
static inline const char *lockstep_compiled_cpu_features(void) {
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
#ifdef __AVX512F__
      "avx512f "
#endif
#ifdef __AVX512BW__
      "avx512bw "
#endif
#ifdef __AVX512DQ__
      "avx512dq "
#endif
#ifdef __AVX512VL__
      "avx512vl "
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
