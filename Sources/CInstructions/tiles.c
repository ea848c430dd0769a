#include "tiles.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WITH_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define WITH_AMX __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")))

enum {
  OUTER = LOCKSTEP_TILE_OUTER,
  INNER = LOCKSTEP_TILE_INNER,
  /// Pairs of neighbours in the inner extent: what one instruction multiplies and adds.
  PAIRS = INNER / 2,
  TILE = OUTER * INNER,
  /// Rows and columns of a result that are computed at once: two tiles each.
  BLOCK = 2 * OUTER,
};

static ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

static ptrdiff_t tiles(ptrdiff_t extent, ptrdiff_t tile) { return (extent + tile - 1) / tile; }

/// The lowest `count` bits; all for 16 or more, none for 0 or less.
static __mmask16 lowest(ptrdiff_t count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

/// Exchanges rows and columns of 16 x 16 pairs.
WITH_AVX512 static inline void transpose(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < 2; j++) {
      r[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + j + 2]);
      r[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + j + 2]);
    }
  }
  for (int i = 0; i < 2; i++) {
    for (int j = 0; j < 4; j++) {
      t[8 * i + j] = _mm512_shuffle_i32x4(r[8 * i + j], r[8 * i + j + 4], 0x88);
      t[8 * i + j + 4] = _mm512_shuffle_i32x4(r[8 * i + j], r[8 * i + j + 4], 0xdd);
    }
  }
  for (int j = 0; j < 8; j++) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
    r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
  }
}

/// 16 rows of 32 floats, each row's neighbours side by side: row = outer, pair = inner.
WITH_AVX512 static inline void load_straight(
    lockstep_operand x, ptrdiff_t outer, ptrdiff_t inner, __m512i tile[16]) {
  ptrdiff_t rows = least(OUTER, x.outer - outer);
  __mmask16 low = lowest(x.inner - inner), high = lowest(x.inner - inner - 16);
  for (ptrdiff_t row = 0; row < OUTER; row++) {
    if (row >= rows) {
      tile[row] = _mm512_setzero_si512();
      continue;
    }
    const float *place = x.base + (outer + row) * x.stride + inner;
    __m512 lower = _mm512_maskz_loadu_ps(low, place);
    __m512 upper = high == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(high, place + 16);
    tile[row] = (__m512i)_mm512_cvtne2ps_pbh(upper, lower);
  }
}

/// Floats by which the rows of the next tiles are asked for.
enum { AHEAD = 64 };

/// 32 rows of 16 floats, two rows at a time interleaved: row = pair of inner, pair = outer.
WITH_AVX512 static inline void load_interleaved(
    lockstep_operand x, ptrdiff_t outer, ptrdiff_t inner, __m512i tile[16]) {
  const __m512i order = _mm512_set_epi16(
      31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19,
      3, 18, 2, 17, 1, 16, 0);
  ptrdiff_t rows = x.inner - inner;
  __mmask16 columns = lowest(x.outer - outer);
  for (ptrdiff_t pair = 0; pair < PAIRS; pair++) {
    const float *place = x.base + (inner + 2 * pair) * x.stride + outer;
    __m512 even = _mm512_setzero_ps(), odd = even;
    // So many rows at once are more than the hardware follows.
    _mm_prefetch(place + AHEAD, _MM_HINT_T0);
    _mm_prefetch(place + x.stride + AHEAD, _MM_HINT_T0);
    if (2 * pair < rows) even = _mm512_maskz_loadu_ps(columns, place);
    if (2 * pair + 1 < rows) odd = _mm512_maskz_loadu_ps(columns, place + x.stride);
    tile[pair] = _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
  }
}

/// Both operands are laid out panel after panel of 16 in the outer extent, and in a panel tile
/// after tile along the inner. They differ in what a row of a tile is: 16 pairs of one outer place
/// (first), or one pair of 16 outer places (second).
WITH_AVX512 static void pack(lockstep_operand x, bool second, uint16_t *target) {
  ptrdiff_t panels = 2 * tiles(x.outer, BLOCK), depth = tiles(x.inner, INNER);
  // Memory is walked along its rows.
  ptrdiff_t slow = x.inner_is_contiguous ? panels : depth;
  ptrdiff_t fast = x.inner_is_contiguous ? depth : panels;
  for (ptrdiff_t i = 0; i < slow; i++) {
    for (ptrdiff_t j = 0; j < fast; j++) {
      ptrdiff_t panel = x.inner_is_contiguous ? i : j, step = x.inner_is_contiguous ? j : i;
      __m512i tile[16];
      if (x.inner_is_contiguous) {
        load_straight(x, panel * OUTER, step * INNER, tile);
      } else {
        load_interleaved(x, panel * OUTER, step * INNER, tile);
      }
      if (second == x.inner_is_contiguous) transpose(tile);
      uint16_t *place = target + (panel * depth + step) * TILE;
      for (int row = 0; row < 16; row++) _mm512_store_si512(place + row * INNER, tile[row]);
    }
  }
}

WITH_AVX512 void lockstep_pack_first(lockstep_operand operand, uint16_t *target) {
  pack(operand, false, target);
}

WITH_AVX512 void lockstep_pack_second(lockstep_operand operand, uint16_t *target) {
  pack(operand, true, target);
}

/// Takes a block of sums to where they belong: what lies outside of the result is left out.
WITH_AVX512 static void finish(
    const float *sums, lockstep_result result, ptrdiff_t row, ptrdiff_t column) {
  __m512 scale = _mm512_set1_ps(result.scale);
  ptrdiff_t rows = least(BLOCK, result.rows - row);
  for (ptrdiff_t i = 0; i < rows; i++) {
    for (ptrdiff_t j = 0; j < BLOCK; j += 16) {
      __mmask16 mask = lowest(result.columns - column - j);
      if (mask == 0) break;
      float *place = result.base + (row + i) * result.stride + column + j;
      __m512 value = _mm512_mul_ps(_mm512_load_ps(sums + i * BLOCK + j), scale);
      if (result.accumulate) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, place));
      _mm512_mask_storeu_ps(place, mask, value);
    }
  }
}

/// Computes one block of a result from the panels of its rows and columns, `depth` tiles each.
typedef void block_product(
    const uint16_t *first, const uint16_t *second, ptrdiff_t depth, lockstep_result result,
    ptrdiff_t row, ptrdiff_t column);

/// Elements of the second operand that are gone through for one block of rows before the next: they
/// stay in the cache of a core.
enum { CACHED = 1 << 18 };

static void multiply(
    const uint16_t *first, const uint16_t *second, ptrdiff_t inner, lockstep_result result,
    block_product *block) {
  ptrdiff_t depth = tiles(inner, INNER), panel = depth * TILE;
  ptrdiff_t width = CACHED / (2 * panel) * BLOCK;
  if (width < BLOCK) width = BLOCK;
  for (ptrdiff_t start = 0; start < result.columns; start += width) {
    ptrdiff_t end = least(start + width, result.columns);
    for (ptrdiff_t row = 0; row < result.rows; row += BLOCK) {
      for (ptrdiff_t column = start; column < end; column += BLOCK) {
        block(
            first + row / OUTER * panel, second + column / OUTER * panel, depth, result, row,
            column);
      }
    }
  }
}

WITH_AMX static void amx_block(
    const uint16_t *first, const uint16_t *second, ptrdiff_t depth, lockstep_result result,
    ptrdiff_t row, ptrdiff_t column) {
  ptrdiff_t panel = depth * TILE, bytes = result.stride * 4;
  // Whole blocks go to and from memory as tiles.
  bool is_direct =
      result.scale == 1 && row + BLOCK <= result.rows && column + BLOCK <= result.columns;
  float *c = result.base + row * result.stride + column, *d = c + OUTER * result.stride;
  if (is_direct && result.accumulate) {
    _tile_loadd(4, c, bytes);
    _tile_loadd(5, c + OUTER, bytes);
    _tile_loadd(6, d, bytes);
    _tile_loadd(7, d + OUTER, bytes);
  } else {
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
  }
  for (ptrdiff_t step = 0; step < depth; step++, first += TILE, second += TILE) {
    _tile_loadd(0, first, 64);
    _tile_loadd(2, second, 64);
    _tile_loadd(3, second + panel, 64);
    _tile_loadd(1, first + panel, 64);
    _tile_dpbf16ps(4, 0, 2);
    _tile_dpbf16ps(5, 0, 3);
    _tile_dpbf16ps(6, 1, 2);
    _tile_dpbf16ps(7, 1, 3);
  }
  if (is_direct) {
    _tile_stored(4, c, bytes);
    _tile_stored(5, c + OUTER, bytes);
    _tile_stored(6, d, bytes);
    _tile_stored(7, d + OUTER, bytes);
    return;
  }
  _Alignas(64) float sums[BLOCK * BLOCK];
  _tile_stored(4, sums, BLOCK * 4);
  _tile_stored(5, sums + OUTER, BLOCK * 4);
  _tile_stored(6, sums + OUTER * BLOCK, BLOCK * 4);
  _tile_stored(7, sums + OUTER * BLOCK + OUTER, BLOCK * 4);
  finish(sums, result, row, column);
}

/// What `ldtilecfg` reads.
typedef struct {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} tile_configuration;

WITH_AMX void lockstep_multiply_amx(
    const uint16_t *first, const uint16_t *second, ptrdiff_t inner, lockstep_result result) {
  // All eight tiles are alike.
  tile_configuration configuration = {.palette = 1};
  for (int tile = 0; tile < 8; tile++) {
    configuration.row_bytes[tile] = 2 * INNER;
    configuration.rows[tile] = OUTER;
  }
  _tile_loadconfig(&configuration);
  multiply(first, second, inner, result, amx_block);
  // Tiles in use would be saved at every change of threads.
  _tile_release();
}

WITH_AVX512 static void avx512_block(
    const uint16_t *first, const uint16_t *second, ptrdiff_t depth, lockstep_result result,
    ptrdiff_t row, ptrdiff_t column) {
  // Rows that are summed at once: their sums stay in registers.
  enum { STRIP = 8 };
  ptrdiff_t panel = depth * TILE;
  _Alignas(64) float sums[BLOCK * BLOCK];
  for (ptrdiff_t strip = 0; strip < BLOCK; strip += STRIP) {
    const uint16_t *a = first + strip / OUTER * panel + strip % OUTER * INNER, *b = second;
    __m512 left[STRIP], right[STRIP];
    for (int i = 0; i < STRIP; i++) left[i] = right[i] = _mm512_setzero_ps();
    for (ptrdiff_t step = 0; step < depth; step++, a += TILE, b += TILE) {
      for (int pair = 0; pair < PAIRS; pair++) {
        __m512bh b0 = (__m512bh)_mm512_load_si512(b + pair * 2 * OUTER);
        __m512bh b1 = (__m512bh)_mm512_load_si512(b + panel + pair * 2 * OUTER);
        for (int i = 0; i < STRIP; i++) {
          int32_t each;
          memcpy(&each, a + i * INNER + 2 * pair, sizeof each);
          left[i] = _mm512_dpbf16_ps(left[i], (__m512bh)_mm512_set1_epi32(each), b0);
          right[i] = _mm512_dpbf16_ps(right[i], (__m512bh)_mm512_set1_epi32(each), b1);
        }
      }
    }
    for (int i = 0; i < STRIP; i++) {
      _mm512_store_ps(sums + (strip + i) * BLOCK, left[i]);
      _mm512_store_ps(sums + (strip + i) * BLOCK + OUTER, right[i]);
    }
  }
  finish(sums, result, row, column);
}

WITH_AVX512 void lockstep_multiply_avx512(
    const uint16_t *first, const uint16_t *second, ptrdiff_t inner, lockstep_result result) {
  multiply(first, second, inner, result, avx512_block);
}

bool lockstep_request_amx(void) {
  enum { ARCH_REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
  return syscall(SYS_arch_prctl, ARCH_REQUEST_PERMISSION, TILE_DATA) == 0;
}

#else

// Other CPUs are refused before any of these is called.
void lockstep_pack_first(lockstep_operand operand, uint16_t *target) { __builtin_trap(); }
void lockstep_pack_second(lockstep_operand operand, uint16_t *target) { __builtin_trap(); }
void lockstep_multiply_amx(
    const uint16_t *first, const uint16_t *second, ptrdiff_t inner, lockstep_result result) {
  __builtin_trap();
}
void lockstep_multiply_avx512(
    const uint16_t *first, const uint16_t *second, ptrdiff_t inner, lockstep_result result) {
  __builtin_trap();
}
bool lockstep_request_amx(void) { return false; }

#endif
