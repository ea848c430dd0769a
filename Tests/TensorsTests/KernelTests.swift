import Core
import Foundation
import Tensors
import Testing

/// Random floats in [-1, 1), the same for the same site.
func noise(_ count: Int, site: Int) -> FloatBuffer {
  let buffer = FloatBuffer(count: count)
  let stream = RandomStream(seed: 17, purpose: .sampling, site: site)
  for i in 0..<count { buffer.view.base[i] = Float(2 * stream.uniform(at: i) - 1) }
  return buffer
}

/// NaN everywhere: what a kernel has to overwrite and does not shows.
func unwritten(_ count: Int) -> FloatBuffer {
  let buffer = FloatBuffer(count: count)
  buffer.view.fill(.nan)
  return buffer
}

func rows(_ matrix: Matrix) -> Reference.Rows {
  (0..<matrix.rows).map { matrix[$0].array.map(Double.init) }
}

func expectClose(
  _ matrix: Matrix, _ expected: Reference.Rows, tolerance: Double,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  let actual = rows(matrix)
  #expect(actual.map(\.count) == expected.map(\.count), sourceLocation: sourceLocation)
  // Written so that NaN fails; a maximum would pass over it.
  let errors = zip(actual, expected).flatMap { zip($0, $1).map { abs($0 - $1) } }
  #expect(errors.allSatisfy { $0 <= tolerance }, sourceLocation: sourceLocation)
}

/// Strided views, both transpositions, scaling and accumulation agree with a triple loop over the
/// operands as `seen`.
func expectProducts(
  m: Int, k: Int, n: Int, seen: (Matrix) -> Reference.Rows = rows, tolerance: Double
) {
  func transposed(_ rows: Reference.Rows) -> Reference.Rows {
    rows[0].indices.map { column in rows.map { $0[column] } }
  }
  let a = noise(m * (k + 3), site: 1)
  let b = noise(n * (k + 5), site: 2)
  let c = noise(m * n, site: 3)
  let left = Matrix(base: a.view.base, rows: m, columns: k, stride: k + 3)
  let right = Matrix(base: b.view.base, rows: n, columns: k, stride: k + 5)
  let result = c.view.matrix(rows: m, columns: n)
  let before = rows(result)
  let product = Reference.linear(seen(left), weight: seen(right))
  multiply(left, right.transposed, into: result, scale: 0.5, accumulate: true)
  expectClose(
    result, zip(before, product).map { zip($0, $1).map { $0 + 0.5 * $1 } }, tolerance: 1e-4)
  multiply(left, right.transposed, into: result)
  expectClose(result, product, tolerance: 1e-4)
  multiply(left, right.transposed, into: result, accumulate: true)
  expectClose(result, product.map { $0.map { 2 * $0 } }, tolerance: 2e-4)

  let back = unwritten(m * k)
  let inner = back.view.matrix(rows: m, columns: k)
  multiply(result, right, into: inner)
  expectClose(
    inner, Reference.linear(seen(result), weight: transposed(seen(right))), tolerance: tolerance)
  let outer = unwritten(n * k)
  let target = outer.view.matrix(rows: n, columns: k)
  multiply(result.transposed, left, into: target)
  expectClose(
    target, Reference.linear(transposed(seen(result)), weight: transposed(seen(left))),
    tolerance: tolerance)
}

@Suite struct MatrixMultiplyTests {
  @Test(arguments: [(1, 1, 1), (3, 5, 2), (7, 16, 33), (17, 2, 65), (40, 31, 18)])
  func productsMatchTheNaiveTwin(m: Int, k: Int, n: Int) {
    expectProducts(m: m, k: k, n: n, tolerance: 1e-3)
  }
}

@Suite struct RowKernelTests {
  static let widths = [1, 2, 5, 15, 16, 17, 33, 70]

  @Test(arguments: widths) func layerNormMatchesItsTwinAndCentralDifferences(n: Int) {
    let x = noise(3 * n, site: 4)
    let dy = noise(3 * n, site: 5)
    let scale = noise(n, site: 6)
    let bias = noise(n, site: 7)
    let normalized = unwritten(3 * n)
    let output = unwritten(3 * n)
    let deviation = unwritten(3)
    let shape = { (vector: Vector) in vector.matrix(rows: 3, columns: n) }
    layerNormForward(
      shape(x.view), scale: scale.view, bias: bias.view, normalized: shape(normalized.view),
      reciprocalDeviation: deviation.view, into: shape(output.view))
    let (s, b) = (scale.view.array.map(Double.init), bias.view.array.map(Double.init))
    let input = rows(shape(x.view))
    expectClose(
      shape(output.view), Reference.layerNorm(input, scale: s, bias: b), tolerance: 1e-4)

    let dx = unwritten(3 * n)
    let ds = unwritten(n)
    let db = unwritten(n)
    layerNormBackward(
      outputGradient: shape(dy.view), normalized: shape(normalized.view),
      reciprocalDeviation: deviation.view, scale: scale.view, scaleGradient: ds.view,
      biasGradient: db.view, into: shape(dx.view), accumulateInput: false,
      accumulateParameters: false)
    let g = rows(shape(dy.view))
    func objective(_ x: Reference.Rows, _ s: [Double], _ b: [Double]) -> Double {
      zip(Reference.layerNorm(x, scale: s, bias: b), g)
        .reduce(0) { $0 + zip($1.0, $1.1).reduce(0) { $0 + $1.0 * $1.1 } }
    }
    // One column has no variance: its curvature is beyond central differences.
    guard n > 2 else { return }
    let h = 1e-6
    for i in 0..<n {
      for row in 0..<3 {
        var (up, down) = (input, input)
        up[row][i] += h
        down[row][i] -= h
        let slope = (objective(up, s, b) - objective(down, s, b)) / (2 * h)
        #expect(abs(slope - Double(dx.view.base[row * n + i])) < 1e-3 * max(1, abs(slope)))
      }
      var (up, down) = (s, s)
      up[i] += h
      down[i] -= h
      let slope = (objective(input, up, b) - objective(input, down, b)) / (2 * h)
      #expect(abs(slope - Double(ds.view.base[i])) < 1e-3)
      #expect(abs(g.reduce(0) { $0 + $1[i] } - Double(db.view.base[i])) < 1e-5)
    }
  }

  @Test(arguments: widths, [false, true])
  func softmaxMatchesItsTwinAndCentralDifferences(n: Int, causal: Bool) {
    let count = min(n, 4)
    let x = noise(count * n, site: 8)
    let dy = noise(count * n, site: 9)
    let input = rows(x.view.matrix(rows: count, columns: n))
    let g = rows(dy.view.matrix(rows: count, columns: n))
    let p = x.view.matrix(rows: count, columns: n)
    softmaxRows(p, causal: causal)
    let visible = { (row: Int) in causal ? min(row + 1, n) : n }
    func twin(_ row: Int, _ values: [Double]) -> [Double] {
      Reference.softmax(Array(values[..<visible(row)]))
        + Array(repeating: 0, count: n - visible(row))
    }
    expectClose(p, input.indices.map { twin($0, input[$0]) }, tolerance: 1e-6)
    let gradient = dy.view.matrix(rows: count, columns: n)
    softmaxRowsBackward(probabilities: p, gradient: gradient, causal: causal)
    let h = 1e-6
    for row in 0..<count {
      for i in 0..<n {
        var (up, down) = (input[row], input[row])
        up[i] += h
        down[i] -= h
        let slope =
          zip(zip(twin(row, up), twin(row, down)), g[row])
          .reduce(0) { $0 + ($1.0.0 - $1.0.1) * $1.1 } / (2 * h)
        #expect(abs(slope - Double(gradient[row].array[i])) < 1e-5)
      }
    }
  }

  /// Label smoothing spreads eps / V over all classes: golden value worked out by hand, then the
  /// twin.
  @Test func labelSmoothingIsTheNamedVariant() {
    let x = FloatBuffer(count: 4)
    for i in 0..<4 { x.view.base[i] = [0, 1, 2, 3][i] }
    let loss = crossEntropy(
      logits: x.view.matrix(rows: 1, columns: 4), targets: [3][...], smoothing: 0.1,
      gradientScale: nil)
    // lse(0, 1, 2, 3) = 3.4401896985611953; 0.9 * 3 + 0.025 * 6 = 2.85.
    #expect(abs(loss.smoothed - (3.440_189_698_561_195_3 - 2.85)) < 1e-6)
    #expect(abs(loss.negativeLogLikelihood - 0.440_189_698_561_195_3) < 1e-6)
  }

  @Test(arguments: widths) func crossEntropyMatchesItsTwinAndCentralDifferences(n: Int) {
    let x = noise(3 * n, site: 10)
    let targets: [Int32] = [0, Int32(n - 1), Int32(n / 2)]
    let logits = x.view.matrix(rows: 3, columns: n)
    let input = rows(logits)
    let smoothing = Double(Float(0.1))
    let loss = crossEntropy(
      logits: logits, targets: targets[...], smoothing: 0.1, gradientScale: 0.25)
    let expected = Reference.crossEntropy(input, targets: targets, smoothing: smoothing)
    #expect(abs(loss.smoothed - expected) < 1e-5)
    let h = 1e-6
    for row in 0..<3 {
      for i in 0..<n {
        var (up, down) = (input, input)
        up[row][i] += h
        down[row][i] -= h
        let slope =
          (Reference.crossEntropy(up, targets: targets, smoothing: smoothing)
            - Reference.crossEntropy(down, targets: targets, smoothing: smoothing)) / (2 * h)
        #expect(abs(0.25 * slope - Double(logits[row].array[i])) < 1e-6)
      }
    }
  }

  /// The guard looks at the gradient alone, so what is no number must come out of every row.
  @Test(arguments: widths) func whatIsNoNumberMakesItsRowNoNumber(n: Int) {
    let count = 3
    for special in [Float.nan, .infinity] {
      for place in Set([0, n / 2, n - 1]) {
        let scores = noise(count * n, site: 13)
        let logits = noise(count * n, site: 14)
        for buffer in [scores.view, logits.view] { buffer.base[n + place] = special }
        let p = scores.view.matrix(rows: count, columns: n)
        let gradient = logits.view.matrix(rows: count, columns: n)
        softmaxRows(p, causal: false)
        let loss = crossEntropy(
          logits: gradient[rows: 1..<2], targets: [0], smoothing: 0.1, gradientScale: 0.25)
        #expect(loss.smoothed.isNaN && loss.negativeLogLikelihood.isNaN)
        for matrix in [p, gradient] {
          #expect(matrix[1].array.allSatisfy { $0.isNaN }, "\(special) at \(place)")
          #expect((matrix[0].array + matrix[2].array).allSatisfy { $0.isFinite })
        }
      }
    }
    for (value, isLost) in [(Float.nan, true), (-.infinity, true), (-3e38, false)] {
      let x = FloatBuffer(count: n)
      x.view.fill(value)
      softmaxRows(x.view.matrix(rows: 1, columns: n), causal: false)
      #expect(x.view.array.allSatisfy { $0.isNaN == isLost })
    }
  }

  /// A causal row does not look at what is hidden from it.
  @Test func whatIsHiddenMayBeNoNumber() {
    let n = 20
    let x = noise(n * n, site: 15)
    let p = x.view.matrix(rows: n, columns: n)
    p[7].base[9] = .nan
    p[17].base[16] = .nan
    softmaxRows(p, causal: true)
    for row in 0..<n { #expect(p[row].array.allSatisfy { $0.isFinite } == (row != 17)) }
  }

  @Test func exponentialStaysWithinAFewUnitsInTheLastPlace() {
    let n = 4096
    let x = FloatBuffer(count: n)
    for i in 0..<n { x.view.base[i] = -80 * Float(i) / Float(n) }
    let input = x.view.array
    softmaxRows(x.view.matrix(rows: 1, columns: n), causal: false)
    let expected = Reference.softmax(input.map(Double.init))
    for (value, reference) in zip(x.view.array, expected) {
      #expect(abs(Double(value) - reference) <= 3e-7 * reference)
    }
  }
}

@Suite struct DropoutTests {
  @Test(arguments: [1, 5, 16, 63, 64, 65, 200]) func maskIsAFunctionOfStreamAndIndex(n: Int) {
    let dropout = Dropout(probability: 0.3)
    let stream = RandomStream(seed: 5, purpose: .dropout, site: 2, a: 3, b: 4)
    let x = noise(n, site: 11)
    let residual = noise(n, site: 12)
    let y = FloatBuffer(count: n)
    let shape = { (vector: Vector) in vector.matrix(rows: 1, columns: n) }
    dropout.apply(
      shape(x.view), adding: shape(residual.view), into: shape(y.view), stream: stream)
    let multipliers = (0..<n).map {
      Float(Reference.dropoutMultiplier(probability: 0.3, stream: stream, index: $0))
    }
    for i in 0..<n {
      let expected = residual.view.base[i].addingProduct(x.view.base[i], multipliers[i])
      #expect(y.view.base[i] == expected)
    }
    dropout.apply(shape(x.view), into: shape(y.view), stream: stream)
    #expect(y.view.array == (0..<n).map { x.view.base[$0] * multipliers[$0] })
  }

  @Test func theShareOfZeroesIsTheProbability() {
    let n = 100_000
    let x = FloatBuffer(count: n)
    x.view.fill(1)
    let matrix = x.view.matrix(rows: 10, columns: n / 10)
    Dropout(probability: 0.1).apply(
      matrix, into: matrix, stream: RandomStream(seed: 1, purpose: .dropout, site: 0))
    let zeroes = x.view.array.filter { $0 == 0 }.count
    #expect(abs(Double(zeroes) / Double(n) - 0.1) < 0.005)
    #expect(Set(x.view.array) == [0, 1 / 0.9])
  }
}
