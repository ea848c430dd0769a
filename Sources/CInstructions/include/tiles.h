#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Matrix products of bfloat16 operands with fp32 sums, in the instructions that x86 CPUs have for
/// them. In C because Swift has no names for these instructions; what decides about cutting,
/// memory and when to use them is `ReducedProducts` in Swift.
///
/// An operand is packed before its product: rounded to the nearest, ties to even (denormals to
/// zero), and laid out in tiles of 1 KiB. A tile holds 16 rows of the first operand (columns of the
/// second) by 32 of the inner extent; what lies outside of the matrix is zero.

/// Outer and inner extent of a tile. Packed extents are whole multiples of twice the first and of
/// the second.
enum { LOCKSTEP_TILE_OUTER = 16, LOCKSTEP_TILE_INNER = 32 };

/// A matrix in memory as one operand of a product: row-major, rows `stride` floats apart.
typedef struct {
  const float *_Nonnull base;
  /// Extent that the product keeps: rows of the first operand, columns of the second.
  ptrdiff_t outer;
  /// Extent that the product sums over.
  ptrdiff_t inner;
  ptrdiff_t stride;
  /// Whether neighbours in memory are neighbours in the inner extent.
  bool inner_is_contiguous;
} lockstep_operand;

/// Rounds and packs the first operand; `target` has room for the packed extents and is aligned to
/// 64 bytes.
void lockstep_pack_first(lockstep_operand operand, uint16_t *_Nonnull target);

/// The same for the second operand.
void lockstep_pack_second(lockstep_operand operand, uint16_t *_Nonnull target);

/// Where a product goes: c = scale * product + (accumulate ? c : 0).
typedef struct {
  float *_Nonnull base;
  ptrdiff_t rows;
  ptrdiff_t columns;
  ptrdiff_t stride;
  float scale;
  bool accumulate;
} lockstep_result;

/// The product of two packed operands with the given inner extent, in AMX tiles. The process must
/// have asked for them.
void lockstep_multiply_amx(
    const uint16_t *_Nonnull first, const uint16_t *_Nonnull second, ptrdiff_t inner,
    lockstep_result result);

/// The same with AVX512-BF16.
void lockstep_multiply_avx512(
    const uint16_t *_Nonnull first, const uint16_t *_Nonnull second, ptrdiff_t inner,
    lockstep_result result);

/// Asks the kernel for AMX tiles, for all threads of this process; false where it has none to give.
bool lockstep_request_amx(void);
