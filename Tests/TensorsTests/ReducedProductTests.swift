import Core
import Foundation
import Tensors
import Testing

@Suite struct ReducedProductTests {
  private static let cpu: [String] = {
    let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("flags") } ?? ""
    return line.split(separator: " ").map(String.init)
  }()

  static let canBeUsed = cpu.contains("avx512_bf16")

  /// What `use(cpu:)` is told, for each of the instructions this CPU has.
  private static let choices =
    [cpu.filter { $0 != "amx_bf16" }] + (cpu.contains("amx_bf16") ? [cpu] : [])

  /// Rounded to eight significant bits, ties to even.
  private static func rounded(_ value: Float) -> Float {
    let bits = value.bitPattern
    return Float(bitPattern: (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
  }

  private static func rounded(_ matrix: Matrix) -> Reference.Rows {
    (0..<matrix.rows).map { matrix[$0].array.map { Double(rounded($0)) } }
  }

  // In processes of their own: products are reduced for a whole process.
  @Test(.enabled(if: canBeUsed, "SKIPPED: needs a CPU with avx512_bf16"))
  func productsAreThoseOfRoundedOperands() async {
    await #expect(processExitsWith: .success) {
      for (features, name) in zip(Self.choices, ["avx512_bf16", "amx_bf16"]) {
        try ReducedProducts.use(cpu: features)
        #expect(ReducedProducts.kernels == name)
        // Whole blocks, ragged ones, and more columns than are gone through at once.
        for (m, k, n) in [(64, 64, 64), (67, 131, 129), (250, 128, 512), (33, 1000, 650)] {
          expectProducts(m: m, k: k, n: n, seen: Self.rounded, tolerance: 2e-3)
        }
      }
    }
  }

  @Test(.enabled(if: canBeUsed, "SKIPPED: needs a CPU with avx512_bf16"))
  func roundingIsToTheNearestAndKeepsWhatIsNoNumber() async {
    await #expect(processExitsWith: .success) {
      try ReducedProducts.use(cpu: Self.cpu)
      let n = 128
      let a = noise(n * n, site: 4)
      let one = FloatBuffer(count: n * n)
      let c = FloatBuffer(count: n * n)
      one.view.fill(0)
      for i in 0..<n { one.view.base[i * n + i] = 1 }
      // Ties to both sides, a carry into the exponent, the smallest and largest numbers.
      let special: [UInt32] = [
        0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x3f80_7fff, 0x3fff_ffff, 0x0080_0000, 0x7f7f_0000,
        0xbf80_8000, 0x8000_0000,
      ]
      for (i, bits) in special.enumerated() { a.view.base[i] = Float(bitPattern: bits) }
      let left = a.view.matrix(rows: n, columns: n)
      let identity = one.view.matrix(rows: n, columns: n)
      let result = c.view.matrix(rows: n, columns: n)
      multiply(left, identity, into: result)
      #expect(result.vector.array == left.vector.array.map(Self.rounded))
      for bits: UInt32 in [0x7fff_ffff, 0xffff_ffff, 0x7f80_0001, 0x7f80_0000] {
        a.view.base[5] = Float(bitPattern: bits)
        multiply(left, identity, into: result)
        #expect(!result.vector.array[5].isFinite)
        #expect(result.vector.array[n...].allSatisfy { $0.isFinite })
      }
    }
  }

  /// Their rounding costs more than it saves.
  @Test(.enabled(if: canBeUsed, "SKIPPED: needs a CPU with avx512_bf16"))
  func smallProductsStayWhole() async {
    await #expect(processExitsWith: .success) {
      let a = noise(30 * 32, site: 1)
      let b = noise(30 * 32, site: 2)
      let whole = FloatBuffer(count: 900)
      let later = FloatBuffer(count: 900)
      let left = a.view.matrix(rows: 30, columns: 32)
      let right = b.view.matrix(rows: 30, columns: 32)
      multiply(left, right.transposed, into: whole.view.matrix(rows: 30, columns: 30))
      try ReducedProducts.use(cpu: Self.cpu)
      multiply(left, right.transposed, into: later.view.matrix(rows: 30, columns: 30))
      #expect(whole.view.array == later.view.array)
    }
  }

  @Test func aCPUWithoutThemIsRefusedWithAWayOut() {
    let failure = #expect(throws: Failure.self) {
      try ReducedProducts.use(cpu: ["avx2", "avx512f"])
    }
    #expect(failure?.exitCode == .configuration)
    #expect(failure?.message.contains("precision.compute=fp32") == true)
    #expect(!ReducedProducts.areInUse && ReducedProducts.kernels == nil)
  }
}
